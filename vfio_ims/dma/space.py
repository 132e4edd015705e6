# SPDX-License-Identifier: Apache-2.0
"""An I/O address space: what a device, or several that share it, can reach of this process's memory."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress
from operator import index
from typing import TYPE_CHECKING, NamedTuple, Protocol

from vfio_ims.counted import counted
from vfio_ims.dma.allocator import IovaAllocator
from vfio_ims.dma.buffer import Buffer
from vfio_ims.dma.existing import CallerMemory, NoMemory, file_part, is_dma_buf
from vfio_ims.errors import ClosedError, UsageError
from vfio_ims.interruption import uninterrupted
from vfio_ims.lifetime import Owner
from vfio_ims.locks import make_lock, make_rlock
from vfio_ims.native.memory import SharedMemory

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from vfio_ims.dma.existing import Backing
    from vfio_ims.ports.address_space import AddressSpacePort
    from vfio_ims.ports.device import DevicePort

__all__ = ["AddressSpace", "Share"]

_SHARED: dict[int, AddressSpace] = {}
_SHARED_LOCK = make_lock()


class Rights(NamedTuple):
    """What devices may do with memory."""

    read: bool
    write: bool


class PeerBar(Protocol):
    """A BAR of another device, as ``vfio_ims.device.Bar`` is one."""

    @property
    def number(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def port(self) -> DevicePort: ...
    @property
    def owner(self) -> Owner: ...


class AddressSpace(Owner):
    """Allocates IOVAs and maps buffers. Devices opened with the same space see the same buffers at the same IOVAs.

    The space outlives a device that shares it while another one is open; its buffers are closed with the last.
    """

    def __init__(self, port: AddressSpacePort, label: str) -> None:
        self.port = port
        self.page = port.page_sizes() & -port.page_sizes()
        self._allocator = IovaAllocator(port.ranges(), self.page)
        self._lock = make_rlock()
        self._starts: list[int] = []
        self._buffers: dict[int, Buffer] = {}
        self._users = 0
        super().__init__(label)

    @classmethod
    def of(cls, port: AddressSpacePort, label: str) -> AddressSpace:
        """The space behind ``port``, one object for all devices that share it."""
        with _SHARED_LOCK:
            space = _SHARED.get(id(port))
            if space is None or space.closed:
                space = _SHARED[id(port)] = cls(port, label)
            space._users += 1
        return space

    def leave(self) -> None:
        """A device of the space was closed; with the last one the buffers go."""
        with _SHARED_LOCK:
            self._users -= 1
            last = self._users == 0
            if last:
                _SHARED.pop(id(self.port), None)
        if last:
            self.close()

    def allocate(
        self,
        size: int,
        *,
        read: bool = True,
        write: bool = True,
        hugepages: int | None = None,
        iova: int | None = None,
        align: int = 0,
    ) -> Buffer:
        """New zeroed memory, mapped for the devices of this space.

        It is pinned, and counts against RLIMIT_MEMLOCK, until the buffer is closed. UsageError where the IOMMU does not
        allow ``iova``, DeviceBusy where it is taken or no free range fits, SetupError where a limit is reached.

        Args:
            size: in bytes, rounded up to pages; ``Buffer.size`` is what was asked for.
            read: whether the devices may read it.
            write: whether they may write it.
            hugepages: the page size in bytes (2 MiB, 1 GiB); SetupError where the host has none free.
            iova: exactly there; the allocator's choice otherwise, never page 0.
            align: what the IOVA is to be a multiple of, in bytes; a page at least.
        """
        self.check_open("allocate memory")
        try:
            fine = 0 < index(size) < 1 << 63
        except TypeError:
            fine = False
        if not fine:
            raise UsageError("allocate memory", device=self.label, why=f"size must be 1 byte or more, not {size!r}")
        with uninterrupted():
            if hugepages is None and not self.port.translates:
                hugepages = self.port.contiguous(size)
            memory = SharedMemory(-(-size // self.page) * self.page, hugepages=hugepages)
            return self._enter(memory, size, iova, max(align, hugepages or 0), read, write)

    def map(
        self, memory: ReadableBuffer, *, read: bool = True, write: bool = True, iova: int | None = None, align: int = 0
    ) -> Buffer:
        """Map the memory of an object with the buffer protocol, as it is: ``mmap.mmap``, an aligned NumPy array.

        ``memory`` must be contiguous, start at a page and be whole pages. It stays pinned, and the object can be
        neither resized nor freed, until the buffer is closed. ``read`` is the devices' right to read it; for memory
        that cannot be written ``write`` must be False: the kernel pins such pages for reading only. ``iova``, ``align``
        and errors are as for ``allocate``.
        """
        self.check_open("map memory")
        held = CallerMemory(memory, self.page, self.label)
        if write and not held.writable:
            held.close()
            why = "the memory is read-only, and the device would be allowed to write it"
            raise UsageError("map memory", device=self.label, why=why, hint="map it with write=False")
        return self._enter(held, held.size, iova, align, read, write)

    def map_file(
        self,
        fd: int,
        *,
        offset: int = 0,
        size: int | None = None,
        read: bool = True,
        write: bool = True,
        iova: int | None = None,
        align: int = 0,
    ) -> Buffer:
        """Map a part of a memfd or file, or a dma-buf; the descriptor stays the caller's, who may close it at once.

        A file is seen here by ``view`` too; it must not be cut while it is mapped (F_SEAL_SHRINK on a memfd sees to
        that), and those that write back to a disk the kernel may refuse to pin. A dma-buf needs iommufd, which takes
        those that VFIO has exported; UnsupportedError elsewhere.

        Args:
            fd: the descriptor, open for writing where ``write`` is True.
            offset: where the part begins, a multiple of the page size.
            size: bytes, whole pages; up to the file's end by default.
            read: whether the devices may read it.
            write: whether they may write it.
            iova: exactly there.
            align: what the IOVA is to be a multiple of, in bytes.
        """
        self.check_open("map a file")
        if is_dma_buf(fd):
            if size is None:
                size = os.lseek(fd, 0, os.SEEK_END) - offset
            space, whole = self.port, size
            none = NoMemory(size, self.label, "a dma-buf")
            return self._enter(
                none, size, iova, align, read, write,
                lambda place: space.map_file(place, fd, offset, whole, read=read, write=write),
            )  # fmt: skip
        memory = file_part(fd, offset, size, writable=write, page=self.page, device=self.label)
        return self._enter(memory, memory.size, iova, align, read, write)

    def map_bar(
        self,
        bar: PeerBar,
        *,
        offset: int = 0,
        size: int | None = None,
        read: bool = True,
        write: bool = True,
        iova: int | None = None,
        align: int = 0,
    ) -> Buffer:
        """Map a part of a BAR of another device: peer-to-peer, past the processor and memory.

        The part must be whole pages of what may be mapped of that BAR, with memory decoding on. The buffer has no
        ``view``, and closes with either device. Type1 maps it by address; iommufd by a dma-buf that the kernel must
        export (VFIO_DEVICE_FEATURE_DMA_BUF). UnsupportedError, with what is missing, elsewhere.

        Args:
            bar: the other device's, as ``other.bar(2)``.
            offset: where the part begins, in bytes.
            size: bytes; up to the BAR's end by default.
            read: whether this space's devices may read it.
            write: whether they may write it.
            iova: exactly there.
            align: what the IOVA is to be a multiple of, in bytes.
        """
        self.check_open("map a BAR")
        length = bar.size - offset if size is None else size
        if offset < 0 or length <= 0 or offset + length > bar.size or offset % self.page or length % self.page:
            why = f"the part must be whole pages within the BAR's {bar.size:#x} bytes, not {length:#x} at {offset:#x}"
            raise UsageError("map a BAR", device=self.label, why=why)
        space, peer = self.port, bar.owner
        peer.check_open("share a BAR")
        none = NoMemory(length, self.label, f"BAR {bar.number} of {bar.port.name}")
        buffer = self._enter(
            none, length, iova, align, read, write,
            lambda place: space.map_region(place, bar.port, bar.number, offset, length, read=read, write=write),
        )  # fmt: skip
        buffer.closes_with(peer)
        return buffer

    def _enter(
        self,
        memory: Backing,
        size: int,
        iova: int | None,
        align: int,
        read: bool,
        write: bool,
        map_at: Callable[[int], None] | None = None,
    ) -> Buffer:
        """The buffer over ``memory``, mapped; where that fails, ``memory`` is closed."""
        rights = Rights(read, write)
        try:
            with self._lock:
                if self.port.translates:
                    place = self._map(memory, iova, align, rights, map_at)
                else:
                    place = self._pin(memory, iova, align, rights)
                buffer = Buffer(self, memory, place, size)
                self._buffers[place] = buffer
                self._starts.insert(bisect_right(self._starts, place), place)
                return buffer
        except BaseException:
            memory.close()
            raise

    def _map(
        self, memory: Backing, iova: int | None, align: int, rights: Rights, map_at: Callable[[int], None] | None
    ) -> int:
        """Map it at an IOVA of ours; where."""
        whole = memory.size
        if iova is None:
            place = self._allocator.allocate(whole, align)
        else:
            place = iova
            self._allocator.reserve(place, whole)
        try:
            if map_at is not None:
                map_at(place)
            else:
                read, write = rights
                self.port.map(place, memory.address, whole, read=read, write=write, fd=memory.fd, offset=memory.offset)
        except BaseException:
            self._allocator.release(place)
            raise
        return place

    def _pin(self, memory: Backing, iova: int | None, align: int, rights: Rights) -> int:
        """Without an IOMMU: have it stay where it is; where, physically."""
        operation = "map memory"
        if iova is not None or not memory.address:
            why = "without an IOMMU devices reach this process's memory only, at its physical address"
            raise UsageError(operation, device=self.label, why=why, hint="leave iova= out")
        place = self.port.pin(memory.address, memory.size, read=rights.read, write=rights.write)
        if align and place % align:
            self.port.unmap(place, memory.size)
            why = f"its physical address {place:#x} is no multiple of {align:#x}"
            raise UsageError(operation, device=self.label, why=why, hint="hugepages are aligned to their size")
        return place

    def unmap_all(self) -> int:
        """Take every mapping of the space back, in one request, and close its buffers; the bytes that were mapped.

        From then on the devices reach nothing: what they try ends in faults. The library's own buffers go too (a
        driver's rings and records, parked and polled slots): a driver that was running has to be closed.
        """
        self.check_open("unmap all memory")
        with self._lock:
            gone = self.port.unmap_all()
            buffers = list(self._buffers.values())
            if self.port.translates:
                for buffer in buffers:
                    self._allocator.release(buffer.iova)
            self._buffers.clear()
            self._starts.clear()
        for buffer in buffers:
            buffer.withdraw()
        return gone

    def give_back(self, buffer: Buffer) -> None:
        """Unmap ``buffer``: called when it closes."""
        with self._lock:
            if self._buffers.pop(buffer.iova, None) is not None:
                self._starts.remove(buffer.iova)
                with suppress(ClosedError):  # a port that is closed maps nothing any more
                    self.port.unmap(buffer.iova, buffer.mapped)
                if self.port.translates:
                    self._allocator.release(buffer.iova)

    def find(self, iova: int) -> tuple[Buffer, int]:
        """The buffer that has ``iova``, and the offset in it; UsageError where nothing is mapped."""
        with self._lock:
            index = bisect_right(self._starts, iova)
            if index:
                buffer = self._buffers[self._starts[index - 1]]
                if buffer.holds(iova):
                    return buffer, iova - buffer.iova
        raise UsageError("find memory", device=self.label, why=f"nothing of ours is mapped at IOVA {iova:#x}")

    def iova_of(self, address: int) -> int:
        """The IOVA of a byte of this process at ``address``; UsageError where no buffer has it."""
        with self._lock:
            for buffer in self._buffers.values():
                start = 0 if buffer.closed else buffer.address
                if start and 0 <= address - start < buffer.size:
                    return buffer.iova + address - start
        raise UsageError("translate an address", device=self.label, why=f"no buffer has address {address:#x}")

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """What is mapped, by IOVA."""
        with self._lock:
            return tuple(self._buffers[start] for start in self._starts)

    def __repr__(self) -> str:
        return f"<AddressSpace {self.label}, {counted(len(self._buffers), 'buffer')}>"


class Share(Owner):
    """A device's share in its address space: given up when the device closes."""

    def __init__(self, port: AddressSpacePort, label: str, owner: Owner) -> None:
        self.space = AddressSpace.of(port, label)
        super().__init__(label, owner)

    def _release(self) -> None:
        self.space.leave()
