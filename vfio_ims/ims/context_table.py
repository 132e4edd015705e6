# SPDX-License-Identifier: Apache-2.0
"""A slot table in our own DMA memory: wherever the device reads entries from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vfio_ims.messages import Slot
from vfio_ims.registers import Context, Doorbell, SlotLayout

if TYPE_CHECKING:
    from vfio_ims.device import Device

__all__ = ["ContextTable"]


class ContextTable:
    """``ImsTable`` for entries laid out by ``layout`` in DMA memory of ours, handed over as ``context`` says.

    Every entry is quiet until the device is shown the memory by ``enable``; after ``disable`` what is in memory is all
    there is. An entry is handed over whole where the device loads it by a command: there is no moment at which half of
    it is in use. Where it reads memory by itself, the mask is set first and cleared last.
    """

    def __init__(self, device: Device, layout: SlotLayout, context: Context) -> None:
        self._device, self.layout, self._context = device, layout, context
        self.size, self.limits = layout.count, layout.limits
        self.has_mask, self.has_pasid = layout.has_mask, layout.has_pasid
        self.has_pending = layout.has_pending and context.show is not None
        self.memory = device.dma.allocate(layout.offset + layout.size)
        self._enabled = False
        self.write_pattern(range(self.size), [Slot()])

    def enable(self) -> None:
        """Tell the device where the table is, and have it loaded."""
        context, bar = self._context, self._device.bar(self._context.bar)
        bar.write64(context.base, self.memory.iova)
        self._ring(context.enable, 0)
        self.flush()
        self._enabled = True

    def flush(self) -> None:
        """On return the device has seen every write before this."""
        self._device.bar(self._context.bar).read32(self._context.base)

    def disable(self) -> None:
        """The device has forgotten the table, as after its reset."""
        self._enabled = False

    def _ring(self, doorbell: Doorbell | None, index: int) -> None:
        if doorbell is not None:
            at, value = doorbell.access(index)
            getattr(self._device.bar(doorbell.bar), f"write{doorbell.width}")(at, value)

    def _words(self, index: int) -> Sequence[int]:
        at = self.layout.at(index)
        context, stride = self._context, self.layout.stride
        if not self._enabled or context.show is None or context.shown is None:
            return self.memory.view[at : at + stride].cast("I")
        self._ring(context.show, index)
        bar, shown = self._device.bar(context.bar), context.shown
        return [bar.read32(shown + word) for word in range(0, stride, 4)]

    def _store(self, index: int, slot: Slot) -> None:
        """The entry in memory, its control word last."""
        layout, message = self.layout, slot.message
        entry = self.memory.view[layout.at(index) : layout.at(index) + layout.stride].cast("I")
        words = [(layout.low, message.address & 0xFFFF_FFFF), (layout.high, message.address >> 32)]
        words += [(layout.data, layout.data_word(message)), (layout.control, layout.control_word(slot))]
        for at, word in words:
            if at is not None:
                entry[at // 4] = word

    def read(self, index: int) -> Slot:
        """Have the device show entry ``index``, and read that; where it shows none, read the entry in memory."""
        return self.layout.decode_entry(self._words(index))

    def read_many(self, indices: Sequence[int]) -> list[Slot]:
        """``read`` of each, one after the other."""
        return [self.read(index) for index in indices]

    def write(self, index: int, slot: Slot) -> None:
        """Write entry ``index`` in memory, its control word last, and have the device load it.

        Where the device has no command for that, the old message is masked first.
        """
        if self._context.load is None and self.has_mask:
            self._store(index, self.layout.decode_entry(self._words(index)).with_mask(True))
            self._store(index, slot.with_mask(True))
        self._store(index, slot)
        if self._enabled and self._context.load is not None:
            self._ring(self._context.load, index)
            self.flush()

    def write_control(self, index: int, slot: Slot) -> None:
        """The same as ``write``: an entry is loaded whole."""
        self.write(index, slot)

    def write_many(self, slots: Iterable[tuple[int, Slot]]) -> None:
        """``write`` of each, one after the other."""
        for index, slot in slots:
            self.write(index, slot)

    def write_pattern(self, indices: Sequence[int], pattern: Sequence[Slot]) -> None:
        """``write`` of ``pattern[n % len(pattern)]`` to the n-th index, one after the other."""
        for number, index in enumerate(indices):
            self.write(index, pattern[number % len(pattern)])

    def pending(self, index: int) -> bool:
        """As the device shows it. False where it shows nothing."""
        if not (self._enabled and self.has_pending) or self.layout.control is None:
            self.layout.at(index)
            return False
        return self.layout.is_pending(self._words(index)[self.layout.control // 4])

    def pending_among(self, indices: Sequence[int]) -> list[int]:
        """Those of ``indices`` that hold an interrupt back; the device is asked for each."""
        return [index for index in indices if self.pending(index)]
