# SPDX-License-Identifier: Apache-2.0
"""An I/O address space as its users reach it: what the devices on it may read and write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vfio_ims.ports.device import DevicePort
    from vfio_ims.ports.values import IovaRange

__all__ = ["AddressSpacePort"]


class AddressSpacePort(Protocol):
    """One I/O address space (type1 container, IOAS, the software IOMMU's): devices that share it see its mappings."""

    @property
    def name(self) -> str:
        """What errors call it: the device's name, or the container's."""
        ...

    @property
    def translates(self) -> bool:
        """Whether devices' addresses are ours to choose. False without an IOMMU: ``pin`` finds the physical ones."""
        ...

    def ranges(self) -> tuple[IovaRange, ...]:
        """What the IOMMU and every attached device allow, ascending, reserved windows left out."""
        ...

    def page_sizes(self) -> int:
        """A bitmap of the page sizes that a mapping may have; the lowest is the alignment of all."""
        ...

    def map(
        self,
        iova: int,
        address: int,
        size: int,
        *,
        read: bool = True,
        write: bool = True,
        fd: int = -1,
        offset: int = 0,
    ) -> None:
        """Let the devices see ``size`` bytes of this process's memory at ``address`` as ``iova``.

        ``read`` and ``write`` are the device's rights. ``fd`` and ``offset``: the file behind the memory where there is
        one; only vfio-user needs it, to hand the memory to the server.
        """
        ...

    def map_file(self, iova: int, fd: int, offset: int, size: int, *, read: bool = True, write: bool = True) -> None:
        """Map ``size`` bytes at ``offset`` of the dma-buf ``fd`` as ``iova``: memory that this process has no view of.

        ``read`` and ``write`` are the devices' rights. UnsupportedError where the space takes none.
        """
        ...

    def map_region(
        self,
        iova: int,
        peer: DevicePort,
        index: int,
        offset: int,
        size: int,
        *,
        read: bool = True,
        write: bool = True,
    ) -> None:
        """Map ``size`` bytes at ``offset`` of region ``index`` of the device ``peer`` as ``iova``: peer-to-peer.

        ``read`` and ``write`` are the rights of this space's devices. UnsupportedError where mount or kernel cannot.
        """
        ...

    def unmap(self, iova: int, size: int) -> int:
        """Take mappings back; returns the bytes that were mapped. A range that cuts a mapping is refused."""
        ...

    def contiguous(self, size: int) -> int | None:
        """The page size that new memory must have so that devices find it in one piece; None: any."""
        ...

    def pin(self, address: int, size: int, *, read: bool = True, write: bool = True) -> int:
        """In place of ``map`` where nothing translates: hold the memory, and return its address for devices.

        ``address`` is this process's; its ``size`` bytes must be one piece in physical memory (``contiguous``). No
        IOMMU enforces the rights ``read`` and ``write``.
        """
        ...

    def unmap_all(self) -> int:
        """Take every mapping back; returns the bytes that were mapped."""
        ...

    def close(self) -> None:
        """Take every mapping back and let the space go. Devices on it are closed first, by the caller."""
        ...
