# SPDX-License-Identifier: Apache-2.0
"""What can be wrong with a declared slot layout, in words that name the field to change."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.counted import counted

if TYPE_CHECKING:
    from vfio_ims.registers.slots import SlotLayout

__all__ = ["DENSE", "layout_fault"]

DENSE = 64
"""Bytes an entry: where entries lie further apart, other registers lie between their words."""


def layout_fault(layout: SlotLayout) -> str:
    """Why ``layout`` describes no table; "" where it does."""
    return _beside(layout) or _numbers(layout) or ("" if layout.packed else _words(layout) or _fields(layout))


def _beside(layout: SlotLayout) -> str:
    """What lies beside the entries, and whether it agrees with them."""
    pair: object = layout.shared_address
    if pair is not None and not (isinstance(pair, tuple) and len(pair) == 2):
        return f"shared_address is a pair, of its low and its high word, such as (0x20, 0x24), not {pair!r}"
    copies = [place for copy in layout.address_copies for place in copy]
    bitmaps = [layout.mask_bitmap, layout.mask_set, layout.mask_clear, layout.pending_bitmap]
    beside = [*(layout.shared_address or ()), *bitmaps, *copies]
    wrong = [place for place in beside if place is not None and (place % 4 or place < 0)]
    if wrong:
        return f"registers beside the entries must be at multiples of 4, not {_hex(wrong)}"
    if (layout.shared_address is None) == (layout.low is None):
        return "an entry has low, or all entries have shared_address: one of the two"
    if layout.low is None and layout.high is not None:
        return "high must be None without low"
    if layout.mask_bitmap is not None and layout.mask is not None:
        return "the mask is in the control word or in mask_bitmap: one of mask and mask_bitmap must be None"
    if layout.pending_bitmap is not None and layout.pending is not None:
        return "pending is in the control word or in pending_bitmap: one of the two must be None"
    if (layout.mask_set is None) != (layout.mask_clear is None):
        return "mask_set and mask_clear go together"
    if layout.bar < 0 and any(place is not None for place in beside):
        return "entries in memory have no registers beside them"
    return _apart(layout)


def _apart(layout: SlotLayout) -> str:
    """Registers beside the entries, each in a place of its own; a mask may be read where it is set or cleared."""
    shared, size = layout.shared_address, -(-layout.count // 32)
    places = {"shared_address": [place for place in shared or () if place is not None]}
    for name in ("mask_set", "mask_clear", "mask_bitmap", "pending_bitmap"):
        start = getattr(layout, name)
        if start is not None and (name != "mask_bitmap" or start not in (layout.mask_set, layout.mask_clear)):
            places[name] = [start + 4 * number for number in range(size)]
    taken: dict[int, str] = {}
    for name, own in places.items():
        for place in own:
            if place in taken:
                registers = f"{counted(layout.count, 'slot')} need {size} of each" if size > 1 else "each needs its own"
                return f"{taken[place]} and {name} are both at {place:#x}: {registers}"
            inside = (place - layout.offset) % layout.stride
            if not layout.packed and inside in layout.words and layout.covers(place):
                return f"{name} at {place:#x} lies on a word of entry {(place - layout.offset) // layout.stride}"
            taken[place] = name
    return ""


def _numbers(layout: SlotLayout) -> str:
    if layout.bar not in range(-1, 6):
        return f"bar must be 0 to 5, or MEMORY, not {layout.bar}"
    if layout.count < 1:
        return f"count must be 1 or more, not {layout.count}"
    if layout.offset % 4 or layout.offset < 0:
        return f"offset must be a multiple of 4, not {layout.offset:#x}"
    if layout.masked_when not in (0, 1):
        return f"masked_when must be 0 or 1, the mask bit's value that holds messages back, not {layout.masked_when!r}"
    return _pending(layout) or _sizes(layout)


def _pending(layout: SlotLayout) -> str:
    if layout.pending_when not in (0, 1):
        return f"pending_when must be 0 or 1, the pending bit's value while it pends, not {layout.pending_when!r}"
    if layout.pending_access not in ("ro", "rw1c"):
        return f'pending_access must be "ro" or "rw1c", not {layout.pending_access!r}'
    if layout.pending_access == "rw1c" and layout.bar < 0:
        return "pending bits in memory cannot be written to clear them: pending_access must be ro"
    return ""


def _sizes(layout: SlotLayout) -> str:
    if layout.packed and (layout.data or layout.low is not None or layout.control is not None):
        return "entries of 2 bytes hold data only: data=0, low=None, high=None, control=None"
    if not layout.packed and (layout.stride % 4 or layout.stride < 4):
        return f"stride must be 2 or a multiple of 4, not {layout.stride}"
    return ""


def _words(layout: SlotLayout) -> str:
    """Every word inside the stride, each in a place of its own."""
    named = {name: getattr(layout, name) for name in ("low", "high", "data", "control")}
    copies = [] if layout.low is None else [place for copy in layout.address_copies for place in copy]
    named |= {f"address copy {number}": place for number, place in enumerate(copies)}
    taken: dict[int, str] = {}
    for name, at in named.items():
        if at is None:
            continue
        if not 0 <= at <= layout.stride - 4:
            last = layout.stride - 4
            return (
                f"{name}={at} lies outside an entry: with stride={layout.stride} its last word is at {last} ({last:#x})"
            )
        if at % 4:
            return f"{name}={at} is no place of a 32-bit word: it must be a multiple of 4"
        if at in taken and (taken[at], name) != ("data", "control"):
            return f"{taken[at]} and {name} are both at {at:#x} of the entry"
        taken[at] = name
    return ""


def _fields(layout: SlotLayout) -> str:
    """Bits of the control word, and of the data word that may be the same."""
    flags = {name: getattr(layout, name) for name in ("mask", "pending", "ignore", "pasid_enable")}
    flags = {name: bit for name, bit in flags.items() if bit is not None}
    if layout.control is None and flags:
        return f"{', '.join(flags)} must be None without a control word"
    wrong = [f"{name}={bit}" for name, bit in flags.items() if bit not in range(32)]
    if wrong:
        return f"{wrong[0]} is no bit of a 32-bit control word"
    if layout.data_bits.high > 31:
        return f"data_bits must be in a 32-bit word, not reach bit {layout.data_bits.high}"
    used = [(name, 1 << bit) for name, bit in flags.items()]
    used += [("pasid", layout.pasid.mask)] if layout.pasid_enable is not None else []
    used += [("data_bits", layout.data_bits.mask)] if layout.data == layout.control else []
    taken = 0
    for name, mask in used:
        if taken & mask:
            return f"{name} overlaps another field of the control word"
        taken |= mask
    return ""


def _hex(places: list[int]) -> str:
    return ", ".join(f"{place:#x}" for place in places)
