# SPDX-License-Identifier: Apache-2.0
"""An I/O address space of the software platform, which its devices may share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.errors import ClosedError, RemovedError, UnsupportedError, UsageError, VfioImsError
from vfio_ims.lifetime import Owner
from vfio_ims.locks import make_rlock
from vfio_ims.platform import IoAddressSpace
from vfio_ims.platform.iommu import Mapping
from vfio_ims.ports.translated import Translated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vfio_ims.platform import Function, Platform
    from vfio_ims.ports.device import DevicePort
    from vfio_ims.ports.link import Link
    from vfio_ims.ports.values import IovaRange

__all__ = ["SoftwareAddressSpace"]


class SoftwareAddressSpace(Translated, Owner):
    """``AddressSpacePort`` over the software IOMMU.

    Attached links are notified of every mapping (vfio-user hands the server the memory's file). ``unmap`` returns when
    no device uses the memory any more. ``reserved`` ranges cannot be mapped, beside the platform's interrupt window.
    ``private``: a device made it for itself; it closes when the last device that shares it has left.
    """

    def __init__(
        self,
        platform: Platform,
        name: str = "software address space",
        *,
        reserved: Sequence[IovaRange] = (),
        private: bool = False,
    ) -> None:
        self._private = private
        super().__init__(name)
        self.platform = platform
        self.iommu = IoAddressSpace(
            name,
            bits=platform.address_bits,
            page_size=platform.page_size,
            reserved=reserved,
            interrupts=platform.interrupt_window,
        )
        # Orders changes and what the links are notified of. A device's requests never wait for it.
        self._change = make_rlock()
        self._links: dict[Link, Function] = {}
        self._tagged: list[tuple[Function, int, Link]] = []
        self._files: dict[int, tuple[int, int]] = {}

    def __del__(self) -> None:
        if not getattr(self, "_private", True):
            super().__del__()

    @property
    def name(self) -> str:
        return self.label

    def ranges(self) -> tuple[IovaRange, ...]:
        return self.iommu.ranges

    def page_sizes(self) -> int:
        smallest = self.iommu.page_size
        return smallest | 1 << 21 | 1 << 30 if smallest <= 1 << 21 else smallest

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
        """Raises UsageError (EINVAL), DeviceBusy (EEXIST, ENOSPC), DeviceError (a server refuses)."""
        self.check_open(f"map {size:#x} bytes at IOVA {iova:#x}")
        with self._change:
            mapping = self.iommu.map(iova, address, size, read=read, write=write)
            notified: list[Link] = []
            try:
                for link in self._links:
                    notified.append(link)
                    link.map(iova, size, fd, offset, read=read, write=write)
            except VfioImsError:
                self.iommu.unmap(iova, size)
                for link in notified[:-1]:
                    link.unmap(iova, size)
                raise
            self._files[mapping.iova] = (fd, offset)

    def unmap(self, iova: int, size: int) -> int:
        self.check_open(f"unmap {size:#x} bytes at IOVA {iova:#x}")
        with self._change:
            return self._withdraw(self.iommu.unmap(iova, size))

    def unmap_all(self) -> int:
        self.check_open("unmap everything")
        with self._change:
            return self._withdraw(self.iommu.unmap(0, 1 << self.iommu.bits))

    def map_file(self, iova: int, fd: int, offset: int, size: int, *, read: bool = True, write: bool = True) -> None:
        self.check_open(f"map {size:#x} bytes at IOVA {iova:#x}")
        why = "the software platform knows memory and files of this process, and no dma-buf"
        raise UnsupportedError(f"map a dma-buf at IOVA {iova:#x}", device=self.label, why=why)

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
        self.check_open(f"map {size:#x} bytes at IOVA {iova:#x}")
        why = "on the software platform a device's requests reach memory only, not another device's registers"
        raise UnsupportedError(f"map region {index} of {peer.name} at IOVA {iova:#x}", device=self.label, why=why)

    def _withdraw(self, gone: list[Mapping]) -> int:
        failure: VfioImsError | None = None
        for mapping in gone:
            self._files.pop(mapping.iova, None)
            for link in list(self._links):
                try:
                    link.unmap(mapping.iova, mapping.size)
                except (RemovedError, ClosedError):  # the device is gone, and with it its use of the memory
                    continue
                except VfioImsError as error:
                    failure = failure or error
        if gone:
            for _, _, link in self._tagged:
                self._drain(link)
        if failure is not None:
            raise failure
        return sum(mapping.size for mapping in gone)

    @staticmethod
    def _drain(link: Link) -> None:
        drain = getattr(link, "drain", None)
        if drain is not None:
            drain()

    # --- attachment (called by the device) ----------------------------------------------------------------------------

    def attach(self, function: Function, link: Link) -> None:
        """A device's plain requests go through here from now on."""
        self.check_open("attach a device")
        if function.platform is not self.platform:
            why = "the device and the address space are on different software platforms"
            raise UsageError("attach a device", device=self.label, why=why, hint="make both with one Platform")
        with self._change:
            for mapping in self.iommu:
                fd, offset = self._files[mapping.iova]
                link.map(mapping.iova, mapping.size, fd, offset, read=mapping.read, write=mapping.write)
            self._links[link] = function
            function.space = self.iommu

    def detach(self, function: Function, link: Link) -> None:
        """The device reaches nothing here any more; idempotent."""
        with self._change:
            if self._links.pop(link, None) is not None:
                function.space = None
                self._drain(link)
        self._close_if_left()

    def attach_pasid(self, function: Function, pasid: int, link: Link) -> None:
        """The device's requests tagged ``pasid`` go through here."""
        self.check_open("attach a PASID")
        with self._change:
            function.pasids[pasid] = self.iommu
            self._tagged.append((function, pasid, link))

    def detach_pasid(self, function: Function, pasid: int, link: Link) -> None:
        with self._change:
            if (function, pasid, link) in self._tagged:
                self._tagged.remove((function, pasid, link))
                function.pasids.pop(pasid, None)
                self._drain(link)
        self._close_if_left()

    def _close_if_left(self) -> None:
        if self._private and not self._links and not self._tagged:
            self.close()

    def _release(self) -> None:
        with self._change:
            for function, pasid, link in list(self._tagged):
                self.detach_pasid(function, pasid, link)
            self._withdraw(self.iommu.unmap(0, 1 << self.iommu.bits))
            for link, function in list(self._links.items()):
                self.detach(function, link)
