# SPDX-License-Identifier: Apache-2.0
"""What silicon alone can tell: control words, what survives which reset, when a slot fires.

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
from vfio_ims.selftest.findings import spans
from vfio_ims.selftest.options import Options
from vfio_ims.selftest.stand import Broken, Stand
from vfio_ims.selftest.traits import Characteristics, ControlWord, Survival, Trial

if TYPE_CHECKING:
    from vfio_ims.driver import Driver
    from vfio_ims.ims import ImsInterrupt

__all__ = ["characterise"]

_ALL = 0xFFFF_FFFF


def characterise(driver: Driver, *, options: Options | None = None) -> Characteristics:
    """Find out what no document says. No slot may be in use; resets the device; leaves it started, slots quiet.

    DeviceError and its kin where the device does not answer; what it merely lacks is in ``notes``.
    """
    stand = Stand(driver, options or Options())
    notes: list[str] = []
    control = _control_word(stand, notes)
    try:
        survivals = (_restart(stand), *_function_reset(stand))
    finally:
        driver.reset()
    if control is not None:
        control = _with_reset_values(stand, control)
    trials = (*_donor_masked(stand), *_pasid_bits(stand))
    return Characteristics(
        driver.label,
        type(driver).__name__,
        driver.device.mount,
        stand.domain.table.size,
        control,
        survivals,
        trials,
        tuple(notes),
    )


def _probes(stand: Stand) -> tuple[int, ...]:
    """A few slots from everywhere in the table."""
    size = stand.domain.table.size
    return tuple(sorted({0, min(1, size - 1), size // 2, size - 1}))


def _read_control(stand: Stand, table: SlotArray, slot: int) -> int:
    at = table.layout.at(slot) + (table.layout.control or 0)
    return stand.driver.device.bar(table.layout.bar).read32(at)


def _control_word(stand: Stand, notes: list[str]) -> ControlWord | None:
    """Write ones, then zeros, under a message that goes to the scratch word, and read back."""
    table = stand.domain.table
    if not isinstance(table, SlotArray) or table.layout.control is None:
        notes.append("control word: not applicable, the table is no array of entries with one")
        return None
    bar = stand.driver.device.bar(table.layout.bar)
    found = []
    try:
        for slot in _probes(stand):
            at = table.layout.at(slot) + table.layout.control
            table.write(slot, Slot(stand.domain.parking.scratch))
            bar.write32(at, _ALL)
            ones = bar.read32(at)
            bar.write32(at, 0)
            zeros = bar.read32(at)
            found.append((ones & ~zeros, ones & zeros))
    finally:
        stand.domain.parking.quiesce(_probes(stand))
    return ControlWord(_probes(stand), *found[0], alike=len(set(found)) == 1)


def _with_reset_values(stand: Stand, control: ControlWord) -> ControlWord:
    """The raw control words after a function reset, before anything writes them."""
    device, table = stand.driver.device, stand.domain.table
    if not device.can_reset or not isinstance(table, SlotArray):
        return control
    values: dict[int, list[int]] = {}
    try:
        device.reset()
        device.config.memory = True
        for slot in range(table.size):
            values.setdefault(_read_control(stand, table, slot), []).append(slot)
    finally:
        stand.driver.reset()
    reset = tuple((value, tuple(spans(slots))) for value, slots in sorted(values.items()))
    return ControlWord(control.probed, control.writable, control.ones, control.alike, reset)


def _mark(stand: Stand) -> Slot:
    """Put a masked message into the probed slots, to see what becomes of it."""
    table = stand.domain.table
    entry = Slot(stand.domain.parking.scratch, masked=table.has_mask)
    table.write_many([(slot, entry) for slot in _probes(stand)])
    return entry


def _left(stand: Stand, way: str, entry: Slot, text: str = "") -> Survival:
    found = [stand.domain.table.read(slot) for slot in _probes(stand)]
    messages, masks = {each.message == entry.message for each in found}, {each.masked for each in found}
    if len(messages) > 1 or len(masks) > 1:
        text = f"{text}; the probed slots differ".removeprefix("; ")
    return Survival(way, all(messages), all(masks) if stand.domain.table.has_mask else None, text)


def _restart(stand: Stand) -> Survival:
    way, entry = "driver's stop and start", _mark(stand)
    stand.driver.stop()
    stand.driver.start()
    return _left(stand, way, entry)


def _function_reset(stand: Stand) -> tuple[Survival, ...]:
    way, device = "function reset", stand.driver.device
    if not device.can_reset:
        return (Survival(way, None, None, "the function has none"),)
    entry = _mark(stand)
    device.reset()
    device.config.memory = True
    return (_left(stand, way, entry),)


def _raises(stand: Stand, condition: str, interrupt: ImsInterrupt, pasid: int | None = None) -> Trial:
    donor = stand.domain.donor_of(interrupt.slot)
    stand.calm()
    before = donor.count
    try:
        report = stand.fire(interrupt.slot, pasid)
    except UnsupportedError as error:
        return Trial(condition, None, error.why or str(error))
    except Broken as error:
        return Trial(condition, None, str(error))
    wait = stand.settle if report.status is FireStatus.REFUSED else stand.options.timeout
    return Trial(condition, stand.until(lambda: donor.count > before, wait), f"the device reports: {report}")


def _donor_masked(stand: Stand) -> tuple[Trial, ...]:
    """A slot fires while its donor's entry of the MSI-X table is unmasked, and, where VFIO can mask it, masked."""
    device, trials = stand.driver.device, []
    with stand.domain.allocate() as interrupt:
        place, vector = device.msix_table, interrupt.donor
        word = "not read" if place is None else ""
        if place is not None:
            control = device.bar(place[0]).read32(place[1].offset + MSIX_ENTRY_SIZE * vector + 12)
            word = f"{control:#x}"
        trials.append(_raises(stand, f"donor's MSI-X vector control {word}", interrupt))
        masked = "donor masked in the MSI-X table"
        flags = IrqSet.DATA_NONE
        try:
            device.port.set_irqs(IrqIndex.MSIX, flags | IrqSet.ACTION_MASK, vector, 1)
        except VfioImsError as error:
            why = f"VFIO has no mask for MSI-X, and nothing of ours writes the table: {error.why or error}"
            trials.append(Trial(masked, None, why))
        else:
            trials.append(_raises(stand, masked, interrupt))
            device.port.set_irqs(IrqIndex.MSIX, flags | IrqSet.ACTION_UNMASK, vector, 1)
    return tuple(trials)


def _pasid_bits(stand: Stand) -> tuple[Trial, ...]:
    """Which work raises an entry that names no PASID, and one that ignores PASIDs."""
    if not stand.domain.table.has_pasid:
        return ()
    number, trials = stand.options.pasid, []
    for ignore, entry in ((False, "entry without PASID"), (True, "entry that ignores PASIDs")):
        with stand.domain.allocate(ignore=ignore) as interrupt:
            trials.append(_raises(stand, f"{entry}, work without PASID", interrupt))
            trials.append(_raises(stand, f"{entry}, work with PASID {number}", interrupt, number))
    return tuple(trials)
