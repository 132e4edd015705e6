# SPDX-License-Identifier: Apache-2.0
"""Is the device still as it was started? Others have hands on it: a reset through sysfs, a power state, setpci."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceError, RemovedError

if TYPE_CHECKING:
    from vfio_ims.ims.domain import ImsDomain
    from vfio_ims.messages import Slot

__all__ = ["fault_of"]

_ONES = 0xFFFF_FFFF
_AGAIN = "find out who did it; the driver's reset() starts the device again, writes every slot and wakes every owner"
_PMCSR, _STATE = 4, 3  # Power Management Control/Status, bits 1:0: D0 to D3hot (PCI PM specification 1.2, 3.2.4)


def fault_of(domain: ImsDomain, most: int | None = None) -> DeviceError | None:
    """What shows that the device is not as it was started; None where nothing does.

    Reads three words of config space, allocated entries in one compiled call (``most``: so many of them), and what the
    driver looks at. Writes nothing.
    """
    try:
        why = _gone(domain)
        if why:
            return RemovedError(
                "check the device", device=domain.label, why=why, hint=f"vfio-ims doctor {domain.label}"
            )
        why = _command(domain) or _entries(domain, most) or domain.source.fault()
    except DeviceError as error:  # an access that the guard of our windows caught
        return error
    return DeviceError("check the device", device=domain.label, why=why, hint=_AGAIN) if why else None


def _gone(domain: ImsDomain) -> str:
    if domain.device.config.read(0, 2) != 0xFFFF:
        return ""
    return "its vendor id reads as all ones: unplugged, without power (D3cold), or in a reset that does not end"


def _command(domain: ImsDomain) -> str:
    config, power = domain.device.config, domain.device.capabilities.pm
    state = 0 if power is None else config.read(power.offset + _PMCSR, 2) & _STATE
    if state:
        return f"it sleeps, in power state D{state}{'hot' if state == 3 else ''}: somebody else put it there"
    if not config.memory:
        return "memory decoding is off: it was reset, or its command register was written, behind our back"
    if domain.records.allocated and not config.bus_master:
        return "bus mastering is off, so no message leaves it: it was reset, or its command register was written"
    return ""


def _entries(domain: ImsDomain, most: int | None) -> str:
    slots = domain.records.allocated[:most]
    found = domain.table.read_many(slots or [0])
    if all(_is_ones(slot) for slot in found):
        why = "its BARs are not where they were, or a bridge above it does not let accesses through"
        return f"its slots read as all ones, though config space answers: {why}"
    if not slots or not domain.keeps:
        return ""
    wrong = [index for index, slot in zip(slots, found, strict=True) if slot != domain.records.slot(index)]
    if not wrong:
        return ""
    first = wrong[0]
    text = f"{len(wrong)} of {len(slots)} slots do not hold what was written"
    text += f" (slot {first}: {found[slots.index(first)]} instead of {domain.records.slot(first)})"
    whole = "the device was reset behind our back" if len(wrong) == len(slots) else "somebody else wrote to the table"
    return f"{text}: {whole}"


def _is_ones(slot: Slot) -> bool:
    return (slot.message.address | 3) & _ONES == _ONES and slot.message.data == _ONES  # bits 1:0 may read as 0
