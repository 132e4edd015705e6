# SPDX-License-Identifier: Apache-2.0
"""An entry of a slot array as the words that are stored to it and read from it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.messages import Slot
    from vfio_ims.registers.slots import SlotLayout

__all__ = ["EntryWords"]

_MOST = 64  # slots whose words are remembered


class EntryWords:
    """Words of ``layout``'s entries. The latest are remembered: idle slots are all alike, and so are a donor's."""

    def __init__(self, layout: SlotLayout) -> None:
        self._layout, self._field = layout, layout.data_bits
        bit = 0 if layout.mask is None else 1 << layout.mask
        # What a control word is or-ed and and-ed with, so that it holds messages back.
        self._ones = bit if layout.masked_when else 0
        self._kept = 0xFFFF_FFFF if layout.masked_when else ~bit & 0xFFFF_FFFF
        self._encoded: dict[int, tuple[Slot, array[int]]] = {}  # by the slot's id, which it keeps while it is here
        self._decoded: tuple[tuple[int, int, int, int, bool] | None, Slot | None] = (None, None)

    def of(self, slot: Slot) -> array[int]:
        """Five words: ``slot``'s control word but masked, its address's halves, its data, the control word as it is."""
        known = self._encoded.get(id(slot))
        return self._encode(slot) if known is None else known[1]

    def _encode(self, slot: Slot) -> array[int]:
        message, field = slot.message, self._field
        address, data = message.address, message.data << field.low & field.mask
        final = self._layout.control_word(slot)
        masked = (final | self._ones) & self._kept
        row = array("I", (masked, address & 0xFFFF_FFFF, address >> 32, data, final))
        if len(self._encoded) >= _MOST:
            self._encoded = {}
        self._encoded[id(slot)] = slot, row
        return row

    def rows(self, pattern: Sequence[Slot], count: int) -> array[int]:
        """``count`` rows of words, the n-th of ``pattern[n % len(pattern)]``."""
        if len(pattern) == 1:
            return self.of(pattern[0]) * count
        row = array("I")
        for slot in pattern:
            known = self._encoded.get(id(slot))
            row += self._encode(slot) if known is None else known[1]
        words = row * -(-count // len(pattern))
        del words[len(row) // len(pattern) * count :]
        return words

    def decode(self, low: int, high: int, data: int, control: int, masked: bool) -> Slot:
        """The slot in the words ``low``, ``high``, ``data`` and ``control``.

        ``masked``: its bit in a bitmap beside the entries, where there is one.
        """
        raw = low, high, data, control, masked
        known, slot = self._decoded
        if slot is None or known != raw:
            slot = self._layout.decode(*raw)
            self._decoded = raw, slot
        return slot
