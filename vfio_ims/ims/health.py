# SPDX-License-Identifier: Apache-2.0
"""Is the device still as it was started? A reset through sysfs, a power state or setpci changes it from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.counted import by_count, counted
from vfio_ims.errors import DeviceError, RemovedError, hint_where_lost

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.ims.driver_callbacks import DriverCallbacks
    from vfio_ims.ims.records import SlotRecords
    from vfio_ims.ims.table import ImsTable
    from vfio_ims.messages import Slot

__all__ = ["absence", "find_fault"]

_ONES = 0xFFFF_FFFF
_HINT = "find out what did it; the driver's reset() starts the device again, writes every slot and wakes every owner"
_PMCSR, _STATE = 4, 3  # Power Management Control/Status, bits 1:0: D0 to D3hot (PCI PM specification 1.2, 3.2.4)


def find_fault(
    device: Device,
    table: ImsTable,
    records: SlotRecords,
    callbacks: DriverCallbacks,
    *,
    keeps: bool | None,
    most: int | None = None,
) -> DeviceError | None:
    """Return what shows that the device is not as it was started; None where nothing does.

    Reads three words of config space, allocated entries in one compiled call (``most``: so many of them), and what the
    driver's ``fault`` reads. Writes nothing. ``keeps``: whether entries read back as they were written.
    """
    name = device.name
    try:
        why = absence(device)
        if why:
            return RemovedError("check the device", device=name, why=why, hint=hint_where_lost(name))
        allocated = records.allocated
        why = _command(device, bool(allocated))
        why = why or _entries(device, table, records, allocated[:most], compare=keeps is True)
        why = why or callbacks.fault()
    except DeviceError as error:  # an access that the guard of our windows caught
        return error
    return DeviceError("check the device", device=name, why=why, hint=_HINT) if why else None


def absence(device: Device) -> str:
    """What shows that the device does not answer at all; "" where it does. One read of config space."""
    if device.config.read(0, 2) != 0xFFFF:
        return ""
    return "its vendor id reads as all ones: unplugged, without power (D3cold), or in a reset that does not end"


def _command(device: Device, allocated: bool) -> str:
    config, power = device.config, device.capabilities.pm
    state = 0 if power is None else config.read(power.offset + _PMCSR, 2) & _STATE
    if state:
        return f"it sleeps, in power state D{state}{'hot' if state == 3 else ''}, which this driver did not set"
    if not config.memory:
        return "memory decoding is off: it was reset, or its command register written, not by this driver"
    if allocated and not config.bus_master:
        return "bus mastering is off, so no message leaves it: it was reset, or its command register was written"
    return ""


def _entries(device: Device, table: ImsTable, records: SlotRecords, slots: list[int], *, compare: bool) -> str:
    found = table.read_many(slots or [0])
    if all(_is_ones(slot) for slot in found):
        why = "its BARs are not where they were, or a bridge above it does not let accesses through"
        return f"its slots read as all ones, though config space answers: {why}"
    if not slots or not compare:
        return ""
    wrong = [index for index, slot in zip(slots, found, strict=True) if slot != records.slot(index)]
    if not wrong:
        return ""
    first = wrong[0]
    do = by_count(len(wrong), "does", "do")
    text = f"{len(wrong)} of {counted(len(slots), 'slot')} {do} not hold what was written"
    holds = device.port.message_platform().of_slot(found[slots.index(first)])
    text += f" (slot {first}: {holds} instead of {records.slot(first)})"
    whole = "the device was reset, not by this driver"
    return f"{text}: {whole if len(wrong) == len(slots) else 'another program wrote to the table'}"


def _is_ones(slot: Slot) -> bool:
    return (slot.message.address | 3) & _ONES == _ONES and slot.message.data == _ONES  # bits 1:0 may read as 0
