# SPDX-License-Identifier: Apache-2.0
"""iommufd's ioctls: one function each. All raise OSError with the kernel's errno.

Facts: the kernel's include/uapi/linux/iommufd.h.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass

from vfio_ims.errors import DeviceError
from vfio_ims.native.ioctl import call, structure
from vfio_ims.native.lib import native
from vfio_ims.ports.values import IovaRange

__all__ = [
    "EVERYTHING",
    "HwInfo",
    "compat_ioas",
    "destroy",
    "hw_info",
    "hwpt_alloc",
    "ioas_alloc",
    "ioas_map",
    "ioas_map_file",
    "ioas_ranges",
    "ioas_unmap",
    "physical",
]

EVERYTHING = (1 << 64) - 1
"""As the size of ``ioas_unmap`` at IOVA 0: all that is mapped."""

_MOST_RANGES = 65536


@dataclass(frozen=True, slots=True)
class HwInfo:
    """What IOMMU_GET_HW_INFO says of a bound device. ``max_pasid_log2`` 0: it can use no PASIDs."""

    data_type: int
    max_pasid_log2: int
    capabilities: int


def ioas_alloc(iommufd: int) -> int:
    """A new, empty I/O address space; its id."""
    wanted = structure("ioas_alloc")
    call(iommufd, native().lib.IOC_IOAS_ALLOC, wanted)
    return int(wanted.out_ioas_id)


def ioas_ranges(iommufd: int, ioas: int) -> tuple[tuple[IovaRange, ...], int]:
    """The IOVAs that all attached devices allow, and what a mapping's ends must be multiples of."""
    ffi, lib = native()
    room = 32
    while True:
        ranges = ffi.new("struct ioc_iova_range[]", room)
        wanted = structure("ioas_ranges", ioas_id=ioas, num_iovas=room)
        wanted.allowed_iovas = int(ffi.cast("uintptr_t", ranges))
        try:
            call(iommufd, lib.IOC_IOAS_RANGES, wanted)
        except OSError as error:
            if error.errno != errno.EMSGSIZE or not room < wanted.num_iovas <= _MOST_RANGES:
                raise
            room = wanted.num_iovas
            continue
        if wanted.num_iovas > room:
            raise DeviceError("read the IOVA ranges", why=f"the kernel gave {wanted.num_iovas}, with room for {room}")
        found = sorted(IovaRange(ranges[i].start, ranges[i].last) for i in range(wanted.num_iovas))
        return tuple(found), int(wanted.out_iova_alignment)


def ioas_map(iommufd: int, ioas: int, iova: int, address: int, size: int, *, read: bool, write: bool) -> None:
    """Map this process's memory at a fixed IOVA."""
    lib = native().lib
    flags = lib.IOC_IOAS_FIXED | (lib.IOC_IOAS_READABLE if read else 0) | (lib.IOC_IOAS_WRITABLE if write else 0)
    wanted = structure("ioas_map", flags=flags, ioas_id=ioas, user_va=address, length=size, iova=iova)
    call(iommufd, lib.IOC_IOAS_MAP, wanted)


def ioas_map_file(
    iommufd: int, ioas: int, iova: int, fd: int, offset: int, size: int, *, read: bool, write: bool
) -> None:
    """Map a part of a memfd, or of a dma-buf that VFIO exported, at a fixed IOVA. Linux 6.13; dma-bufs later."""
    lib = native().lib
    flags = lib.IOC_IOAS_FIXED | (lib.IOC_IOAS_READABLE if read else 0) | (lib.IOC_IOAS_WRITABLE if write else 0)
    wanted = structure("ioas_map_file", flags=flags, ioas_id=ioas, fd=fd, start=offset, length=size, iova=iova)
    call(iommufd, lib.IOC_IOAS_MAP_FILE, wanted)


def compat_ioas(descriptor: int) -> int | None:
    """The address space behind VFIO's container requests on this iommufd; None: no group is attached yet.

    OSError on a container that is VFIO's own: it does not know the request.
    """
    wanted = structure("vfio_ioas")
    try:
        call(descriptor, native().lib.IOC_VFIO_IOAS, wanted)
    except OSError as error:
        if error.errno == errno.ENODEV:
            return None
        raise
    return int(wanted.ioas_id)


def physical(iommufd: int, ioas: int, iova: int, size: int) -> tuple[int, int]:
    """The physical address that ``iova`` is mapped to, without an IOMMU, and how many bytes from there are contiguous.

    Linux 7.x; EPERM without CAP_SYS_RAWIO.
    """
    wanted = structure("ioas_noiommu_get_pa", ioas_id=ioas, iova=iova, length=size)
    call(iommufd, native().lib.IOC_IOAS_NOIOMMU_GET_PA, wanted)
    return int(wanted.out_phys), int(wanted.length)


def ioas_unmap(iommufd: int, ioas: int, iova: int, size: int) -> int:
    """Returns the bytes that were mapped."""
    wanted = structure("ioas_unmap", ioas_id=ioas, iova=iova, length=size)
    call(iommufd, native().lib.IOC_IOAS_UNMAP, wanted)
    return int(wanted.length)


def hwpt_alloc(iommufd: int, device_id: int, pt_id: int, *, pasid: bool = False) -> int:
    """A page table for the device over an IOAS; ``pasid``: one that PASIDs may be attached to. Its id."""
    lib = native().lib
    wanted = structure("hwpt_alloc", flags=lib.IOC_HWPT_PASID if pasid else 0, dev_id=device_id, pt_id=pt_id)
    call(iommufd, lib.IOC_HWPT_ALLOC, wanted)
    return int(wanted.out_hwpt_id)


def hw_info(iommufd: int, device_id: int) -> HwInfo:
    wanted = structure("hw_info", dev_id=device_id)
    call(iommufd, native().lib.IOC_GET_HW_INFO, wanted)
    return HwInfo(wanted.out_data_type, wanted.out_max_pasid_log2, wanted.out_capabilities)


def destroy(iommufd: int, object_id: int) -> None:
    """Give an IOAS or page table back. EBUSY while something is attached to it."""
    call(iommufd, native().lib.IOC_IOMMUFD_DESTROY, structure("iommufd_destroy", id=object_id))
