# SPDX-License-Identifier: Apache-2.0
"""An I/O address space: what a device, or several that share it, can reach of this process's memory."""

from __future__ import annotations

from bisect import bisect_right
from contextlib import suppress
from operator import index
from typing import TYPE_CHECKING

from vfio_ims.dma.allocator import IovaAllocator
from vfio_ims.dma.buffer import Buffer
from vfio_ims.errors import ClosedError, UsageError
from vfio_ims.lifetime import Owner
from vfio_ims.locks import make_lock, make_rlock
from vfio_ims.native.memory import SharedMemory

if TYPE_CHECKING:
    from vfio_ims.backends.ports import AddressSpacePort
    from vfio_ims.device import Device

__all__ = ["AddressSpace", "Share"]

_SHARED: dict[int, AddressSpace] = {}
_SHARED_LOCK = make_lock()


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
    def of(cls, device: Device) -> AddressSpace:
        """The space that ``device`` is attached to, one object for all devices that share it."""
        port = device.port.space
        with _SHARED_LOCK:
            space = _SHARED.get(id(port))
            if space is None or space.closed:
                space = _SHARED[id(port)] = cls(port, device.name)
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
        """New zeroed memory, mapped. ``read`` and ``write`` are the devices' rights.

        ``hugepages``: the page size in bytes (2 MiB, 1 GiB); SetupError where the host has none free. ``iova``: exactly
        there. Rounded up to pages; ``Buffer.size`` is what was asked for.
        """
        self.check_open("allocate memory")
        try:
            fine = 0 < index(size) < 1 << 63
        except TypeError:
            fine = False
        if not fine:
            raise UsageError("allocate memory", device=self.label, why=f"size must be 1 byte or more, not {size!r}")
        memory = SharedMemory(-(-size // self.page) * self.page, hugepages=hugepages)
        try:
            with self._lock:
                whole = memory.size
                if iova is None:
                    place = self._allocator.allocate(whole, max(align, hugepages or 0))
                else:
                    place = iova
                    self._allocator.reserve(place, whole)
                try:
                    self.port.map(place, memory.address, whole, read=read, write=write, fd=memory.fd, offset=0)
                except BaseException:
                    self._allocator.release(place)
                    raise
                buffer = Buffer(self, memory, place, size)
                self._buffers[place] = buffer
                self._starts.insert(bisect_right(self._starts, place), place)
                return buffer
        except BaseException:
            memory.close()
            raise

    def give_back(self, buffer: Buffer) -> None:
        """Unmap ``buffer``: called when it closes."""
        with self._lock:
            if self._buffers.pop(buffer.iova, None) is not None:
                self._starts.remove(buffer.iova)
                with suppress(ClosedError):  # a port that is closed maps nothing any more
                    self.port.unmap(buffer.iova, buffer.mapped)
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
                if 0 <= address - buffer.address < buffer.size:
                    return buffer.iova + address - buffer.address
        raise UsageError("translate an address", device=self.label, why=f"no buffer has address {address:#x}")

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """What is mapped, by IOVA."""
        with self._lock:
            return tuple(self._buffers[start] for start in self._starts)

    def __repr__(self) -> str:
        return f"<AddressSpace {self.label}, {len(self._buffers)} buffers>"


class Share(Owner):
    """A device's share in its address space: given up when the device closes."""

    def __init__(self, device: Device) -> None:
        self.space = AddressSpace.of(device)
        super().__init__(device.name, device)

    def _release(self) -> None:
        self.space.leave()
