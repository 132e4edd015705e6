# SPDX-License-Identifier: Apache-2.0
"""VFIO without an IOMMU, where the user names it (``,iommu=none``): addresses for the device are physical ones.

Facts: the kernel's Documentation/driver-api/vfio.rst (VFIO NOIOMMU mode), drivers/vfio/container.c and group.c,
drivers/iommu/iommufd/ioas.c (iommufd_ioas_noiommu_get_pa). Both interfaces want CAP_SYS_RAWIO.
"""

from __future__ import annotations

import errno
import mmap
import warnings
from pathlib import Path

from vfio_ims.backends.kernel.access import translate_errno
from vfio_ims.backends.kernel.cdev import node_of, open_cdev
from vfio_ims.backends.kernel.device import KernelDevice
from vfio_ims.backends.kernel.group import GroupSpace, open_group
from vfio_ims.backends.kernel.ioas import IoasSpace, Iommufd
from vfio_ims.errors import AccessDenied, DeviceBusy, NoIommuWarning, SetupError, UsageError, VfioImsError
from vfio_ims.native import iommufd
from vfio_ims.native.descriptor import Descriptor
from vfio_ims.native.frames import frames, is_hugepage, touch
from vfio_ims.ports.values import IovaRange
from vfio_ims.sysfs import Function

__all__ = ["NoIommuGroupSpace", "NoIommuIoasSpace", "not_without_iommu", "open_without_iommu"]

_ADDRESSES = (IovaRange(mmap.PAGESIZE, (1 << 52) - 1),)
_HUGE = 2 << 20
_SWITCH = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"

# Each open says it, not only the first one at a place in the code; a filter of the user's own comes before this one.
warnings.simplefilter("always", NoIommuWarning, append=True)


def not_without_iommu(function: Function) -> VfioImsError | None:
    """Why a function cannot be opened without an IOMMU; None if it can."""
    name, group = str(function), function.iommu_group
    if (group is not None and group.without_iommu) or (function.vfio_cdev or "").startswith("noiommu-"):
        return None
    if group is not None:
        why = "an IOMMU stands in front of it: iommu=none is for functions without one"
        return UsageError("open", device=name, why=why, hint=f"open {name}, which is isolated")
    why = "VFIO has made no node for it without an IOMMU: that mode was off when it was bound"
    hint = (
        f"echo Y | sudo tee {_SWITCH}; sudo vfio-ims unbind {name}; sudo vfio-ims bind {name}. It taints the kernel;"
        " a VM is better given a vIOMMU"
    )
    return SetupError("open", device=name, why=why, hint=hint)


def open_without_iommu(
    function: Function,
    *,
    space: GroupSpace | IoasSpace | None = None,
    dev: Path = Path("/dev"),
    vf_token: str | None = None,
) -> KernelDevice:
    """Open ``function`` without an IOMMU, by its own node (noiommu-vfioN) where the kernel has one, else by its group.

    Warns each time (NoIommuWarning) of what this gives up. AccessDenied without CAP_SYS_RAWIO.
    """
    text = (
        f"{function} is opened without an IOMMU: it can read and write all memory of this machine, by physical address,"
        " and nothing stops a wrong address; its interrupts are not isolated, and the kernel is tainted. For tests in"
        " guests without a vIOMMU, with devices that are trusted"
    )
    warnings.warn(NoIommuWarning(text), stacklevel=2)
    own = node_of(function, dev)
    try:
        if isinstance(space, IoasSpace) or (space is None and own is not None and own.exists()):
            return open_cdev(function, space=space, dev=dev, vf_token=vf_token, kind=NoIommuIoasSpace)
        return open_group(function, space=space, dev=dev, vf_token=vf_token, kind=NoIommuGroupSpace)
    except VfioImsError as error:
        if error.errno != errno.EPERM or isinstance(error, UsageError):
            raise
        why = "without an IOMMU a program needs CAP_SYS_RAWIO, whatever user the node belongs to"
        hint = "run it as root; or as a service with AmbientCapabilities=CAP_SYS_RAWIO CAP_SYS_ADMIN"
        raise AccessDenied("open", device=str(function), why=why, hint=hint, errno=errno.EPERM) from error


class _Physical:
    """What both kinds of spaces share: addresses are where memory lies, not ours to choose."""

    translates = False
    label: str

    def ranges(self) -> tuple[IovaRange, ...]:
        return _ADDRESSES

    def page_sizes(self) -> int:
        return mmap.PAGESIZE | _HUGE | 1 << 30

    def map(self, iova: int, address: int, size: int, **_: object) -> None:
        why = "without an IOMMU the address is the memory's own, and cannot be chosen"
        raise UsageError(f"map {size:#x} bytes at IOVA {iova:#x}", device=self.label, why=why, hint="pin it")

    def map_region(self, iova: int, peer: object, index: int, offset: int, size: int, **_: object) -> None:
        why = "without an IOMMU a device reaches another one's BAR at its bus address, if the hardware passes it on"
        raise UsageError(f"map region {index}", device=self.label, why=why, hint="lspci -vv has the BAR's address")

    def _scattered(self, operation: str, size: int, whole: int) -> SetupError:
        why = f"of {size:#x} bytes only the first {whole:#x} are contiguous in physical memory"
        hint = "several smaller buffers, or one of hugepages=1 << 30 (hugepagesz=1G hugepages=N for the kernel)"
        return SetupError(operation, device=self.label, why=why, hint=hint)


