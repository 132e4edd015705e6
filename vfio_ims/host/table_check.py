# SPDX-License-Identifier: Apache-2.0
"""Check that a slot table is where it was declared: which bits of its entries stick, and how many entries there are.

The device does not master the bus meanwhile, so no message leaves it, whatever is in an entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.errors import UsageError

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.device.bar import Bar
    from vfio_ims.registers import SlotLayout

__all__ = ["Finding", "check_table"]

_PATTERNS = (0x0000_0000, 0xFFFF_FFFF, 0x5555_5555, 0xAAAA_AAAA)
_ALL = 0xFFFF_FFFF


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


@dataclass(frozen=True, slots=True)
class _Bit:
    """A field of one register that belongs to one slot."""

    place: int
    mask: int
    actions: tuple[int, int] | None = None
    """Where a 1 clears it, and where a 1 sets it, if not by writing it."""

    @property
    def shift(self) -> int:
        return (self.mask & -self.mask).bit_length() - 1


def check_table(device: Device, layout: SlotLayout) -> list[Finding]:
    """Write patterns to every entry and read them back; leaves all of them masked and zero.

    Bus mastering is turned off. Raises UsageError where the table does not fit its BAR.
    """
    device.config.bus_master = False
    device.config.memory = True
    bar = device.bar(layout.bar)
    if layout.end > bar.size:
        why = f"BAR {layout.bar} has {bar.size:#x} bytes, and the table would end at {layout.end:#x}"
        raise UsageError("check the slot table", device=device.name, why=why)
    found, words = [], _words(layout)
    try:
        found += [_word(bar, name, places, wanted) for name, (places, wanted) in words.items()]
        found += [_mask(bar, layout), _distinct(bar, layout)]
    finally:
        for places, _ in words.values():
            for place in places:
                bar.write32(place, 0)
        _hold(bar, layout)
    return found


def _words(layout: SlotLayout) -> dict[str, tuple[list[int], int]]:
    """By what is in it: the registers, and the bits that must keep what is written."""
    slots, mask = range(layout.count), layout.limits.address_mask
    words: dict[str, tuple[list[int], int]] = {}
    shared = layout.shared_address
    low = [shared[0]] if shared else [] if layout.low is None else [layout.at(slot) + layout.low for slot in slots]
    words["address low"] = low, mask & 0xFFFF_F000
    high = shared[1] if shared else layout.high
    if high is not None:
        words["address high"] = [high] if shared else [layout.at(slot) + high for slot in slots], 0
    fields = [_data(layout, slot) for slot in slots]
    data = fields[0].mask | (fields[1].mask if layout.packed and layout.count % 2 == 0 else 0)
    words["data"] = list(dict.fromkeys(field.place for field in fields)), data
    return words


def _data(layout: SlotLayout, slot: int) -> _Bit:
    width = (1 << layout.limits.data_bits) - 1
    if layout.packed:
        at = layout.at(slot)
        return _Bit(at & ~3, width << 8 * (at & 3))
    return _Bit(layout.at(slot) + layout.data, (width << layout.data_bits.low) & layout.data_bits.mask)


def _mask_bit(layout: SlotLayout, slot: int) -> _Bit | None:
    if layout.mask_bitmap is not None:
        word, own = 4 * (slot // 32), None
        if layout.mask_set is not None and layout.mask_clear is not None:
            own = layout.mask_clear + word, layout.mask_set + word
        return _Bit(layout.mask_bitmap + word, 1 << slot % 32, own)
    if layout.mask is None or layout.control is None:
        return None
    return _Bit(layout.at(slot) + layout.control, 1 << layout.mask)


def _put(bar: Bar, bit: _Bit, value: int) -> None:
    """Change the field only: its register may have others' beside it."""
    if bit.actions is not None:
        bar.write32(bit.actions[value], bit.mask)
        return
    bar.write32(bit.place, bar.read32(bit.place) & ~bit.mask & _ALL | value << bit.shift & bit.mask)


def _get(bar: Bar, bit: _Bit) -> int:
    return (bar.read32(bit.place) & bit.mask) >> bit.shift


def _hold(bar: Bar, layout: SlotLayout) -> None:
    """Every slot masked."""
    for slot in range(layout.count):
        bit = _mask_bit(layout, slot)
        if bit is not None:
            _put(bar, bit, layout.masked_when)


def _word(bar: Bar, name: str, places: Sequence[int], wanted: int) -> Finding:
    """Which bits of a word keep what is written: in all entries the same, or say where not."""
    kept: dict[int, list[int]] = {}
    for number, place in enumerate(places):
        ones, zeros = _ALL, 0
        for pattern in _PATTERNS:
            bar.write32(place, pattern)
            seen = bar.read32(place)
            ones &= seen | ~pattern & _ALL
            zeros |= seen & ~pattern
        kept.setdefault(ones & ~zeros, []).append(number)
    common = max(kept, key=lambda bits: len(kept[bits]))
    others = [f"entry {some[0]} ({len(some)} such): {_spell(bits)}" for bits, some in kept.items() if bits != common]
    text = f"bits {_spell(common)} keep what is written" + (f"; {'; '.join(others)}" if others else "")
    lost = wanted & ~common
    return Finding(name, not others and not lost, text + (f"; {_spell(lost)} must, and do not" if lost else ""))


def _mask(bar: Bar, layout: SlotLayout) -> Finding:
    if not layout.has_mask:
        return Finding("mask", True, "none declared: a slot can only be parked")
    stuck = []
    for slot in range(layout.count):
        bit = _mask_bit(layout, slot)
        assert bit is not None
        answers = []
        for value in (1, 0, 1):
            _put(bar, bit, value)
            answers.append(_get(bar, bit))
        if answers != [1, 0, 1]:
            stuck.append(slot)
    where = f"bit {layout.mask}" if layout.mask_bitmap is None else f"its bit at {layout.mask_bitmap:#x}"
    if stuck:
        text = f"{where} does not follow what is written in {counted(len(stuck), 'entry')} (slot {stuck[0]} first)"
        return Finding("mask", False, text)
    return Finding("mask", True, f"{where} can be set and cleared in every entry")


def _distinct(bar: Bar, layout: SlotLayout) -> Finding:
    """An entry that answers for another one shows that stride or count is wrong."""
    fields = [_data(layout, slot) for slot in range(layout.count)]
    ones = min((1 << layout.limits.data_bits) - 1, 0xFFFF)
    for slot, field in enumerate(fields):
        _put(bar, field, slot + 1 & ones)
    seen = [_get(bar, field) & ones for field in fields]
    wrong = [slot for slot, value in enumerate(seen) if value != slot + 1 & ones]
    if not wrong:
        return Finding("entries", True, f"{layout.count} of them, each its own")
    first = wrong[0]
    why = "reads as all ones" if seen[first] == ones else f"answers {seen[first]:#x} where {first + 1:#x} was written"
    return Finding("entries", False, f"{len(wrong)} of {layout.count} do not keep their own number: slot {first} {why}")


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
