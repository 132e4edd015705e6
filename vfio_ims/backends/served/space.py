# SPDX-License-Identifier: Apache-2.0
"""The address space of a function that a server has opened: its mappings are made there, of memory that we share."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from vfio_ims.backends.served.refusals import in_words
from vfio_ims.errors import UnsupportedError, UsageError
from vfio_ims.lifetime import Owner
from vfio_ims.locks import make_lock
from vfio_ims.ports.translated import Translated
from vfio_ims.ports.values import IovaRange

if TYPE_CHECKING:
    from vfio_ims.ports.device import DevicePort
    from vfio_ims.vfio_user import SocketLink
    from vfio_ims.vfio_user.host_side import HostSide

__all__ = ["ServedSpace"]


class ServedSpace(Translated, Owner):
    """``AddressSpacePort`` over ``link``: one device's own, which closes with it."""

    def __init__(self, link: SocketLink, host: HostSide, parent: Owner) -> None:
        self._link, self._host = link, host
        self._lock = make_lock()
        self._mapped: dict[int, int] = {}
        super().__init__(f"{link.name} address space", parent)

    @property
    def name(self) -> str:
        return self.label

    def ranges(self) -> tuple[IovaRange, ...]:
        return self._host.ranges

    def page_sizes(self) -> int:
        return self._host.page_sizes

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
        """UnsupportedError for memory that has no file: the server could not reach it."""
        operation = f"map {size:#x} bytes at IOVA {iova:#x}"
        self.check_open(operation)
        if fd < 0:
            why = "memory without a file cannot be passed to the process that has the device"
            hint = "use buffers of this library's, or map a memfd"
            raise UnsupportedError(operation, device=self.label, why=why, hint=hint)
        page = self._host.page_sizes & -self._host.page_sizes
        if (iova | size | offset) % max(page, 1) or size <= 0:
            why = f"address, size and file offset must be multiples of {page:#x}"
            raise UsageError(operation, device=self.label, why=why, errno=errno.EINVAL)
        with self._lock, in_words(operation, self.label):
            self._link.map(iova, size, fd, offset, read=read, write=write)
            self._mapped[iova] = size

    def map_file(self, iova: int, fd: int, offset: int, size: int, *, read: bool = True, write: bool = True) -> None:
        raise self._unsupported(f"map a dma-buf at IOVA {iova:#x}")

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
        raise self._unsupported(f"map region {index} of {peer.name} at IOVA {iova:#x}")

    def _unsupported(self, operation: str) -> UnsupportedError:
        self.check_open(operation)
        why = "through a server a device reaches memory only"
        return UnsupportedError(operation, device=self.label, why=why, hint="open the function in this process")

    def unmap(self, iova: int, size: int) -> int:
        operation = f"unmap {size:#x} bytes at IOVA {iova:#x}"
        self.check_open(operation)
        with self._lock:
            end = iova + size
            within = {at: long for at, long in self._mapped.items() if at < end and iova < at + long}
            for at, long in within.items():
                if at < iova or at + long > end:
                    why = f"it cuts the mapping {at:#x}+{long:#x}"
                    raise UsageError(operation, device=self.label, why=why, errno=errno.EINVAL)
            return self._withdraw(within, operation)

    def unmap_all(self) -> int:
        self.check_open("unmap everything")
        with self._lock:
            return self._withdraw(dict(self._mapped), "unmap everything")

    def _withdraw(self, gone: dict[int, int], operation: str) -> int:
        for at, long in gone.items():
            with in_words(operation, self.label):
                self._link.unmap(at, long)
            del self._mapped[at]
        return sum(gone.values())

    def __del__(self) -> None:
        """Nothing to warn of: its device does."""

    def _release(self) -> None:
        """Nothing: the server takes all mappings back when the connection ends."""
