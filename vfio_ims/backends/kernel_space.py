# SPDX-License-Identifier: Apache-2.0
"""I/O address spaces of the kernel: a type1 container, an IOAS of an iommufd. They end with their last user."""

from __future__ import annotations

import errno
import mmap
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from vfio_ims.backends.kernel_access import in_words
from vfio_ims.backends.kernel_limits import Locked, map_refused, unmap_refused
from vfio_ims.errors import DeviceBusy, UsageError
from vfio_ims.lifetime import Owner
from vfio_ims.locks import make_rlock
from vfio_ims.native import iommufd, vfio
from vfio_ims.native.descriptor import Descriptor
from vfio_ims.verbs import IovaRange

if TYPE_CHECKING:
    pass

__all__ = ["IoasSpace", "KernelSpace", "Type1Space"]

# Where an old type1 says nothing of its ranges: 39 bits, which every VT-d has, without x86's interrupt messages.
_GUESSED = (IovaRange(0, 0xFEDF_FFFF), IovaRange(0xFEF0_0000, (1 << 39) - 1))
_LARGE = 1 << 21 | 1 << 30


class KernelSpace(Owner):
    """What both kinds share: users, errors, and the end with the last user (``AddressSpacePort``).

    A device joins and leaves; when the last one has left, the space closes, unless it was made by a caller for itself
    (``kept``). ``close`` detaches the PASIDs that use it, and is refused while it is a device's own.
    """

    interface: str

    def __init__(self, name: str, *, kept: bool = False) -> None:
        self._lock = make_rlock()
        self._users = 0
        self._kept = kept
        self._tags: dict[tuple[int, int], Callable[[], None]] = {}
        super().__init__(name)

    def __del__(self) -> None:
        if getattr(self, "_users", 0):  # its devices warn, and take it with them
            return
        super().__del__()

    @property
    def name(self) -> str:
        return self.label

    def join(self) -> None:
        """One more device uses it."""
        self.check_open("attach a device")
        with self._lock:
            self._users += 1

    def leave(self) -> None:
        """One device less."""
        with self._lock:
            self._users -= 1
            last = self._users == 0
        if last and not self._kept:
            self.close()

    def tag(self, user: object, pasid: int, detach: Callable[[], None]) -> None:
        """A PASID of ``user`` goes through here; ``detach`` takes it away, and calls ``untag``."""
        self.join()
        self._tags[id(user), pasid] = detach

    def untag(self, user: object, pasid: int) -> None:
        """It does no more."""
        del self._tags[id(user), pasid]
        self.leave()

    def close(self) -> None:
        """Take every mapping back and give the space up. DeviceBusy while it is a device's own."""
        if not self.closed and self._users == len(self._tags):
            for detach in list(self._tags.values()):
                detach()
        if self._users and not self.closed:
            why = f"{self._users} open device{'s use' if self._users > 1 else ' uses'} it"
            raise DeviceBusy("close the address space", device=self.label, why=why, hint="close the devices first")
        super().close()

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
        """Raises UsageError, DeviceBusy where something is mapped, SetupError where memory may not be locked."""
        self.check_open(f"map {size:#x} bytes at IOVA {iova:#x}")
        self._whole(f"map {size:#x} bytes at IOVA {iova:#x}", iova, address, size)
        with in_words(
            lambda code: map_refused(code, self.label, iova, size, self.interface, Locked.now(self.interface))
        ):
            self._map(iova, address, size, read, write)

    def unmap(self, iova: int, size: int) -> int:
        """Raises UsageError for a range that cuts a mapping."""
        self.check_open(f"unmap {size:#x} bytes at IOVA {iova:#x}")
        self._whole(f"unmap {size:#x} bytes at IOVA {iova:#x}", iova, 0, size)
        with in_words(lambda code: unmap_refused(code, self.label, iova, size)):
            return self._unmap(iova, size)

    def _whole(self, operation: str, *numbers: int) -> None:
        if min(numbers) < 0 or max(numbers) >= 1 << 64:
            raise UsageError(operation, device=self.label, why="addresses and sizes must be 0..2**64-1")

    def ranges(self) -> tuple[IovaRange, ...]:
        raise NotImplementedError

    def page_sizes(self) -> int:
        raise NotImplementedError

    def _map(self, iova: int, address: int, size: int, read: bool, write: bool) -> None:
        raise NotImplementedError

    def _unmap(self, iova: int, size: int) -> int:
        raise NotImplementedError


class Type1Space(KernelSpace):
    """A VFIO container with the type1v2 IOMMU. Usable once a group is in it (``prepare``)."""

    interface = "type1"

    def __init__(self, container: Descriptor, name: str) -> None:
        self.container = container
        self._prepared = False
        super().__init__(name)

    def prepare(self) -> None:
        """Choose the IOMMU, with the first group in the container. Raises OSError."""
        with self._lock:
            if not self._prepared:
                vfio.set_iommu(self.container.fileno(), 3)
                self._prepared = True

    def ranges(self) -> tuple[IovaRange, ...]:
        self.check_open("read the IOVA ranges")
        return vfio.type1_info(self.container.fileno()).ranges or _GUESSED

    def page_sizes(self) -> int:
        self.check_open("read the page sizes")
        return vfio.type1_info(self.container.fileno()).page_sizes

    def _map(self, iova: int, address: int, size: int, read: bool, write: bool) -> None:
        vfio.type1_map(self.container.fileno(), iova, address, size, read=read, write=write)

    def _unmap(self, iova: int, size: int) -> int:
        return vfio.type1_unmap(self.container.fileno(), iova, size)

    def _release(self) -> None:
        self.container.close()  # and with it all mappings


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

    def _meets(self, iova: int, size: int) -> bool:
        return any(start < iova + size and iova < start + length for start, length in self._mapped.items())

    def _release(self) -> None:
        with suppress(OSError):  # attached by something that is being closed too: it goes with the iommufd
            iommufd.destroy(self.iommu.fileno(), self.id)
        self.iommu.drop()
