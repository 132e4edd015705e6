# SPDX-License-Identifier: Apache-2.0
"""The IMS slots of a model: what an entry keeps, when it sends, when it pends."""

from __future__ import annotations

import mmap
import os
import sys
from array import array
from collections.abc import Callable, Sequence
from struct import Struct

from vfio_ims.errors import UsageError
from vfio_ims.messages import FireStatus, Slot
from vfio_ims.models.row_plans import RowPlans
from vfio_ims.models.slot_beside import Beside
from vfio_ims.native.access import change
from vfio_ims.native.memory import address_of, sealed_file
from vfio_ims.registers import SlotLayout

__all__ = ["SlotStore"]

_WORD, _HALF = Struct("<I"), Struct("<H")
_MOST_DECODED = 4096
_ALL_KEPT = 0xFFFF_FFFF, 0
_IS = [[bytes(byte >> bit & 1 == value for byte in range(256)) for bit in range(8)] for value in (0, 1)]
"""By value and bit: for each byte 1 where the bit has the value."""


def _limited_words(layout: SlotLayout) -> dict[int, tuple[int, int]]:
    """By place in an entry: the bits that a word keeps, and those that read as 1, for words that do not keep all."""
    limits, ones = layout.limits, 0xFFFF_FFFF
    mask, fixed = limits.address_mask, limits.address_fixed & ~limits.address_mask
    words = {layout.low: (mask & ones, fixed & ones), layout.high: (mask >> 32, fixed >> 32)}
    field = layout.data_bits
    words[layout.data] = (0xFFFF if layout.packed else field.mask) & (1 << limits.data_bits + field.low) - 1, 0
    return {at: kept for at, kept in words.items() if at is not None and kept != (ones, 0)}


