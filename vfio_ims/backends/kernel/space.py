# SPDX-License-Identifier: Apache-2.0
"""I/O address spaces of the kernel: what they share, and a type1 container. They end with their last user."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.backends.kernel.access import translate_errno
from vfio_ims.backends.kernel.limits import Locked, map_refused, unmap_refused
from vfio_ims.backends.kernel.peer import map_bar, region_refused
from vfio_ims.counted import by_count, counted
from vfio_ims.errors import DeviceBusy, UnsupportedError, UsageError, VfioImsError
from vfio_ims.lifetime import Owner
from vfio_ims.locks import make_rlock
from vfio_ims.native import vfio
from vfio_ims.native.descriptor import Descriptor
from vfio_ims.native.memory import address_of
from vfio_ims.ports.translated import Translated
from vfio_ims.ports.values import IovaRange

if TYPE_CHECKING:
    from vfio_ims.ports.device import DevicePort

__all__ = ["KernelSpace", "Type1Space"]

# Where an old type1 says nothing of its ranges: 39 bits, which every VT-d has, without x86's interrupt messages and the
# window in which Arm's SMMU drivers map doorbells.
_GUESSED = (
    IovaRange(0, 0x7FF_FFFF),
    IovaRange(0x810_0000, 0xFEDF_FFFF),
    IovaRange(0xFEF0_0000, (1 << 39) - 1),
)
_UNMAP_ALL = 9  # VFIO_UNMAP_ALL


class KernelSpace(Translated, Owner):
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
            why = f"{counted(self._users, 'open device')} {by_count(self._users, 'uses', 'use')} it"
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
        with translate_errno(lambda code: self._refused(code, iova, size)):
            self._map(iova, address, size, read, write)

    def unmap(self, iova: int, size: int) -> int:
        """Raises UsageError for a range that cuts a mapping."""
        self.check_open(f"unmap {size:#x} bytes at IOVA {iova:#x}")
        self._whole(f"unmap {size:#x} bytes at IOVA {iova:#x}", iova, 0, size)
        with translate_errno(lambda code: unmap_refused(code, self.label, iova, size)):
            return self._unmap(iova, size)

    def map_file(self, iova: int, fd: int, offset: int, size: int, *, read: bool = True, write: bool = True) -> None:
        operation = f"map a dma-buf at IOVA {iova:#x}"
        self.check_open(operation)
        why = "a container maps memory of this process only"
        hint = "open the device with iommu=iommufd: an iommufd maps those that VFIO exports"
        raise UnsupportedError(operation, device=self.label, why=why, hint=hint)

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
        raise NotImplementedError

    def unmap_all(self) -> int:
        self.check_open("unmap everything")
        with translate_errno(lambda code: unmap_refused(code, self.label, 0, 0)):
            return self._unmap_all()

    def _refused(self, code: int, iova: int, size: int) -> VfioImsError:
        return map_refused(code, self.label, iova, size, self.interface, Locked.now(self.interface))

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

    def _unmap_all(self) -> int:
        raise NotImplementedError


class Type1Space(KernelSpace):
    """A VFIO container with the type1v2 IOMMU. Usable once a group is in it (``prepare``)."""

    interface = "type1"
    kind = 3  # VFIO_TYPE1v2_IOMMU

    def __init__(self, container: Descriptor, name: str) -> None:
        self.container = container
        self._prepared = False
        self._peers: dict[int, mmap.mmap] = {}
        super().__init__(name)

    def prepare(self) -> None:
        """Choose the IOMMU, with the first group in the container. Raises OSError."""
        with self._lock:
            if not self._prepared:
                vfio.set_iommu(self.container.fileno(), self.kind)
                self._prepared = True

    def ranges(self) -> tuple[IovaRange, ...]:
        self.check_open("read the IOVA ranges")
        return vfio.type1_info(self.container.fileno()).ranges or _GUESSED

    def page_sizes(self) -> int:
        self.check_open("read the page sizes")
        return vfio.type1_info(self.container.fileno()).page_sizes

    def _map(self, iova: int, address: int, size: int, read: bool, write: bool) -> None:
        vfio.type1_map(self.container.fileno(), iova, address, size, read=read, write=write)

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
        operation = f"map region {index} of {peer.name} at IOVA {iova:#x}"
        self.check_open(operation)
        seen = map_bar(peer, index, offset, size, self.label)

        def refused(code: int) -> VfioImsError:
            known = region_refused(code, operation, self.label, peer.name, self.interface)
            return known or self._refused(code, iova, size)

        try:
            with translate_errno(refused):
                self._map(iova, address_of(seen), size, read, write)
        except BaseException:
            seen.close()
            raise
        self._peers[iova] = seen

    def _unmap(self, iova: int, size: int) -> int:
        gone = vfio.type1_unmap(self.container.fileno(), iova, size)
        for start in [start for start in self._peers if iova <= start < iova + size]:
            self._peers.pop(start).close()
        return gone

    def _unmap_all(self) -> int:
        if vfio.check_extension(self.container.fileno(), _UNMAP_ALL):
            gone = vfio.type1_unmap_all(self.container.fileno())
        else:  # before Linux 5.12
            pieces = [(one.start, one.last - one.start + 1) for one in self.ranges()]
            gone = sum(vfio.type1_unmap(self.container.fileno(), start, size) for start, size in pieces)
        while self._peers:
            self._peers.popitem()[1].close()
        return gone

    def _release(self) -> None:
        self.container.close()  # and with it all mappings
        while self._peers:
            self._peers.popitem()[1].close()
