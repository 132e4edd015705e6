# SPDX-License-Identifier: Apache-2.0
"""What only silicon shows: control words, what survives which reset, when a slot fires.

Nothing here writes the MSI-X table or detaches a donor that a slot copies. Entries are probed while they point at the
scratch word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.errors import UnsupportedError, VfioImsError
from vfio_ims.ims import FireStatus, SlotArray
from vfio_ims.messages import Slot
from vfio_ims.pci.capabilities import MSIX_ENTRY_SIZE
from vfio_ims.ports.values import IrqIndex, IrqSet
from vfio_ims.ranges import spans
from vfio_ims.selftest.characteristics import Characteristics, ControlWord, Survival, Trial
from vfio_ims.selftest.context import Broken, Context
from vfio_ims.selftest.options import Options

if TYPE_CHECKING:
    from vfio_ims.driver import Driver
    from vfio_ims.ims import ImsInterrupt

__all__ = ["characterise"]

_ALL = 0xFFFF_FFFF


def characterise(driver: Driver, *, options: Options | None = None) -> Characteristics:
    """Find out what no document says. No slot may be in use; resets the device; leaves it started, slots quiet.

    DeviceError and its kin where the device does not answer; what it merely lacks is in ``notes``.
    """
    context = Context(driver, options or Options())
    notes: list[str] = []
    control = _control_word(context, notes)
    try:
        survivals = (_restart(context), *_function_reset(context))
    finally:
        driver.reset()
    if control is not None:
        control = _with_reset_values(context, control)
    trials = (*_donor_masked(context), *_pasid_bits(context))
    return Characteristics(
        driver.label,
        type(driver).__name__,
        driver.device.mount,
        context.domain.table.size,
        control,
        survivals,
        trials,
        tuple(notes),
    )


def _probes(context: Context) -> tuple[int, ...]:
    """A few slots from everywhere in the table."""
    size = context.domain.table.size
    return tuple(sorted({0, min(1, size - 1), size // 2, size - 1}))


def _read_control(context: Context, table: SlotArray, slot: int) -> int:
    at = table.layout.at(slot) + (table.layout.control or 0)
    return context.driver.device.bar(table.layout.bar).read32(at)


def _control_word(context: Context, notes: list[str]) -> ControlWord | None:
    """Write ones, then zeros, under a message that goes to the scratch word, and read back."""
    table = context.domain.table
    if not isinstance(table, SlotArray) or table.layout.control is None:
        notes.append("control word: not applicable, the table is no array of entries with one")
        return None
    bar = context.driver.device.bar(table.layout.bar)
    found = []
    try:
        for slot in _probes(context):
            at = table.layout.at(slot) + table.layout.control
            table.write(slot, Slot(context.domain.scratch))
            bar.write32(at, _ALL)
            ones = bar.read32(at)
            bar.write32(at, 0)
            zeros = bar.read32(at)
            found.append((ones & ~zeros, ones & zeros))
    finally:
        context.domain.quiesce(_probes(context))
    return ControlWord(_probes(context), *found[0], alike=len(set(found)) == 1)


def _with_reset_values(context: Context, control: ControlWord) -> ControlWord:
    """The raw control words after a function reset, before anything writes them."""
    device, table = context.driver.device, context.domain.table
    if not device.can_reset or not isinstance(table, SlotArray):
        return control
    values: dict[int, list[int]] = {}
    try:
        device.reset()
        device.config.memory = True
        for slot in range(table.size):
            values.setdefault(_read_control(context, table, slot), []).append(slot)
    finally:
        context.driver.reset()
    reset = tuple((value, tuple(spans(slots))) for value, slots in sorted(values.items()))
    return ControlWord(control.probed, control.writable, control.ones, control.alike, reset)


def _mark(context: Context) -> Slot:
    """Put a masked message into the probed slots, to see what becomes of it."""
    table = context.domain.table
    entry = Slot(context.domain.scratch, masked=table.has_mask)
    table.write_many([(slot, entry) for slot in _probes(context)])
    return entry


def _left(context: Context, way: str, entry: Slot, text: str = "") -> Survival:
    found = [context.domain.table.read(slot) for slot in _probes(context)]
    messages, masks = {each.message == entry.message for each in found}, {each.masked for each in found}
    if len(messages) > 1 or len(masks) > 1:
        text = f"{text}; the probed slots differ".removeprefix("; ")
    return Survival(way, all(messages), all(masks) if context.domain.table.has_mask else None, text)


def _restart(context: Context) -> Survival:
    way, entry = "driver's stop and start", _mark(context)
    context.driver.stop()
    context.driver.start()
    return _left(context, way, entry)


def _function_reset(context: Context) -> tuple[Survival, ...]:
    way, device = "function reset", context.driver.device
    if not device.can_reset:
        return (Survival(way, None, None, "the function has none"),)
    entry = _mark(context)
    device.reset()
    device.config.memory = True
    return (_left(context, way, entry),)


def _raises(context: Context, condition: str, interrupt: ImsInterrupt, pasid: int | None = None) -> Trial:
    donor = context.domain.donor_of(interrupt.slot)
    context.calm()
    before = donor.count
    try:
        report = context.fire(interrupt.slot, pasid)
    except UnsupportedError as error:
        return Trial(condition, None, error.why or str(error))
    except Broken as error:
        return Trial(condition, None, str(error))
    wait = context.settle if report.status is FireStatus.REFUSED else context.options.timeout
    return Trial(condition, context.until(lambda: donor.count > before, wait), f"the device reports: {report}")


def _donor_masked(context: Context) -> tuple[Trial, ...]:
    """A slot fires while its donor's entry of the MSI-X table is unmasked, and, where VFIO can mask it, masked."""
    device, trials = context.driver.device, []
    with context.domain.allocate() as interrupt:
        place, vector = device.msix_table, interrupt.donor
        word = "not read" if place is None else ""
        if place is not None:
            control = device.bar(place[0]).read32(place[1].offset + MSIX_ENTRY_SIZE * vector + 12)
            word = f"{control:#x}"
        trials.append(_raises(context, f"donor's MSI-X vector control {word}", interrupt))
        masked = "donor masked in the MSI-X table"
        flags = IrqSet.DATA_NONE
        try:
            device.port.set_irqs(IrqIndex.MSIX, flags | IrqSet.ACTION_MASK, vector, 1)
        except VfioImsError as error:
            why = f"VFIO has no mask for MSI-X, and nothing of ours writes the table: {error.why or error}"
            trials.append(Trial(masked, None, why))
        else:
            trials.append(_raises(context, masked, interrupt))
            device.port.set_irqs(IrqIndex.MSIX, flags | IrqSet.ACTION_UNMASK, vector, 1)
    return tuple(trials)


def _pasid_bits(context: Context) -> tuple[Trial, ...]:
    """Which work raises an entry that names no PASID, and one that ignores PASIDs."""
    if not context.domain.table.has_pasid:
        return ()
    number, trials = context.options.pasid, []
    for ignore, entry in ((False, "entry without PASID"), (True, "entry that ignores PASIDs")):
        with context.domain.allocate(any_pasid=ignore) as interrupt:
            trials.append(_raises(context, f"{entry}, work without PASID", interrupt))
            trials.append(_raises(context, f"{entry}, work with PASID {number}", interrupt, number))
    return tuple(trials)
