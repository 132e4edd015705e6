# SPDX-License-Identifier: Apache-2.0
"""The ladder: from the eventfd alone to a slot with a donor's message. It stops at the first broken rung."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.errors import UnsupportedError, VfioImsError
from vfio_ims.ims import FireReport, FireStatus
from vfio_ims.ports.values import IrqSet
from vfio_ims.selftest.context import Broken, Context, NotApplicable
from vfio_ims.selftest.report import Outcome, Rung

if TYPE_CHECKING:
    from vfio_ims.ims.donor import Donor

__all__ = ["RUNGS", "climb"]

_KERNEL_LOG = "the host's log: dmesg | grep -E 'DMAR|AMD-Vi|vfio'"
_HINTS = {
    "verdict": "vfio-ims show DEVICE --live: each link of the chain with its evidence",
    "software trigger": f"no device is involved in this: the host's VFIO, then {_KERNEL_LOG}",
    "own MSI-X": f"the device's error registers, its MSI-X permissions if it has some, then {_KERNEL_LOG}",
    "DMA word": f"{_KERNEL_LOG} for a refused write; if it takes interrupt addresses only: --no-words",
    "donor's message": f"{_KERNEL_LOG} for a refused interrupt; then the PASID and ignore bits of the slot",
}
RUNGS = tuple(_HINTS)


class _Fails(Exception):
    """A rung does not hold; the text says what was seen."""


def climb(context: Context) -> Iterator[Rung]:
    """Each rung as it is tried; after the one that fails, those above as not run."""
    tries: tuple[Callable[[Context], str], ...] = (_verdict, _software_trigger, _own_msix, _dma_word, _donors_message)
    broken = False
    for number, (name, attempt) in enumerate(zip(RUNGS, tries, strict=True)):
        context.report_progress(number, len(RUNGS))
        if broken:
            yield Rung(name, Outcome.NOT_RUN)
            continue
        try:
            yield Rung(name, Outcome.PASSED, attempt(context))
        except NotApplicable as why:
            yield Rung(name, Outcome.NOT_APPLICABLE, str(why))
        except Exception as error:  # noqa: BLE001 - a driver under test; the report has it
            broken = True
            text = str(error) if isinstance(error, (_Fails, Broken)) else f"{type(error).__name__}: {error}"
            hint = error.hint if isinstance(error, (VfioImsError, Broken)) else ""
            hint = hint or _HINTS[name]
            yield Rung(name, Outcome.FAILED, text, context.status(), hint)
    context.report_progress(len(RUNGS), len(RUNGS))


def _verdict(context: Context) -> str:
    verdict = context.driver.verdict
    if verdict.usable is False:
        raise _Fails(str(verdict))
    return str(verdict)


def _came(context: Context, donor: Donor, before: int, what: str) -> str:
    """An event on ``donor`` since ``before``. That there was only one is for the passes to say."""
    vector = f"vector {donor.vector}"
    others = {other: other.count for other in context.donors() if other is not donor}
    if not context.until(lambda: donor.count > before, context.options.timeout):
        elsewhere = [str(other.vector) for other, count in others.items() if other.count > count]
        where = f"; vector {', '.join(elsewhere)} got an event instead" if elsewhere else ""
        raise _Fails(f"{what}: no event on {vector} in {context.options.timeout:g} s{where}")
    context.pause(context.settle)
    events = donor.count - before
    return f"{what}: {counted(events, 'event')} on {vector}"


def _accepted(report: FireReport, slot: int) -> None:
    if report.status is not FireStatus.SENT:
        raise _Fails(f"the device says that slot {slot}, unmasked, is {report}")


def _software_trigger(context: Context) -> str:
    domain = context.domain
    with domain.allocate(masked=domain.table.has_mask) as interrupt:
        donor = domain.donor_of(interrupt.slot)
        before, flags = donor.count, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER
        device = context.driver.device
        device.port.set_irqs(device.interrupts.donors.source.index, flags, donor.vector, 1)
        return _came(context, donor, before, "triggered by VFIO")


def _own_msix(context: Context) -> str:
    domain = context.domain
    with domain.allocate(masked=domain.table.has_mask) as interrupt:
        donor = domain.donor_of(interrupt.slot)
        before = donor.count
        try:
            context.driver.fire_vector(donor.vector)
        except UnsupportedError as error:
            raise NotApplicable(error.why) from error
        return _came(context, donor, before, "raised by the device through its MSI-X table")


def _dma_word(context: Context) -> str:
    if not context.options.words:
        raise NotApplicable("left out as asked")
    try:
        polled = context.domain.allocate_polled()
    except UnsupportedError as error:
        raise NotApplicable(error.why) from error
    with polled:
        _accepted(context.fire(polled.slot), polled.slot)
        if not polled.wait(context.options.timeout):
            raise _Fails(
                f"{polled}: the word was not written in {context.options.timeout:g} s; {_entry(context, polled)}"
            )
        return f"{polled}: written"


def _donors_message(context: Context) -> str:
    with context.domain.allocate() as interrupt:
        donor = context.domain.donor_of(interrupt.slot)
        before = donor.count
        _accepted(context.fire(interrupt.slot), interrupt.slot)
        try:
            return f"{interrupt}: " + _came(context, donor, before, "raised by the device")
        except _Fails as fails:
            raise _Fails(f"{fails}; {_entry(context, interrupt)}") from None


def _entry(context: Context, allocated: object) -> str:
    """What the entry of the slot holds, and whether the device may write at all."""
    slot: int = allocated.slot  # type: ignore[attr-defined]
    master = "on" if context.driver.device.config.bus_master else "OFF"
    found = context.driver.device.port.message_platform().of_slot(context.domain.table.read(slot))
    return f"the entry reads back as {found}, bus mastering is {master}"
