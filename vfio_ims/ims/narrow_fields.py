# SPDX-License-Identifier: Apache-2.0
"""Fields narrower than a register, one for each slot: a bitmap of mask or pending bits, 16-bit data in pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vfio_ims.locks import make_rlock

if TYPE_CHECKING:
    from vfio_ims.device.bar import Bar

__all__ = ["NarrowFields", "SetClearBits"]


class NarrowFields:
    """``width`` bits for each slot, in 32-bit registers from ``offset`` of ``bar``: slot 0 in the lowest bits.

    A register is read and modified under a lock, since neighbours share it; it is written once however many of its
    fields change.
    """

    def __init__(self, bar: Bar, offset: int, width: int) -> None:
        self._bar, self._offset, self._width = bar, offset, width
        self._per_word, self._ones = 32 // width, (1 << width) - 1
        self._lock = make_rlock()

    def get(self, indices: Sequence[int]) -> list[int]:
        """The fields of these slots; each register is read once."""
        words: dict[int, int] = {}
        found = []
        for index in indices:
            number, place = divmod(index, self._per_word)
            if number not in words:
                words[number] = self._bar.read32(self._offset + 4 * number)
            found.append(words[number] >> place * self._width & self._ones)
        return found

    def put(self, values: Iterable[tuple[int, int]]) -> None:
        """Set the fields of these slots, each to its value, and read the last register back, which flushes them."""
        changes: dict[int, tuple[int, int]] = {}
        for index, value in values:
            number, place = divmod(index, self._per_word)
            mask, bits = changes.get(number, (0, 0))
            field = self._ones << place * self._width
            changes[number] = mask | field, bits & ~field | value << place * self._width
        with self._lock:
            for number, (mask, bits) in changes.items():
                at = self._offset + 4 * number
                self._bar.write32(at, self._bar.read32(at) & ~mask & 0xFFFF_FFFF | bits)
        if changes:
            self._bar.read32(self._offset + 4 * number)


class SetClearBits(NarrowFields):
    """One bit for each slot: read from ``offset``, set and cleared by a 1 at its place in registers of their own.

    Nothing is read and modified: a neighbour's bit that changes meanwhile keeps its change.
    """

    def __init__(self, bar: Bar, offset: int, set_at: int, clear_at: int) -> None:
        super().__init__(bar, offset, 1)
        self._actions = (clear_at, set_at)  # by the value that a bit gets

    def put(self, values: Iterable[tuple[int, int]]) -> None:
        """As in a plain register: each to its value, read back."""
        words: dict[int, int] = {}
        for index, value in dict(values).items():
            at = self._actions[value] + 4 * (index // 32)
            words[at] = words.get(at, 0) | 1 << index % 32
        for at, ones in words.items():
            self._bar.write32(at, ones)
        if words:
            self._bar.read32(self._offset)