class SlotStore:
    """A table laid out by ``layout``. ``send(address, data)`` is the bus write that a fire ends in.

    An entry keeps its declared bits, reserved ones read as zero, pending is read-only, or a 1 drops it as declared.
    ``layout.limits`` is enforced: data has its width, an address the bits that are kept, and where one address serves
    all entries there is one register for it. After reset an entry is masked and zero: inferred, the reset value of
    DSA's slots is not public (``reset_masked=False`` gives DLB 2.5's). ``load`` and ``store`` take offsets from the
    table's start; ``beside`` has the registers that the layout declares elsewhere in the BAR.

    ``shared``: the table is a memory file that a client maps. Its stores are then not seen: pending is kept here and
    mirrored into the entry, and ``watch`` finds slots that were unmasked meanwhile.
    """

    def __init__(
        self, layout: SlotLayout, send: Callable[[int, int], None], *, shared: bool = False, reset_masked: bool = True
    ) -> None:
        self.layout, self._send, self._packed = layout, send, layout.packed
        self._dense = layout.dense
        self.span = range(layout.offset, layout.offset + layout.size)
        """Where the table is in its BAR."""
        self.pending: set[int] = set()
        self._held = bytearray(layout.count)  # the same: a byte 1 for each
        self._decoded: dict[object, Slot] = {}
        self._has_pasid = layout.has_pasid
        self.beside = Beside(layout, self.pending, self._unset_pending, reset_masked=reset_masked)
        beyond = self.beside.places or layout.limits.one_address or self._packed or layout.drops_pending
        if shared and beyond:
            why = "its slot table is more than a plain array of entries, each with its own address"
            raise UsageError("offer a model's slots for mapping", why=why, hint="map_slots=no")
        if shared and layout.offset % mmap.PAGESIZE:
            why = f"its slot table begins at {layout.offset:#x}, within a page of this machine ({mmap.PAGESIZE:#x})"
            raise UsageError("offer a model's slots for mapping", why=why, hint="map_slots=no")
        self.fd, self._address = -1, 0  # both set where the table is shared
        self._memory: bytearray | mmap.mmap
        if shared:
            size = self.mapped_size
            # Addressed as the BAR is: what lies below takes no memory.
            self.fd = sealed_file("vfio-ims-slots", layout.offset + size)
            self._memory = mmap.mmap(self.fd, size, offset=layout.offset)
            self._address = address_of(self._memory)
        else:
            self._memory = bytearray(layout.size)
        self._reset_control = layout.control_word(Slot(masked=reset_masked))
        self._kept = self._kept_bits()
        self._limited = _limited_words(layout)
        self._stride, self._control = layout.stride, layout.control
        self._words = {at for at in (layout.low, layout.high, layout.data) if at is not None}
        self._whole = not self._packed and not layout.limits.one_address
        self._plain = self._whole and self._dense and not self.beside.places
        self.reads_plainly = self._plain and self.fd < 0 and type(self).load is SlotStore.load
        """Whether a read gives the bytes as they are, and does nothing else."""
        self._quick = type(self) is SlotStore and self._plain and self.fd < 0 and not layout.drops_pending
        self.words_in_order = memoryview(self._memory).cast("I") if self._quick and not layout.size % 4 else None
        """The table as words of this machine, where they are only stored (``store_plain``)."""
        self._rules = {at: self._limited.get(at, (0xFFFF_FFFF, 0)) for at in self._words}
        if layout.control is not None:
            self._rules[layout.control] = (self._kept, self._pending_bit(0))
        self._plans = RowPlans(self._rules, self._stride)
        self.reset()

    @property
    def memory(self) -> bytearray | mmap.mmap:
        """The bytes of the table, never replaced."""
        return self._memory

    @property
    def mapped_size(self) -> int:
        """Bytes that a client maps: whole pages."""
        return -(-self.layout.size // mmap.PAGESIZE) * mmap.PAGESIZE

    def _kept_bits(self) -> int:
        layout = self.layout
        bits = sum(1 << bit for bit in (layout.mask, layout.ignore, layout.pasid_enable) if bit is not None)
        bits |= layout.data_bits.mask if layout.data == layout.control else 0
        return bits | (layout.pasid.mask if layout.has_pasid else 0)

    def reset(self) -> None:
        """Every entry as after power-on; pending bits are forgotten."""
        self.pending.clear()
        self._held = bytearray(self.layout.count)
        self.beside.reset()
        entry = bytearray(self.layout.stride)
        if self.layout.control is not None:
            _WORD.pack_into(entry, self.layout.control, self._reset_control | self._pending_bit(0))
        for at, (_, fixed) in self._limited.items():
            if not self._packed:
                _WORD.pack_into(entry, at, fixed)
        self._memory[: self.layout.size] = bytes(entry) * self.layout.count

    def words(self, index: int) -> tuple[int, int, int, int]:
        """Address low, high, data, control; a word that the layout lacks is 0."""
        base, layout = index * self.layout.stride, self.layout
        if self._packed:
            low, high = self.beside.address
            return low, high, int(_HALF.unpack_from(self._memory, base)[0]), 0
        low, high, data, control = (
            0 if at is None else int(_WORD.unpack_from(self._memory, base + at)[0])
            for at in (layout.low, layout.high, layout.data, layout.control)
        )
        if layout.limits.one_address:
            low, high = self.beside.address
        return low, high, data, control

    def slot(self, index: int) -> Slot:
        """The entry decoded; as long as its bytes are the same, the same object."""
        base = index * self._stride
        entry: object = bytes(self._memory[base : base + self._stride])
        if not self._plain:
            entry = entry, self.beside.state(index)
        known = self._decoded.get(entry)
        if known is None:
            masked = bool(self.beside.state(index)[2])
            known = self.layout.decode(*self.words(index), masked=masked)
            if self.fd >= 0:  # a client's stores to the mapping were not seen
                known = known.with_message(self.layout.limits.kept(known.message))
            if len(self._decoded) > _MOST_DECODED:
                self._decoded.clear()
            self._decoded[entry] = known
        return known

    def covers(self, offset: int) -> bool:
        """Whether ``offset`` in the BAR is the table's: in an entry, or in a register beside them."""
        if self._plain:
            return offset in self.span
        return (offset in self.span and (self._dense or self.layout.covers(offset))) or self.beside.covers(offset)

    def answer(self, offset: int, size: int) -> bytes:
        """A read by the client at ``offset`` in the BAR."""
        if self._plain or (offset in self.span and not self.beside.covers(offset)):
            return self.load(offset - self.span.start, size)
        return self.beside.load(offset, size)

    def take(self, offset: int, data: bytes) -> list[int]:
        """A write by the client at ``offset`` in the BAR; returns the slots that may be unmasked now."""
        if self._plain or (offset in self.span and not self.beside.covers(offset)):
            return self.store(offset - self.span.start, data)
        return self.beside.store(offset, data)

    def load(self, offset: int, size: int) -> bytes:
        """A read by the client, ``offset`` from the table's start."""
        if not self.layout.limits.one_address or self.layout.low is None:
            return bytes(self._memory[offset : offset + size])
        return self._with_one_address(offset, size)

    def _with_one_address(self, offset: int, size: int) -> bytes:
        """Every entry shows the one address register."""
        layout, start = self.layout, offset & ~3
        found = bytearray(self._memory[start : offset + size + 3 & ~3])
        for at in range(start, start + len(found), 4):
            word = at % layout.stride
            if word in (layout.low, layout.high):
                _WORD.pack_into(found, at - start, self.beside.address[word != layout.low])
        return bytes(found[offset - start : offset - start + size])

    def store(self, offset: int, data: bytes) -> list[int]:
        """A write by the client; returns the entries whose control word it touched."""
        if self._whole and len(data) == 4 and not offset & 3:
            return self._store_word(offset, data)
        touched: list[int] = []
        layout = self.layout
        if self._packed:
            self._store_packed(offset, data)
            return touched
        for at in range(offset & ~3, offset + len(data), 4):
            index, word = divmod(at, layout.stride)
            if index >= layout.count or word not in (layout.low, layout.high, layout.data, layout.control):
                continue
            first, last = max(at, offset), min(at + 4, offset + len(data))
            cell = bytearray(self._memory[at : at + 4])
            cell[first - at : last - at] = data[first - offset : last - offset]
            if word == layout.control:
                self._drop_pending(index, data[first - offset : last - offset], first - at)
                kept = _WORD.unpack(cell)[0] & self._kept | self._pending_bit(index)
                _WORD.pack_into(cell, 0, kept)
                touched.append(index)
            elif word in self._limited:
                mask, fixed = self._limited[word]
                _WORD.pack_into(cell, 0, _WORD.unpack(cell)[0] & mask | fixed)
            if layout.limits.one_address and word in (layout.low, layout.high):
                self.beside.address[word != layout.low] = _WORD.unpack(cell)[0]
            self._memory[at : at + 4] = bytes(cell)
        return touched

    def _store_word(self, offset: int, data: bytes) -> list[int]:
        """A whole word of a plain entry: what a table is written with, thousands at a time."""
        index, word = divmod(offset, self._stride)
        if word == self._control:
            self._drop_pending(index, data, 0)
            kept = _WORD.unpack(data)[0] & self._kept | self._pending_bit(index)
            self._memory[offset : offset + 4] = _WORD.pack(kept)
            return [index]
        if word in self._limited:
            mask, fixed = self._limited[word]
            data = _WORD.pack(_WORD.unpack(data)[0] & mask | fixed)
        elif word not in self._words:
            return []
        self._memory[offset : offset + 4] = data
        return []

    def take_words(self, writes: Sequence[tuple[int, bytes]]) -> int:
        """Writes by the client, offsets in the BAR, as ``take`` does each. How many of the first of them were taken.

        Only whole words of a plain table, none while an entry is pending: those have nothing to do afterwards.
        """
        if not self._quick or self.pending:
            return 0
        memory, rules, stride, start, size = self._memory, self._rules, self._stride, self.span.start, len(self.span)
        unpack, pack_into = _WORD.unpack, _WORD.pack_into
        for taken, (offset, data) in enumerate(writes):
            at = offset - start
            if at & 3 or len(data) != 4 or not 0 <= at < size:
                return taken
            rule = rules.get(at % stride)
            if rule is not None:
                pack_into(memory, at, unpack(data)[0] & rule[0] | rule[1])
        return len(writes)

    def store_plain(self, at: int, value: int) -> bool:
        """A write of the word ``at`` bytes from the table's start, aligned. False: it may set something off."""
        if not self._quick or self.pending:
            return False
        rule = self._rules.get(at % self._stride)
        if rule is not None:
            _WORD.pack_into(self._memory, at, value & rule[0] | rule[1])
        return True

    def store_rows(self, rows: Sequence[int], steps: Sequence[tuple[int, int]], cells: memoryview) -> bool:
        """Write words of ``rows``: for each of ``steps`` the word at its place of a row from its place in ``cells``.

        ``cells``: native words, as many for each row. False: it may set something off, or a row is outside.
        """
        words = self.words_in_order
        if words is None or self.pending or sys.byteorder != "little":
            return False
        count, size = len(rows), self._stride // 4
        if not count or self._stride % 4 or min(rows) < 0 or max(rows) >= self.layout.count:
            return False
        plan = self._plans.of(tuple(steps))
        if plan is None:
            return False
        first = rows[0]
        if count == 1:
            for place, source, kept, fixed in plan:
                words[first * size + place] = cells[source] & kept | fixed
            return True
        per_row = len(cells) // count
        together = list(rows) == list(range(first, first + count))
        for place, source, kept, fixed in plan:
            column = cells[source::per_row]
            if (kept, fixed) != _ALL_KEPT:
                column = memoryview(array("I", [word & kept | fixed for word in column]))
            if together:
                words[first * size + place : (first + count) * size : size] = column
            else:
                for row, word in zip(rows, column, strict=True):
                    words[row * size + place] = word
        return True

    def _store_packed(self, offset: int, data: bytes) -> None:
        mask = (1 << self.layout.limits.data_bits) - 1
        end = min(offset + len(data), self.layout.size)
        self._memory[offset:end] = data[: end - offset]
        for at in range(offset & ~1, end, 2):
            _HALF.pack_into(self._memory, at, _HALF.unpack_from(self._memory, at)[0] & mask)

    def fire(self, index: int, pasid: int | None = None) -> FireStatus:
        """The device raises slot ``index`` for work tagged ``pasid``."""
        slot = self.slot(index)
        if self._has_pasid and slot.pasid != pasid and not slot.ignore:
            return FireStatus.REFUSED
        if slot.masked:
            self._set_pending(index)
            return FireStatus.PENDING
        self.emit(index, slot)
        return FireStatus.SENT

    def emit(self, index: int, slot: Slot) -> None:
        """Send the slot's message."""
        self._send(slot.message.address, slot.message.data)

    def discharge(self, index: int) -> None:
        """Send what is pending if the entry is unmasked now: called after its control word was written."""
        if index in self.pending:
            slot = self.slot(index)
            if not slot.masked:
                self._unset_pending(index)
                self.emit(index, slot)

    def watch(self) -> bool:
        """Discharge every pending entry that the client has unmasked through its mapping. Whether any is left."""
        for index in self._touched():
            self.discharge(index)
            if index in self.pending:
                self._mirror(index)
        return bool(self.pending)

    def _touched(self) -> list[int]:
        """The pending entries whose mask is off or whose pending bit was overwritten.

        Thousands are looked through at once, since this happens two thousand times a second.
        """
        layout, wanted = self.layout, int.from_bytes(self._held, "little")
        if not wanted or layout.control is None:
            return []
        changed = 0
        for bit, off in ((layout.mask, 1 - layout.masked_when), (layout.pending, 1 - layout.pending_when)):
            if bit is not None:
                column = bytes(self._memory[layout.control + bit // 8 : layout.size : layout.stride])
                changed |= int.from_bytes(column.translate(_IS[off][bit % 8]), "little")
        flags = (changed & wanted).to_bytes(layout.count, "little")
        found, at = [], flags.find(1)
        while at >= 0:
            found.append(at)
            at = flags.find(1, at + 1)
        return found

    def _set_pending(self, index: int) -> None:
        if self.layout.has_pending:
            self.pending.add(index)
            self._held[index] = 1
            self._mirror(index)

    def _unset_pending(self, index: int) -> None:
        self.pending.discard(index)
        self._held[index] = 0
        self._mirror(index)

    def _drop_pending(self, index: int, data: bytes, place: int) -> None:
        """Forget what the entry holds back, where ``data``, written at ``place`` of its control word, says so."""
        bit = self.layout.pending
        if bit is not None and self.layout.drops_pending and int.from_bytes(data, "little") << 8 * place >> bit & 1:
            self._unset_pending(index)

    def _pending_bit(self, index: int) -> int:
        """What the control word has in its pending bit."""
        bit = self.layout.pending
        return 0 if bit is None or (index in self.pending) != bool(self.layout.pending_when) else 1 << bit

    def _mirror(self, index: int) -> None:
        if self.layout.control is None:
            return
        at, bit = index * self.layout.stride + self.layout.control, self._pending_bit(index)
        if self._address:  # the client may unmask at the same time: its store must not be undone
            change(self._address + at, clear=~(self._kept | bit) & 0xFFFF_FFFF, set=bit)
        else:
            control = _WORD.unpack_from(self._memory, at)[0] & self._kept | bit
            self._memory[at : at + 4] = _WORD.pack(control)

    def close(self) -> None:
        """Free the shared memory of the table; the descriptor is closed."""
        self._address = 0
        if isinstance(self._memory, mmap.mmap):
            self._memory.close()
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
