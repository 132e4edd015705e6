# SPDX-License-Identifier: Apache-2.0
"""The MSI-X table and pending bits inside a BAR: the platform's, wherever the device would have its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.platform.msix import MsixPlace

if TYPE_CHECKING:
    from vfio_ims.platform import Function
    from vfio_ims.platform.irqs import Irqs

__all__ = ["MsixShadow"]


class MsixShadow:
    """Answers accesses to the two structures. ``mappable``: a window shows the table, as a mapping does."""

    def __init__(self, place: MsixPlace, function: Function, irqs: Irqs, *, mappable: bool = True) -> None:
        self.place, self._function, self._irqs, self._mappable = place, function, irqs, mappable

    def hull(self, region: int) -> tuple[int, int]:
        """The smallest range (start, end) of the region that has all of them; (0, 0) where there is nothing."""
        spans = [(low, high) for bar, low, high in self._spans() if bar == region]
        return (min(low for low, _ in spans), max(high for _, high in spans)) if spans else (0, 0)

    def _spans(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        place = self.place
        return (
            (place.table_bar, place.table, place.table + place.table_size),
            (place.pba_bar, place.pba, place.pba + place.pba_size),
        )

    def _table_at(self, region: int, offset: int, size: int) -> bool:
        bar, low, high = self._spans()[0]
        return region == bar and offset < high and low < offset + size

    def _pending_at(self, region: int, offset: int, size: int) -> bool:
        bar, low, high = self._spans()[1]
        return region == bar and offset < high and low < offset + size

    def shows(self, region: int, offset: int, size: int) -> bool:
        """Whether a window shows these bytes as a mapping of the table would."""
        bar, low, high = self._spans()[0]
        return self._mappable and region == bar and low <= offset and offset + size <= high

    def read(self, region: int, offset: int, size: int) -> bytes | None:
        """Through a window; None where it is neither the table nor the pending bits."""
        if self._table_at(region, offset, size):
            if not self._mappable:
                return b"\xff" * size
            return self._irqs.table.read(offset - self.place.table, size)
        return self._read_pending(region, offset, size)

    def trap(self, region: int, offset: int, size: int) -> bytes | None:
        """Through a region read: vfio-pci shows ones where the table is (vfio_pci_rdwr.c do_io_rw)."""
        if self._table_at(region, offset, size):
            return b"\xff" * size
        return self._read_pending(region, offset, size)

    def _read_pending(self, region: int, offset: int, size: int) -> bytes | None:
        if self._pending_at(region, offset, size):
            return self._irqs.table.read_pending(offset - self.place.pba, size)
        return None

    def write(self, region: int, offset: int, data: bytes) -> bool:
        """Through a window without guard: the device takes it. False where it is none of the structures."""
        if self._table_at(region, offset, len(data)):
            if self._mappable:
                low, table = offset - self.place.table, self._irqs.table
                first, last = max(low, 0), min(low + len(data), len(table.data))
                with self._function.platform.lock:
                    waiting = table.write(first, data[first - low : last - low])
                for index in waiting:
                    message = table.raised(index)
                    if message is not None:
                        self._function.platform.deliver(self._function.requester, *message)
            return True
        return self._pending_at(region, offset, len(data))

    def drops(self, region: int, offset: int, size: int) -> bool:
        """Whether a region write there goes nowhere."""
        return self._table_at(region, offset, size) or self._pending_at(region, offset, size)
