# SPDX-License-Identifier: Apache-2.0
"""Handing out I/O virtual addresses inside the ranges that the kernel allows."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from vfio_ims.errors import DeviceBusy, UsageError
from vfio_ims.ports.values import IovaRange

__all__ = ["IovaAllocator"]


class IovaAllocator:
    """First fit over sorted free ranges; neighbours join again when freed. Not thread-safe: its address space locks.

    Page 0 is never handed out: a zeroed slot or descriptor must not point at memory in use.
    """

    def __init__(self, ranges: Iterable[IovaRange], page: int) -> None:
        if page < 1 or page & (page - 1):
            raise UsageError("make an IOVA allocator", why=f"page size must be a power of two, not {page}")
        self.page = page
        self._starts: list[int] = []  # free ranges as two parallel lists: start, and one past the end
        self._ends: list[int] = []
        self._used: dict[int, int] = {}
        for allowed in sorted(ranges):
            start = -(-max(allowed.start, page) // page) * page
            end = (allowed.last + 1) // page * page
            if start < end:
                self._starts.append(start)
                self._ends.append(end)

    @property
    def free(self) -> int:
        """Bytes left."""
        return sum(self._ends) - sum(self._starts)

    def allocate(self, size: int, align: int = 0) -> int:
        """The lowest address for ``size`` bytes, rounded up to pages, a multiple of ``align``. DeviceBusy if none."""
        size, align = self._round(size), max(align, self.page)
        if align & (align - 1):
            raise UsageError("allocate an IOVA", why=f"alignment must be a power of two, not {align}")
        for index, (start, end) in enumerate(zip(self._starts, self._ends, strict=True)):
            at = -(-start // align) * align
            if at + size <= end:
                self._carve(index, at, size)
                return at
        raise DeviceBusy("allocate an IOVA", why=f"no free range has {size:#x} bytes aligned to {align:#x}")

    def reserve(self, iova: int, size: int) -> None:
        """Take exactly this range. UsageError where it is not allowed, DeviceBusy where it is in use."""
        size = self._round(size)
        if iova % self.page:
            raise UsageError("reserve an IOVA", why=f"address must be a multiple of {self.page:#x}, not {iova:#x}")
        index = bisect_left(self._ends, iova + 1)
        if index < len(self._starts) and self._starts[index] <= iova and iova + size <= self._ends[index]:
            self._carve(index, iova, size)
            return
        if any(iova < start + length and start < iova + size for start, length in self._used.items()):
            raise DeviceBusy(
                "reserve an IOVA", why=f"{iova:#x} to {iova + size - 1:#x} meets memory that is mapped already"
            )
        raise UsageError(
            "reserve an IOVA", why=f"{iova:#x} to {iova + size - 1:#x} is outside the ranges that the IOMMU allows"
        )

    def release(self, iova: int) -> None:
        """Give back what ``allocate`` or ``reserve`` took at ``iova``."""
        size = self._used.pop(iova, None)
        if size is None:
            raise UsageError("release an IOVA", why=f"nothing was allocated at {iova:#x}")
        index = bisect_left(self._starts, iova)
        start, end = iova, iova + size
        if index < len(self._starts) and self._starts[index] == end:
            end = self._ends.pop(index)
            self._starts.pop(index)
        if index and self._ends[index - 1] == start:
            start = self._starts.pop(index - 1)
            self._ends.pop(index - 1)
            index -= 1
        self._starts.insert(index, start)
        self._ends.insert(index, end)

    def _round(self, size: int) -> int:
        if size < 1:
            raise UsageError("allocate an IOVA", why=f"size must be 1 byte or more, not {size}")
        return -(-size // self.page) * self.page

    def _carve(self, index: int, at: int, size: int) -> None:
        start, end = self._starts.pop(index), self._ends.pop(index)
        for left, right in ((at + size, end), (start, at)):
            if left < right:
                self._starts.insert(index, left)
                self._ends.insert(index, right)
        self._used[at] = size
