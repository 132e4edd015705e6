# SPDX-License-Identifier: Apache-2.0
"""A slot table that is a plain array of entries in a BAR: DSA, IAA, QAT gen4, DLB 2.5."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError
from vfio_ims.messages import MessageLimits, Slot
from vfio_ims.registers import SlotLayout

if TYPE_CHECKING:
    from vfio_ims.device import Device

__all__ = ["SlotArray"]

_FEW = 8  # that are read one by one, not with all that lie between them


class SlotArray:
    """``ImsTable`` for what ``layout`` declares, on ``device``. No vendor code."""

    def __init__(self, device: Device, layout: SlotLayout) -> None:
        self._device, self.layout = device, layout
        self._bar = device.bar(layout.bar)
        if layout.offset + layout.size > self._bar.size:
            raise UsageError(
                "find the slot table",
                device=device.name,
                why=f"BAR {layout.bar} of {self._bar.size:#x} bytes cannot hold {layout.count} at {layout.offset:#x}",
            )
        # Masked first, the message, the slot's own control last.
        order = (layout.control, layout.low, layout.high, layout.data, layout.control)
        self._steps = tuple((at, word) for word, at in enumerate(order) if at is not None)

    size = property(lambda self: self.layout.count)
    limits: MessageLimits = property(lambda self: self.layout.limits)  # type: ignore[assignment]
    has_mask = property(lambda self: self.layout.has_mask)
    has_pending = property(lambda self: self.layout.has_pending)
    has_pasid = property(lambda self: self.layout.has_pasid)

    def read(self, index: int) -> Slot:
        base, layout = self.layout.at(index), self.layout
        words = (
            0 if at is None else self._bar.read32(base + at)
            for at in (layout.low, layout.high, layout.data, layout.control)
        )
        return layout.decode(*words)

    def read_many(self, indices: Sequence[int]) -> list[Slot]:
        if len(indices) < _FEW:
            return [self.read(index) for index in indices]
        layout, (first, last) = self.layout, _ends(indices)
        size = layout.stride // 4
        words = memoryview(self._bar.read_block(layout.at(first), (last - first + 1) * size)).cast("I")
        known: dict[bytes, Slot] = {}  # few different entries, as a rule
        found = []
        for index in indices:
            entry = words[(index - first) * size : (index - first + 1) * size]
            raw = entry.tobytes()
            slot = known.get(raw)
            if slot is None:
                slot = known[raw] = layout.decode_entry(entry)
            found.append(slot)
        return found

    def write(self, index: int, slot: Slot) -> None:
        self.write_pattern((index,), (slot,))

    def write_control(self, index: int, slot: Slot) -> None:
        if self.layout.control is not None:
            at = self.layout.at(index) + self.layout.control
            self._bar.write32(at, self.layout.control_word(slot))
            self._bar.read32(at)  # flushes: what leaves after this obeys the new mask

    def write_many(self, slots: Iterable[tuple[int, Slot]]) -> None:
        pairs = list(slots)
        self.write_pattern([index for index, _ in pairs], [slot for _, slot in pairs])

    def write_pattern(self, indices: Sequence[int], pattern: Sequence[Slot]) -> None:
        if not indices:
            return
        lowest, highest = _ends(indices)
        self.layout.at(lowest), self.layout.at(highest)  # both inside, or nothing is written
        row = array("I")
        for slot in pattern:
            message = slot.message
            held = self.layout.control_word(slot.with_mask(True))
            final = self.layout.control_word(slot)
            row.extend((held, message.address & 0xFFFF_FFFF, message.address >> 32, message.data, final))
        words = row * -(-len(indices) // len(pattern))
        del words[len(row) // len(pattern) * len(indices) :]
        layout = self.layout
        self._bar.write_table(layout.offset, layout.stride, array("I", indices), self._steps, words)
        last = layout.at(indices[-1])
        self._bar.read32(last + (layout.control if layout.control is not None else layout.low))  # flushes them all

    def pending(self, index: int) -> bool:
        if not self.layout.has_pending or self.layout.control is None:
            return False
        return self.layout.is_pending(self._bar.read32(self.layout.at(index) + self.layout.control))

    def pending_among(self, indices: Sequence[int]) -> list[int]:
        layout = self.layout
        if not indices or layout.pending is None or layout.control is None:
            return []
        if len(indices) < _FEW:
            return [index for index in indices if self.pending(index)]
        first, last = _ends(indices)
        span = self._bar.read_block(layout.at(first), (last - first + 1) * layout.stride // 4)
        column = span[layout.control + layout.pending // 8 :: layout.stride]
        bit = 1 << layout.pending % 8
        if not any(byte & bit for byte in set(column)):
            return []
        return [index for index in indices if column[index - first] & bit]


def _ends(indices: Sequence[int]) -> tuple[int, int]:
    """The lowest and the highest."""
    if isinstance(indices, range):
        return min(indices[0], indices[-1]), max(indices[0], indices[-1])
    return min(indices), max(indices)
