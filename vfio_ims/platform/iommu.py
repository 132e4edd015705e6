# SPDX-License-Identifier: Apache-2.0
"""An I/O address space: which memory a device's requests reach. Its rules are those of VFIO's type1v2 container.

Facts: the kernel's drivers/vfio/vfio_iommu_type1.c (vfio_dma_do_map, vfio_dma_do_unmap).
"""

from __future__ import annotations

import errno
import mmap
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from vfio_ims.counted import counted
from vfio_ims.errors import BusFault, VfioImsError
from vfio_ims.locks import make_lock
from vfio_ims.messages import INTERRUPT_RANGE
from vfio_ims.native.memory import put, view_of
from vfio_ims.platform.refusals import refusal
from vfio_ims.ports.values import IovaRange

__all__ = ["IoAddressSpace", "Mapping"]

_RECORD = 64  # bytes of the largest completion record
INTERRUPTS = IovaRange(INTERRUPT_RANGE.start, INTERRUPT_RANGE.stop - 1)


@dataclass(slots=True, eq=False)
class Mapping:
    """``size`` bytes of this process at ``address``, seen by devices at ``iova``."""

    iova: int
    address: int
    size: int
    read: bool
    write: bool
    memory: memoryview
    longs: memoryview
    """The same, in pieces of 8 bytes."""


def _usable(bits: int, reserved: Sequence[IovaRange]) -> tuple[IovaRange, ...]:
    ranges, start = [], 0
    for hole in sorted(reserved):
        if hole.start > start:
            ranges.append(IovaRange(start, min(hole.start, 1 << bits) - 1))
        start = max(start, hole.last + 1)
    if start < 1 << bits:
        ranges.append(IovaRange(start, (1 << bits) - 1))
    return tuple(ranges)


