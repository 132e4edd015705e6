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
    def name(self) -> str: ...

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
        """Map a part of a dma-buf, of which this process has no view. UnsupportedError where the space takes none."""
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
        """Map a part of another device's region: peer-to-peer. UnsupportedError where mount or kernel cannot."""
        ...

    def unmap(self, iova: int, size: int) -> int:
        """Take mappings back; returns the bytes that were mapped. A range that cuts a mapping is refused."""
        ...

    def contiguous(self, size: int) -> int | None:
        """The page size that new memory must have so that devices find it in one piece; None: any."""
        ...

    def pin(self, address: int, size: int, *, read: bool = True, write: bool = True) -> int:
        """In place of ``map`` where nothing translates: hold the memory, and return its address for devices."""
        ...

    def unmap_all(self) -> int:
        """Take every mapping back; returns the bytes that were mapped."""
        ...

    def close(self) -> None: ...
