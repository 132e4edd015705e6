# SPDX-License-Identifier: Apache-2.0
"""Several slot tables of one function as one: the slots of the second are numbered after those of the first."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError
from vfio_ims.ims.table import drop_pending, limits_at, write_controls
from vfio_ims.messages import MessageLimits, Slot

if TYPE_CHECKING:
    from vfio_ims.ims.table import ImsTable

__all__ = ["JoinedTable"]


class JoinedTable:
    """``ImsTable`` over ``parts``, such as one table for each direction of a DMA engine.

    It keeps what each of them keeps of a message, and has a mask, pending bits or PASIDs where all have. Slots share an
    address register with slots of their own part only.
    """

    def __init__(self, parts: Sequence[ImsTable]) -> None:
        self._parts = tuple(parts)
        self._starts = [0, *accumulate(part.size for part in self._parts)]
        self.size = self._starts.pop()
        self.limits = _together([(part.limits, part.size) for part in self._parts])
        self.has_mask = all(part.has_mask for part in self._parts)
        self.has_pending = all(part.has_pending for part in self._parts)
        self.has_pasid = all(part.has_pasid for part in self._parts)

    def _at(self, index: int) -> tuple[ImsTable, int]:
        """The part that has slot ``index``, and its number there. UsageError outside the table."""
        if not 0 <= index < self.size:
            raise UsageError("select a slot", why=f"slot must be below {self.size}, not {index}")
        number = bisect_right(self._starts, index) - 1
        return self._parts[number], index - self._starts[number]

    def _apart(self, indices: Sequence[int]) -> list[tuple[ImsTable, list[int], list[int]]]:
        """By part: the slots' numbers there, and their places in ``indices``."""
        found: dict[int, tuple[ImsTable, list[int], list[int]]] = {}
        for place, index in enumerate(indices):
            part, own = self._at(index)
            _, inside, places = found.setdefault(id(part), (part, [], []))
            inside.append(own)
            places.append(place)
        return list(found.values())

    def limits_at(self, index: int) -> MessageLimits:
        """What entry ``index`` keeps: that is its part's."""
        part, own = self._at(index)
        return limits_at(part, own)

    def read(self, index: int) -> Slot:
        """Entry ``index``, as the part that has it reads it."""
        part, own = self._at(index)
        return part.read(own)

    def read_many(self, indices: Sequence[int]) -> list[Slot]:
        """The entries in the order of ``indices``: one ``read_many`` for each part."""
        slots: dict[int, Slot] = {}
        for part, inside, places in self._apart(indices):
            slots.update(zip(places, part.read_many(inside), strict=True))
        return [slots[place] for place in range(len(indices))]

    def write(self, index: int, slot: Slot) -> None:
        """Entry ``index``, as the part that has it writes it."""
        part, own = self._at(index)
        part.write(own, slot)

    def write_control(self, index: int, slot: Slot) -> None:
        """Mask and PASID of entry ``index``, as the part that has it writes them."""
        part, own = self._at(index)
        part.write_control(own, slot)

    def write_controls(self, indices: Sequence[int], slots: Sequence[Slot]) -> None:
        """As ``write_control`` of each, with one call for each part."""
        for part, inside, places in self._apart(indices):
            write_controls(part, inside, [slots[place] for place in places])

    def write_many(self, slots: Iterable[tuple[int, Slot]]) -> None:
        """One ``write_many`` for each part: their order among parts is not that of ``slots``."""
        pairs = list(slots)
        for part, inside, places in self._apart([index for index, _ in pairs]):
            part.write_many([(own, pairs[place][1]) for own, place in zip(inside, places, strict=True)])

    def write_pattern(self, indices: Sequence[int], pattern: Sequence[Slot]) -> None:
        """As ``ImsTable.write_pattern``, with one call for each part."""
        for part, inside, places in self._apart(indices):
            whole = pattern if len(pattern) == 1 else [pattern[place % len(pattern)] for place in places]
            part.write_pattern(inside, whole)

    def pending(self, index: int) -> bool:
        """Whether entry ``index`` holds an interrupt back, as its part says."""
        part, own = self._at(index)
        return part.pending(own)

    def pending_among(self, indices: Sequence[int]) -> list[int]:
        """Those of ``indices`` that hold an interrupt back: one question for each part."""
        found: list[int] = []
        for part, inside, places in self._apart(indices):
            pending = set(part.pending_among(inside))
            found += [indices[place] for own, place in zip(inside, places, strict=True) if own in pending]
        return sorted(found)

    def drop_pending(self, indices: Sequence[int]) -> list[int]:
        """As ``drop_pending`` of each part, which need not have it."""
        left: list[int] = []
        for part, inside, places in self._apart(indices):
            still = set(drop_pending(part, inside))
            left += [indices[place] for own, place in zip(inside, places, strict=True) if own in still]
        return sorted(left)


def _together(parts: Sequence[tuple[MessageLimits, int]]) -> MessageLimits:
    """What every part keeps. Where one shares an address, each slot has the number of its address register."""
    groups: list[int] = []
    for limits, size in parts:
        start = len(set(groups))
        own = limits.address_groups if limits.one_address and limits.address_groups else (0,) * size
        groups += [start + number for number in (own if limits.one_address else range(size))]
    mask = fixed = (1 << 64) - 1
    for limits, _ in parts:
        mask &= limits.address_mask
        fixed &= limits.address_fixed | limits.address_mask
    one_address = any(limits.one_address for limits, _ in parts)
    return MessageLimits(
        data_bits=min(limits.data_bits for limits, _ in parts),
        address_mask=mask,
        address_fixed=fixed & ~mask & (1 << 64) - 1 & ~3,
        one_address=one_address,
        address_groups=tuple(groups) if one_address else (),
    )