class IoAddressSpace:
    """Mappings by I/O virtual address, looked up by bisection. Safe from several threads.

    ``bits``: how wide the addresses are (39 and 48 on Intel). ``reserved`` ranges cannot be mapped, nor can
    ``interrupts``, where writes are messages: x86's 0xfee00000 to 0xfeefffff by default. ``page_size``: what all
    addresses and sizes are multiples of. ``max_mappings``: the container's dma_entry_limit.
    """

    def __init__(
        self,
        name: str = "software IOMMU",
        *,
        bits: int = 48,
        page_size: int = mmap.PAGESIZE,
        reserved: Sequence[IovaRange] = (),
        interrupts: IovaRange = INTERRUPTS,
        max_mappings: int = 65535,
    ) -> None:
        self.name, self.bits, self.page_size, self.max_mappings = name, bits, page_size, max_mappings
        self.ranges = _usable(bits, (interrupts, *reserved))
        self.lock = make_lock()
        self._starts: list[int] = []
        self._mappings: list[Mapping] = []

    def __len__(self) -> int:
        return len(self._mappings)

    def __iter__(self) -> Iterator[Mapping]:
        with self.lock:
            return iter(tuple(self._mappings))

    def _refuse(self, code: int, operation: str, why: str, hint: str = "") -> VfioImsError:
        return refusal(code, operation, device=self.name, why=why, hint=hint)

    def _check_shape(self, operation: str, iova: int, size: int) -> None:
        if iova < 0 or size <= 0 or iova % self.page_size or size % self.page_size:
            why = f"address and size must be positive multiples of {self.page_size:#x}, not {iova:#x} and {size:#x}"
            raise self._refuse(errno.EINVAL, operation, why)
        if iova + size > 1 << 64:
            raise self._refuse(errno.EOVERFLOW, operation, f"{size:#x} bytes at {iova:#x} end past 64 bits")

    def map(self, iova: int, address: int, size: int, *, read: bool = True, write: bool = True) -> Mapping:
        """Map ``size`` bytes at ``address`` of this process as ``iova``: whole pages, all three.

        ``read`` and ``write`` are the devices' rights. Errors are the kernel's: EINVAL, EOVERFLOW, EEXIST, ENOSPC.
        """
        operation = f"map {size:#x} bytes at IOVA {iova:#x}"
        self._check_shape(operation, iova, size)
        if address <= 0 or address % self.page_size:
            why = f"the memory's address must be a multiple of {self.page_size:#x}, not {address:#x}"
            raise self._refuse(errno.EINVAL, operation, why)
        if not (read or write):
            raise self._refuse(errno.EINVAL, operation, "a mapping must allow reading, writing or both")
        if not any(usable.holds(iova, size) for usable in self.ranges):
            allowed = ", ".join(f"{usable.start:#x}..{usable.last:#x}" for usable in self.ranges)
            raise self._refuse(errno.EINVAL, operation, f"outside of what the IOMMU allows: {allowed}")
        memory = view_of(address, size)
        mapping = Mapping(iova, address, size, read, write, memory, memory.cast("B").cast("Q"))
        with self.lock:
            at = bisect_left(self._starts, iova + size)
            if at and self._mappings[at - 1].iova + self._mappings[at - 1].size > iova:
                there = self._mappings[at - 1]
                why = f"{there.size:#x} bytes at {there.iova:#x} are mapped already"
                raise self._refuse(errno.EEXIST, operation, why, "unmap it first; a mapping cannot be changed in place")
            if len(self._mappings) >= self.max_mappings:
                hint = "map larger pieces, or raise vfio_iommu_type1.dma_entry_limit on a real host"
                raise self._refuse(
                    errno.ENOSPC, operation, f"there are {counted(self.max_mappings, 'mapping')} already", hint
                )
            self._starts.insert(at, iova)
            self._mappings.insert(at, mapping)
        return mapping

    def unmap(self, iova: int, size: int) -> list[Mapping]:
        """Take back every mapping in the range; returns them. One that the range would cut is refused (EINVAL).

        No request of a device's is under way in the memory once this has returned, except through ``views``.
        """
        operation = f"unmap {size:#x} bytes at IOVA {iova:#x}"
        self._check_shape(operation, iova, size)
        with self.lock:
            first, last = bisect_left(self._starts, iova), bisect_left(self._starts, iova + size)
            for at, edge in ((first - 1, iova), (last - 1, iova + size)):
                if at >= 0 and self._mappings[at].iova < edge < self._mappings[at].iova + self._mappings[at].size:
                    cut = self._mappings[at]
                    why = f"the range cuts the mapping of {cut.size:#x} bytes at {cut.iova:#x}"
                    raise self._refuse(errno.EINVAL, operation, why, "unmap whole mappings")
            gone = self._mappings[first:last]
            del self._mappings[first:last], self._starts[first:last]
        return gone

    def read(self, iova: int, size: int) -> bytes:
        """Copy out. Raises BusFault."""
        with self.lock:
            mapping, at = self._find(iova, size, False)
            if at + size <= mapping.size:
                return mapping.memory[at : at + size].tobytes()
            return b"".join(self._pieces(iova, size, False))

    def write(self, iova: int, data: bytes) -> None:
        """Copy in; nothing is written unless all of it can be. Raises BusFault."""
        size = len(data)
        with self.lock:
            mapping, at = self._find(iova, size, True)
            if 8 < size <= _RECORD and not (iova | size) & 7 and at + size <= mapping.size:
                # As ``put`` does it: what others poll changes once, and last.
                mapping.memory[at + 8 : at + size] = data[8:]
                mapping.longs[at >> 3] = int.from_bytes(data[:8], sys.byteorder)
                return
            if at + size <= mapping.size:
                put(mapping.memory[at : at + size], data)
                return
            done = 0
            for piece in self._pieces(iova, size, True):
                piece[:] = data[done : done + len(piece)]
                done += len(piece)

    def views(self, iova: int, size: int, *, write: bool) -> list[memoryview]:
        """The ``size`` bytes at ``iova`` themselves, in pieces, read-only unless ``write``. Raises BusFault."""
        with self.lock:
            pieces = self._pieces(iova, size, write)
        return pieces if write else [piece.toreadonly() for piece in pieces]

    def _find(self, iova: int, size: int, write: bool) -> tuple[Mapping, int]:
        index = bisect_right(self._starts, iova) - 1
        if index >= 0:
            mapping = self._mappings[index]
            at = iova - mapping.iova
            if at < mapping.size:
                if not (mapping.write if write else mapping.read):
                    why = f"the mapping at {mapping.iova:#x} does not allow {'writing' if write else 'reading'}"
                    raise BusFault(iova, size, write=write, why=why)
                return mapping, at
        raise BusFault(iova, size, write=write, why="no mapping there")

    def _pieces(self, iova: int, size: int, write: bool) -> list[memoryview]:
        pieces: list[memoryview] = []
        while size > 0:
            mapping, at = self._find(iova, size, write)
            piece = mapping.memory[at : at + size]
            pieces.append(piece)
            iova, size = iova + len(piece), size - len(piece)
        return pieces