class NoIommuGroupSpace(_Physical, GroupSpace):
    """A container in no-IOMMU mode. It pins nothing, so only hugepages will do: nothing else stays where it is."""

    kind = 8  # VFIO_NOIOMMU_IOMMU
    prefix = "noiommu-"

    def __init__(self, container: Descriptor, name: str, *, by_iommufd: bool = False) -> None:
        self._pinned: dict[int, int] = {}  # physical address to size
        super().__init__(container, name, by_iommufd=by_iommufd)

    def contiguous(self, size: int) -> int | None:
        return _HUGE

    def pin(self, address: int, size: int, *, read: bool = True, write: bool = True) -> int:
        operation = f"find {size:#x} bytes in physical memory"
        self.check_open(operation)
        touch(address, size)
        with translate_errno(self._hidden):
            found = frames(address, size)
            movable = [frame for frame in found[:: _HUGE // mmap.PAGESIZE] if not is_hugepage(frame)]
        if movable:
            why = "it is not made of hugepages, and the kernel may move all other memory while a device writes to it"
            hint = "allocate(size, hugepages=2 << 20); or Linux 7.3, whose noiommu-vfioN nodes pin memory"
            raise UsageError(operation, device=self.label, why=why, hint=hint)
        whole = next((at for at, frame in enumerate(found) if frame != found[0] + at), len(found))
        if whole < len(found):
            raise self._scattered(operation, size, whole * mmap.PAGESIZE)
        start = found[0] * mmap.PAGESIZE
        with self._lock:
            if start in self._pinned:
                raise DeviceBusy(operation, device=self.label, why="this memory has a buffer already")
            self._pinned[start] = size
        return start

    def _hidden(self, code: int) -> VfioImsError:
        if code == errno.ENOENT:
            why = "the kernel shows no physical addresses (CONFIG_PROC_PAGE_MONITOR)"
            return SetupError("find memory", device=self.label, why=why, errno=code)
        why = "this program may not see physical addresses (/proc/self/pagemap, /proc/kpageflags)"
        return AccessDenied("find memory", device=self.label, why=why, hint="CAP_SYS_ADMIN, or root", errno=code)

    def _unmap(self, iova: int, size: int) -> int:
        return sum(self._pinned.pop(start) for start in list(self._pinned) if iova <= start < iova + size)

    def _unmap_all(self) -> int:
        gone = sum(self._pinned.values())
        self._pinned.clear()
        return gone


class NoIommuIoasSpace(_Physical, IoasSpace):
    """An IOAS that only looks addresses up (Linux 7.3): the kernel pins memory for it, and says where that is."""

    def __init__(self, iommu: Iommufd, name: str, *, kept: bool = False) -> None:
        self._next = 1 << 32
        self._keys: dict[int, tuple[int, int]] = {}  # physical address to the kernel's IOVA, and size
        super().__init__(iommu, name, kept=kept)

    def contiguous(self, size: int) -> int | None:
        return None if size <= mmap.PAGESIZE else _HUGE

    def pin(self, address: int, size: int, *, read: bool = True, write: bool = True) -> int:
        operation = f"find {size:#x} bytes in physical memory"
        self.check_open(operation)
        with self._lock, translate_errno(lambda code: self._hidden(code, size)):
            key = self._next
            iommufd.ioas_map(self.iommu.fileno(), self.id, key, address, size, read=read, write=write)
            try:
                start, whole = iommufd.physical(self.iommu.fileno(), self.id, key, size)
                if whole < size:
                    raise self._scattered(operation, size, whole)
                if start in self._keys:
                    raise DeviceBusy(operation, device=self.label, why="this memory has a buffer already")
            except BaseException:
                iommufd.ioas_unmap(self.iommu.fileno(), self.id, key, size)
                raise
            self._next += -(-size // _HUGE) * _HUGE
            self._keys[start] = key, size
        return start

    def _hidden(self, code: int, size: int) -> VfioImsError:
        if code == errno.EPERM:
            why = "this program may not see physical addresses"
            return AccessDenied("find memory", device=self.label, why=why, hint="CAP_SYS_RAWIO, or root", errno=code)
        return self._refused(code, self._next, size)

    def _unmap(self, iova: int, size: int) -> int:
        with self._lock:
            gone = 0
            for start in [start for start in self._keys if iova <= start < iova + size]:
                key, length = self._keys.pop(start)
                gone += iommufd.ioas_unmap(self.iommu.fileno(), self.id, key, length)
            return gone

    def _unmap_all(self) -> int:
        return self._unmap(0, 1 << 64)
