# SPDX-License-Identifier: Apache-2.0
"""I/O address spaces of an iommufd (/dev/iommu). They end with their last user, the iommufd with the last."""

from __future__ import annotations

import errno
import mmap
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from vfio_ims.backends.kernel.access import translate_errno
from vfio_ims.backends.kernel.peer import dma_buf_of, file_refused
from vfio_ims.backends.kernel.space import KernelSpace
from vfio_ims.errors import VfioImsError
from vfio_ims.native import iommufd
from vfio_ims.native.descriptor import Descriptor
from vfio_ims.ports.values import IovaRange

if TYPE_CHECKING:
    from vfio_ims.ports.device import DevicePort

__all__ = ["IoasSpace", "Iommufd"]

_LARGE = 1 << 21 | 1 << 30


class Iommufd(Descriptor):
    """/dev/iommu, open; closed when the last space on it is."""

    def __init__(self, fd: int, label: str) -> None:
        self._spaces = 0
        super().__init__(fd, label)

    def use(self) -> None:
        self._spaces += 1

    def drop(self) -> None:
        self._spaces -= 1
        if not self._spaces:
            self.close()


class IoasSpace(KernelSpace):
    """An I/O address space of an iommufd. Several of them may be on one, for devices and for their PASIDs."""

    interface = "iommufd"

    def __init__(self, iommu: Iommufd, name: str, *, kept: bool = False) -> None:
        self.iommu = iommu
        self._mapped: dict[int, int] = {}
        iommu.use()
        try:
            self.id = iommufd.ioas_alloc(iommu.fileno())
        except BaseException:
            iommu.drop()
            raise
        super().__init__(name, kept=kept)

    def another(self, name: str) -> IoasSpace:
        """A second, empty space on the same iommufd, for a PASID of the same device. The caller closes it."""
        self.check_open("make another address space")
        return IoasSpace(self.iommu, name, kept=True)

    def ranges(self) -> tuple[IovaRange, ...]:
        self.check_open("read the IOVA ranges")
        return iommufd.ioas_ranges(self.iommu.fileno(), self.id)[0]

    def page_sizes(self) -> int:
        self.check_open("read the page sizes")
        alignment = iommufd.ioas_ranges(self.iommu.fileno(), self.id)[1]
        return max(alignment, mmap.PAGESIZE) | _LARGE

    def _map(self, iova: int, address: int, size: int, read: bool, write: bool) -> None:
        with self._lock:
            iommufd.ioas_map(self.iommu.fileno(), self.id, iova, address, size, read=read, write=write)
            self._mapped[iova] = size

    def _unmap(self, iova: int, size: int) -> int:
        # The kernel says ENOENT both for a range with nothing in it and for one that cuts a mapping.
        with self._lock:
            exact = self._mapped.get(iova) == size  # the usual case costs no search
            within = [iova] if exact else [start for start in self._mapped if iova <= start < iova + size]
            try:
                gone = iommufd.ioas_unmap(self.iommu.fileno(), self.id, iova, size)
            except OSError as error:
                if error.errno == errno.ENOENT and not self._meets(iova, size):
                    return 0
                raise
            for start in within:
                del self._mapped[start]
            return gone

    def map_file(self, iova: int, fd: int, offset: int, size: int, *, read: bool = True, write: bool = True) -> None:
        operation = f"map a dma-buf at IOVA {iova:#x}"
        self.check_open(operation)

        def refused(code: int) -> VfioImsError:
            return file_refused(code, operation, self.label) or self._refused(code, iova, size)

        with self._lock, translate_errno(refused):
            iommufd.ioas_map_file(self.iommu.fileno(), self.id, iova, fd, offset, size, read=read, write=write)
            self._mapped[iova] = size

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
        fd = dma_buf_of(peer, index, offset, size, self.label)
        try:
            self.map_file(iova, fd, 0, size, read=read, write=write)
        finally:
            os.close(fd)

    def _unmap_all(self) -> int:
        with self._lock:
            try:
                gone = iommufd.ioas_unmap(self.iommu.fileno(), self.id, 0, iommufd.EVERYTHING)
            except OSError as error:  # there was nothing
                if error.errno != errno.ENOENT or self._mapped:
                    raise
                return 0
            self._mapped.clear()
            return gone

    def _meets(self, iova: int, size: int) -> bool:
        return any(start < iova + size and iova < start + length for start, length in self._mapped.items())

    def _release(self) -> None:
        with suppress(OSError):  # attached by something that is being closed too: it goes with the iommufd
            iommufd.destroy(self.iommu.fileno(), self.id)
        self.iommu.drop()
