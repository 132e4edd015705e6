# SPDX-License-Identifier: Apache-2.0
"""Reads and writes the slots of a device: an array of entries in a BAR, with or without registers beside it."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.errors import UsageError
from vfio_ims.ims.narrow_fields import NarrowFields, SetClearBits
from vfio_ims.messages import Slot
from vfio_ims.registers import MEMORY, EntryWords, SlotLayout

if TYPE_CHECKING:
    from vfio_ims.device import Device

__all__ = ["SlotArray"]

_FEW = 8  # that are read one by one, not with all that lie between them


class SlotArray:
    """``ImsTable`` for what ``layout`` declares, on ``device``. No vendor code.

    Where all entries share one address register, it is written only when a message with another address is written to
    any of them, after those are masked: the caller must know that no other slot is in use then.
    """

    def __init__(self, device: Device, layout: SlotLayout) -> None:
        self._device, self.layout = device, layout
        if layout.bar == MEMORY:
            why, hint = "its entries are in memory", "ContextTable, or a Store with a context"
            raise UsageError("find the slot table", device=device.name, why=why, hint=hint)
        self.size, self.limits = layout.count, layout.limits
        self.has_mask, self.has_pending, self.has_pasid = layout.has_mask, layout.has_pending, layout.has_pasid
        self._bar = device.bar(layout.bar)
        if layout.end > self._bar.size:
            raise UsageError(
                "find the slot table",
                device=device.name,
                why=f"BAR {layout.bar} of {self._bar.size:#x} bytes cannot hold {layout.count} at {layout.offset:#x}",
            )
        own = None if layout.packed else layout.data
        self._words = (layout.low, layout.high, own, layout.control)
        separate = None if layout.data == layout.control else own  # else the control word has the data
        self._address: tuple[int, int | None] | None = None
        """Where the one address register is, in the BAR; None where each entry has its own."""
        self._copies: tuple[tuple[int, int | None], ...] = ()
        if layout.shared_address is not None:
            self._address, self._copies = layout.shared_address, layout.address_copies
        elif layout.limits.one_address:
            assert layout.low is not None
            high = None if layout.high is None else layout.offset + layout.high
            self._address = layout.offset + layout.low, high
        self._data = NarrowFields(self._bar, layout.offset, 16) if layout.packed else None
        self._masks: NarrowFields | None = None
        if layout.mask_bitmap is not None:
            self._masks = NarrowFields(self._bar, layout.mask_bitmap, 1)
            if layout.mask_set is not None and layout.mask_clear is not None:
                self._masks = SetClearBits(self._bar, layout.mask_bitmap, layout.mask_set, layout.mask_clear)
        self._pendings = None if layout.pending_bitmap is None else NarrowFields(self._bar, layout.pending_bitmap, 1)
        self._entries = EntryWords(layout)
        # Masked first, the message, the slot's own control last.
        places = [(layout.low, layout.high), *layout.address_copies] if self._address is None else []
        addresses = [(at, word) for pair in places for at, word in zip(pair, (1, 2), strict=True)]
        order = ((layout.control, 0), *addresses, (separate, 3), (layout.control, 4))
        self._steps = tuple((at, word) for at, word in order if at is not None)
        self._whole = self._address is None and self._data is None and self._masks is None  # nothing lies beside them

    def read(self, index: int) -> Slot:
        """Read entry ``index``: one 32-bit read for each of its words, and for what it has in registers beside it."""
        base, layout, read = self.layout.at(index), self.layout, self._bar.read32
        low, high, data, control = [0 if at is None else read(base + at) for at in self._words]
        if self._address is not None:
            address = self._read_address()
            low, high = address & 0xFFFF_FFFF, address >> 32
        if self._data is not None:
            (data,) = self._data.get((index,))
        masked = self._masks is not None and self._masks.get((index,))[0] == layout.masked_when
        return self._entries.decode(low, high, data, control, masked)

    def _read_address(self) -> int:
        """The address register that all entries share."""
        assert self._address is not None
        low, high = self._address
        return self._bar.read32(low) | (0 if high is None else self._bar.read32(high) << 32)

    def _write_address(self, address: int) -> None:
        """Only when it differs: a write of its two words cannot be seen as one by a slot that sends meanwhile."""
        assert self._address is not None
        if self._read_address() == address:
            return
        for low, high in (*self._copies, self._address):  # what is compared is written last: then all have it
            self._bar.write32(low, address & 0xFFFF_FFFF)
            if high is not None:
                self._bar.write32(high, address >> 32)
        self._bar.read32(self._address[0])

    def read_many(self, indices: Sequence[int]) -> list[Slot]:
        """``read`` of each; where entries are dense, all words between the first and the last in one compiled call."""
        if len(indices) < _FEW or self._data is not None or not self.layout.dense:
            return [self.read(index) for index in indices]
        masks = None if self._masks is None else self._masks.get(indices)
        address = 0 if self._address is None else self._read_address()
        layout, (first, last) = self.layout, _ends(indices)
        size = layout.stride // 4
        words = memoryview(self._bar.read_block(layout.at(first), (last - first + 1) * size)).cast("I")
        known: dict[tuple[bytes, bool], Slot] = {}  # few different entries, as a rule
        found = []
        for number, index in enumerate(indices):
            masked = masks is not None and masks[number] == layout.masked_when
            entry = words[(index - first) * size : (index - first + 1) * size]
            raw = entry.tobytes(), masked
            slot = known.get(raw)
            if slot is None:
                slot = known[raw] = layout.decode_entry(entry, address, masked)
            found.append(slot)
        return found

    def write(self, index: int, slot: Slot) -> None:
        """Write entry ``index``: masked first, then the message, the mask of ``slot`` last; a read flushes."""
        self.write_pattern((index,), (slot,))

    def write_control(self, index: int, slot: Slot) -> None:
        """Write the control word of entry ``index`` whole, or its mask bit in a bitmap; a read flushes.

        What leaves the device after that read obeys the new mask.
        """
        if self.layout.control is not None:
            at = self.layout.at(index) + self.layout.control
            self._bar.write32(at, self.layout.control_word(slot))
            self._bar.read32(at)  # flushes: what leaves after this obeys the new mask
        if self._masks is not None:
            self.layout.at(index)
            self._masks.put([(index, self._mask_bit(slot.masked))])

    def write_controls(self, indices: Sequence[int], slots: Sequence[Slot]) -> None:
        """``write_control`` of the n-th of ``slots`` to the n-th index, all in one compiled call."""
        if not indices:
            return
        layout, (lowest, highest) = self.layout, _ends(indices)
        layout.at(lowest), layout.at(highest)  # both inside, or nothing is written
        if layout.control is not None:
            words = self._entries.rows(slots, len(indices))
            self._bar.write_table(layout.offset, layout.stride, array("I", indices), ((layout.control, 4),), words)
            self._bar.read32(layout.at(indices[-1]) + layout.control)  # flushes them all
        if self._masks is not None:
            bits = [self._mask_bit(slot.masked) for slot in slots]
            self._masks.put(list(zip(indices, bits, strict=True)))

    def _mask_bit(self, masked: bool) -> int:
        return int(masked == bool(self.layout.masked_when))

    def write_many(self, slots: Iterable[tuple[int, Slot]]) -> None:
        """``write`` of each pair of index and slot, in one compiled call."""
        pairs = list(slots)
        self.write_pattern([index for index, _ in pairs], [slot for _, slot in pairs])

    def write_pattern(self, indices: Sequence[int], pattern: Sequence[Slot]) -> None:
        """``write`` of ``pattern[n % len(pattern)]`` to the n-th index, in one compiled call.

        UsageError before anything is written if an index is outside, or if entries that share an address get different
        ones.
        """
        if not indices:
            return
        if self._whole and len(indices) == 1:
            self._write_entry(indices[0], pattern[0])
            return
        lowest, highest = _ends(indices)
        self.layout.at(lowest), self.layout.at(highest)  # both inside, or nothing is written
        if self._whole:
            self._write_entries(indices, pattern)
            return
        addresses = {slot.message.address for slot in pattern}
        if self._address is not None and len(addresses) > 1:
            why = f"they share one address register, the messages have {counted(len(addresses), 'address')}"
            raise UsageError("write slots", device=self._device.name, why=why)
        if self._masks is not None:
            self._masks.put([(index, self._mask_bit(True)) for index in indices])
        if self._address is not None and self._read_address() != pattern[0].message.address:
            self._write_entries(indices, [slot.with_mask(True) for slot in pattern])
            self._write_address(pattern[0].message.address)
        self._write_entries(indices, pattern)
        whole = list(pattern) * -(-len(indices) // len(pattern))
        if self._data is not None:
            self._data.put([(index, slot.message.data & 0xFFFF) for index, slot in zip(indices, whole, strict=False)])
        if self._masks is not None:
            bits = [self._mask_bit(slot.masked) for slot in whole]
            self._masks.put(list(zip(indices, bits, strict=False)))

    def _write_entry(self, index: int, slot: Slot) -> None:
        """``_write_entries`` of one: what every allocation does."""
        layout, bar = self.layout, self._bar
        start = layout.at(index)  # raises outside, before anything is written
        bar.write_table(layout.offset, layout.stride, array("I", (index,)), self._steps, self._entries.of(slot))
        bar.read32(start + self._steps[-1][0])  # flushes it

    def _write_entries(self, indices: Sequence[int], pattern: Sequence[Slot]) -> None:
        """The words of the entries themselves, in one compiled call."""
        if not self._steps:
            return
        words = self._entries.rows(pattern, len(indices))
        layout = self.layout
        self._bar.write_table(layout.offset, layout.stride, array("I", indices), self._steps, words)
        last = layout.at(indices[-1])
        self._bar.read32(last + self._steps[-1][0])  # flushes them all

    def pending(self, index: int) -> bool:
        """Whether entry ``index`` holds an interrupt back: one read. False where the table has no such bit."""
        if self._pendings is not None:
            self.layout.at(index)
            return self._pendings.get((index,))[0] == self.layout.pending_when
        if self.layout.pending is None or self.layout.control is None:
            return False
        return self.layout.is_pending(self._bar.read32(self.layout.at(index) + self.layout.control))

    def pending_among(self, indices: Sequence[int]) -> list[int]:
        """Those of ``indices`` that hold an interrupt back, in one compiled call.

        None where the table has no such bit.
        """
        layout = self.layout
        if self._pendings is not None:
            bits = self._pendings.get(indices)
            return [index for index, bit in zip(indices, bits, strict=True) if bit == layout.pending_when]
        if not indices or layout.pending is None or layout.control is None:
            return []
        if len(indices) == 1:
            word = self._bar.read32(layout.at(indices[0]) + layout.control)  # at() raises outside
            return [indices[0]] if layout.is_pending(word) else []
        lowest, highest = _ends(indices)
        layout.at(lowest), layout.at(highest)
        words = self._bar.read_table(layout.offset + layout.control, layout.stride, array("I", indices))
        column = words[layout.pending // 8 :: 4]
        bit = 1 << layout.pending % 8
        held = bit if layout.pending_when else 0
        if not any(byte & bit == held for byte in set(column)):
            return []
        return [index for index, byte in zip(indices, column, strict=True) if byte & bit == held]

    def drop_pending(self, indices: Sequence[int]) -> list[int]:
        """Write away what these slots hold back. Returns those that the device gives no means for: here all or none."""
        layout = self.layout
        if not layout.drops_pending:
            return list(indices)
        words: dict[int, int] = {}
        for index in indices:
            if layout.pending_bitmap is not None:
                at, bit = layout.pending_bitmap + 4 * (index // 32), 1 << index % 32
                words[at] = words.get(at, 0) | bit
            elif layout.pending is not None and layout.control is not None:
                at = layout.at(index) + layout.control
                words[at] = self._bar.read32(at) | 1 << layout.pending
        for at, word in words.items():
            self._bar.write32(at, word)
        for at in list(words)[-1:]:
            self._bar.read32(at)  # flushes them all
        return []


def _ends(indices: Sequence[int]) -> tuple[int, int]:
    """The lowest and the highest."""
    if isinstance(indices, range):
        return min(indices[0], indices[-1]), max(indices[0], indices[-1])
    return min(indices), max(indices)
