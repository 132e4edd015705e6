# SPDX-License-Identifier: Apache-2.0
"""Check that a slot table is where it was declared: which bits of its entries stick, and how many entries there are.

The device does not master the bus meanwhile, so no message leaves it, whatever is in an entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.errors import UsageError

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.registers import SlotLayout

__all__ = ["Finding", "check_table"]

_PATTERNS = (0x0000_0000, 0xFFFF_FFFF, 0x5555_5555, 0xAAAA_AAAA)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at."""

    name: str
    good: bool
    text: str

    def to_json(self) -> dict[str, object]:
        """Plain values; see docs/json.md."""
        return {"name": self.name, "good": self.good, "text": self.text}

    def __str__(self) -> str:
        return f"{'ok' if self.good else 'FAIL':<5} {self.name}: {self.text}"


def _spell(bits: int) -> str:
    """Bits as ranges: 31:2, 0."""
    parts, high = [], 31
    while high >= 0:
        if bits >> high & 1:
            low = high
            while low and bits >> low - 1 & 1:
                low -= 1
            parts.append(str(high) if high == low else f"{high}:{low}")
            high = low
        high -= 1
    return ", ".join(parts) or "none"


def check_table(device: Device, layout: SlotLayout) -> list[Finding]:
    """Write patterns to every entry and read them back; leaves all of them masked and zero.

    Bus mastering is turned off. Raises UsageError where the table does not fit its BAR.
    """
    device.config.bus_master = False
    device.config.memory = True
    bar = device.bar(layout.bar)
    if layout.offset + layout.size > bar.size:
        why = f"BAR {layout.bar} has {bar.size:#x} bytes, and the table would end at {layout.offset + layout.size:#x}"
        raise UsageError("check the slot table", device=device.name, why=why)
    found = []
    try:
        for name, at in (("address low", layout.low), ("address high", layout.high), ("data", layout.data)):
            if at is not None:
                found.append(_word(device, layout, name, at))
        found.append(_mask(device, layout))
        found.append(_distinct(device, layout))
    finally:
        for slot in range(layout.count):
            _clear(device, layout, slot)
    return found


def _clear(device: Device, layout: SlotLayout, slot: int) -> None:
    bar, base = device.bar(layout.bar), layout.at(slot)
    mask = 0 if layout.mask is None else 1 << layout.mask
    for at, value in ((layout.control, mask), (layout.low, 0), (layout.high, 0), (layout.data, 0)):
        if at is not None:
            bar.write32(base + at, value)


def _word(device: Device, layout: SlotLayout, name: str, at: int) -> Finding:
    """Which bits of a word keep what is written: in all entries the same, or say where not."""
    bar = device.bar(layout.bar)
    kept: dict[int, list[int]] = {}
    for slot in range(layout.count):
        place = layout.at(slot) + at
        ones, zeros = 0xFFFF_FFFF, 0
        for pattern in _PATTERNS:
            bar.write32(place, pattern)
            seen = bar.read32(place)
            ones &= seen | ~pattern & 0xFFFF_FFFF
            zeros |= seen & ~pattern
        kept.setdefault(ones & ~zeros, []).append(slot)
    common = max(kept, key=lambda bits: len(kept[bits]))
    others = [f"slot {slots[0]} ({len(slots)} such): {_spell(bits)}" for bits, slots in kept.items() if bits != common]
    text = f"bits {_spell(common)} keep what is written" + (f"; {'; '.join(others)}" if others else "")
    wanted = 0xFFFF if name == "data" else 0xFFFF_F000 if name == "address low" else 0
    return Finding(name, not others and common & wanted == wanted, text)


def _mask(device: Device, layout: SlotLayout) -> Finding:
    if layout.control is None or layout.mask is None:
        return Finding("mask", True, "none declared: a slot can only be parked")
    bar, bit = device.bar(layout.bar), 1 << layout.mask
    stuck = []
    for slot in range(layout.count):
        place = layout.at(slot) + layout.control
        answers = []
        for value in (bit, 0, bit):
            bar.write32(place, value)
            answers.append(bar.read32(place) & bit)
        if answers != [bit, 0, bit]:
            stuck.append(slot)
    if stuck:
        where = f"{counted(len(stuck), 'entry')} (slot {stuck[0]} first)"
        return Finding("mask", False, f"bit {layout.mask} does not follow what is written in {where}")
    return Finding("mask", True, f"bit {layout.mask} can be set and cleared in every entry")


def _distinct(device: Device, layout: SlotLayout) -> Finding:
    """An entry that answers for another one shows that stride or count is wrong."""
    bar = device.bar(layout.bar)
    for slot in range(layout.count):
        bar.write32(layout.at(slot) + layout.data, slot + 1 & 0xFFFF)
    seen = [bar.read32(layout.at(slot) + layout.data) & 0xFFFF for slot in range(layout.count)]
    wrong = [slot for slot, value in enumerate(seen) if value != slot + 1 & 0xFFFF]
    if not wrong:
        return Finding("entries", True, f"{layout.count} of them, each its own")
    first = wrong[0]
    why = "reads as all ones" if seen[first] == 0xFFFF else f"answers {seen[first]:#x} where {first + 1:#x} was written"
    return Finding("entries", False, f"{len(wrong)} of {layout.count} do not keep their own number: slot {first} {why}")
