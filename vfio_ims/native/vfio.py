# SPDX-License-Identifier: Apache-2.0
"""VFIO's ioctls on a container, a group and a device: one function each. All raise OSError with the kernel's errno.

Facts: the kernel's include/uapi/linux/vfio.h; what vfio-pci answers: drivers/vfio/pci/vfio_pci_core.c.
"""

from __future__ import annotations

import array
import errno
import mmap
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from vfio_ims.counted import counted
from vfio_ims.errors import DeviceError, UsageError
from vfio_ims.native.ioctl import ask, call, chain, part, structure
from vfio_ims.native.lib import native
from vfio_ims.ports.values import (
    Area,
    DeviceFlags,
    DeviceInfo,
    IovaRange,
    IrqFlags,
    IrqInfo,
    IrqSet,
    RegionFlags,
    RegionInfo,
)

__all__ = [
    "Type1Info",
    "api_version",
    "attach_pt",
    "bind_iommufd",
    "check_extension",
    "detach_pt",
    "device_info",
    "export_dma_buf",
    "feature",
    "group_device_fd",
    "group_set_container",
    "group_status",
    "group_unset_container",
    "irq_info",
    "region_info",
    "reset",
    "set_iommu",
    "set_irqs",
    "type1_info",
    "type1_map",
    "type1_unmap",
    "type1_unmap_all",
]

_MOST_PARTS = 65536  # areas or ranges of one answer


@dataclass(frozen=True, slots=True)
class Type1Info:
    """What a type1 container allows. ``mappings_left`` is None where the kernel does not say (before 5.10)."""

    page_sizes: int
    ranges: tuple[IovaRange, ...]
    mappings_left: int | None


# A container: /dev/vfio/vfio


def api_version(container: int) -> int:
    return call(container, native().lib.IOC_GET_API_VERSION, 0)


def check_extension(container: int, extension: int) -> bool:
    return call(container, native().lib.IOC_CHECK_EXTENSION, extension) > 0


def set_iommu(container: int, kind: int) -> None:
    """Choose the kind of IOMMU, once a group is in the container."""
    call(container, native().lib.IOC_SET_IOMMU, kind)


def type1_info(container: int) -> Type1Info:
    """Page sizes, allowed IOVA ranges and how many mappings are left."""
    ffi, lib = native()
    info, answer = ask(container, lib.IOC_IOMMU_GET_INFO, "iommu_info")
    ranges: list[IovaRange] = []
    left: int | None = None
    if info.flags & lib.IOC_IOMMU_CAPS:
        what = "the container's information"
        for capability in chain(what, answer, info.cap_offset):
            if capability.id == lib.IOC_CAP_IOVA_RANGE:
                count = part("cap_iova_range", what, answer, capability.offset).nr_iovas
                start = capability.offset + ffi.sizeof("struct ioc_cap_iova_range")
                ranges += [IovaRange(low, high) for low, high in _pairs(what, answer, start, count)]
            elif capability.id == lib.IOC_CAP_DMA_AVAIL:
                left = part("cap_dma_avail", what, answer, capability.offset).avail
    sizes = info.iova_pgsizes if info.flags & lib.IOC_IOMMU_PGSIZES else mmap.PAGESIZE
    return Type1Info(sizes, tuple(sorted(ranges)), left)


def type1_map(container: int, iova: int, address: int, size: int, *, read: bool, write: bool) -> None:
    lib = native().lib
    flags = (lib.IOC_DMA_READ if read else 0) | (lib.IOC_DMA_WRITE if write else 0)
    wanted = structure("dma_map", flags=flags, vaddr=address, iova=iova, size=size)
    call(container, lib.IOC_IOMMU_MAP_DMA, wanted)


def type1_unmap(container: int, iova: int, size: int) -> int:
    """Returns the bytes that were mapped."""
    wanted = structure("dma_unmap", iova=iova, size=size)
    call(container, native().lib.IOC_IOMMU_UNMAP_DMA, wanted)
    return int(wanted.size)


def type1_unmap_all(container: int) -> int:
    """Take every mapping back; the bytes that were mapped. EINVAL on kernels before 5.12: see ``check_extension``."""
    lib = native().lib
    wanted = structure("dma_unmap", flags=lib.IOC_DMA_UNMAP_ALL)
    call(container, lib.IOC_IOMMU_UNMAP_DMA, wanted)
    return int(wanted.size)


# A group: /dev/vfio/N


def group_status(group: int) -> int:
    """Flags: 1 viable, 2 in a container."""
    status = structure("group_status")
    call(group, native().lib.IOC_GROUP_GET_STATUS, status)
    return int(status.flags)


def group_set_container(group: int, container: int) -> None:
    ffi, lib = native()
    call(group, lib.IOC_GROUP_SET_CONTAINER, ffi.new("int32_t *", container))


def group_unset_container(group: int) -> None:
    call(group, native().lib.IOC_GROUP_UNSET_CONTAINER, 0)


def group_device_fd(group: int, bdf: str) -> int:
    """Open a function of the group by its address; a new descriptor, which the caller owns."""
    ffi, lib = native()
    return call(group, lib.IOC_GROUP_GET_DEVICE_FD, ffi.new("char[]", bdf.encode()))


# A device, however it was opened


def device_info(device: int) -> DeviceInfo:
    info, _ = ask(device, native().lib.IOC_DEVICE_GET_INFO, "device_info")
    return DeviceInfo(DeviceFlags(info.flags), info.num_regions, info.num_irqs)


def region_info(device: int, index: int) -> RegionInfo:
    """A region, with the areas that may be mapped. DeviceError for an answer that contradicts itself."""
    ffi, lib = native()
    info, answer = ask(device, lib.IOC_DEVICE_GET_REGION_INFO, "region_info", index=index)
    mappable = bool(info.flags & lib.IOC_REGION_MMAP) and info.size > 0
    areas = [Area(0, info.size)] if mappable else []
    msix_mappable = False
    what = f"the information of region {index}"
    for capability in chain(what, answer, info.cap_offset if info.flags & lib.IOC_REGION_CAPS else 0):
        if capability.id == lib.IOC_CAP_SPARSE_MMAP:
            count = part("cap_sparse_mmap", what, answer, capability.offset).nr_areas
            start = capability.offset + ffi.sizeof("struct ioc_cap_sparse_mmap")
            areas = [Area(at, size) for at, size in _pairs(what, answer, start, count) if size and mappable]
        elif capability.id == lib.IOC_CAP_MSIX_MAPPABLE:
            msix_mappable = True
    for area in areas:
        if area.end > info.size:
            why = f"an area {area.offset:#x}..{area.end:#x} lies outside of its {info.size:#x} bytes"
            raise DeviceError(f"read {what}", why=why)
    flags = RegionFlags(info.flags & 0xF)
    return RegionInfo(index, flags, info.size, info.offset, tuple(sorted(areas)), msix_mappable)


def irq_info(device: int, index: int) -> IrqInfo:
    info, _ = ask(device, native().lib.IOC_DEVICE_GET_IRQ_INFO, "irq_info", index=index)
    return IrqInfo(index, IrqFlags(info.flags & 0xF), info.count)


def set_irqs(device: int, index: int, flags: int, start: int, count: int, data: Sequence[int] = ()) -> None:
    """Attach, detach, mask, unmask or trigger; ``data`` as ``flags`` says: eventfds (-1: none), 0 or 1, or nothing."""
    ffi, lib = native()
    try:
        if flags & IrqSet.DATA_EVENTFD:
            payload = array.array("i", data).tobytes()
        else:
            payload = bytes(data)
    except (OverflowError, ValueError, TypeError) as error:
        raise UsageError("set interrupts", why=f"data must be eventfds, or 0 and 1, not {data!r}") from error
    size = ffi.sizeof("struct ioc_irq_set")
    buffer = ffi.new("uint8_t[]", size + len(payload))
    wanted = ffi.cast("struct ioc_irq_set *", buffer)
    wanted.argsz, wanted.flags, wanted.index = size + len(payload), flags, index
    wanted.start, wanted.count = start, count
    ffi.buffer(buffer)[size:] = payload
    if call(device, lib.IOC_DEVICE_SET_IRQS, wanted) > 0:  # how many there are, fewer than were asked for: none is on
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def reset(device: int) -> None:
    """A function-level reset, or what the kernel has instead. EAGAIN where it could not lock the function."""
    call(device, native().lib.IOC_DEVICE_RESET, 0)


def feature(device: int, flags: int, data: bytes = b"") -> bytes:
    """VFIO_DEVICE_FEATURE: ``flags`` are its index with GET, SET or PROBE; returns the data as the kernel left it."""
    ffi, lib = native()
    size = ffi.sizeof("struct ioc_device_feature")
    buffer = ffi.new("uint8_t[]", size + len(data))
    wanted = ffi.cast("struct ioc_device_feature *", buffer)
    wanted.argsz, wanted.flags = size + len(data), flags
    ffi.buffer(buffer)[size:] = data
    call(device, lib.IOC_DEVICE_FEATURE, wanted)
    return bytes(ffi.buffer(buffer)[size:])


def export_dma_buf(device: int, region: int, offset: int, size: int) -> int:
    """A dma-buf over a part of a BAR: a new descriptor, which the caller owns. ENOTTY where the kernel has none."""
    ffi, lib = native()
    head, middle = ffi.sizeof("struct ioc_device_feature"), ffi.sizeof("struct ioc_feature_dma_buf")
    whole = ffi.new("uint8_t[]", head + middle + ffi.sizeof("struct ioc_dma_range"))
    wanted = ffi.cast("struct ioc_device_feature *", whole)
    wanted.argsz, wanted.flags = len(whole), lib.IOC_FEATURE_GET | lib.IOC_FEATURE_DMA_BUF
    export = ffi.cast("struct ioc_feature_dma_buf *", whole + head)
    export.region_index, export.open_flags, export.nr_ranges = region, os.O_RDWR | os.O_CLOEXEC, 1
    only = ffi.cast("struct ioc_dma_range *", whole + head + middle)
    only.offset, only.length = offset, size
    return call(device, lib.IOC_DEVICE_FEATURE, wanted)


# A device opened by its own node: /dev/vfio/devices/vfioN


_BIND_TOKEN = 1  # VFIO_DEVICE_BIND_FLAG_TOKEN: the structure goes on with the address of a UUID (Linux 6.17)


def bind_iommufd(device: int, iommufd: int, token: bytes | None = None) -> int:
    """Make the device usable through this iommufd; returns its id there. ``token``: a VF token's 16 bytes.

    A kernel that takes no token here answers EINVAL, as it does for a device that is bound already.
    """
    ffi, lib = native()
    if token is None:
        wanted = structure("bind_iommufd", iommufd=iommufd)
    else:
        size = ffi.sizeof("struct ioc_bind_iommufd")
        shown = ffi.from_buffer(token)
        whole = ffi.new("uint8_t[]", size + 8)
        ffi.buffer(whole)[size:] = int(ffi.cast("uintptr_t", shown)).to_bytes(8, sys.byteorder)
        wanted = ffi.cast("struct ioc_bind_iommufd *", whole)
        wanted.argsz, wanted.flags, wanted.iommufd = size + 8, _BIND_TOKEN, iommufd
    call(device, lib.IOC_DEVICE_BIND_IOMMUFD, wanted)
    return int(wanted.out_devid)


def attach_pt(device: int, pt_id: int, pasid: int | None = None) -> int:
    """Send the device's requests (those with ``pasid``) through an IOAS or page table; returns the page table's id."""
    lib = native().lib
    wanted = structure("attach_pt", pt_id=pt_id)
    if pasid is None:
        wanted.argsz = 12  # as kernels before 6.15 know it
    else:
        wanted.flags, wanted.pasid = lib.IOC_ATTACH_PASID, pasid
    call(device, lib.IOC_DEVICE_ATTACH_PT, wanted)
    return int(wanted.pt_id)


def detach_pt(device: int, pasid: int | None = None) -> None:
    """Block the device's requests (those with ``pasid``)."""
    lib = native().lib
    wanted = structure("detach_pt")
    if pasid is None:
        wanted.argsz = 8
    else:
        wanted.flags, wanted.pasid = lib.IOC_ATTACH_PASID, pasid
    call(device, lib.IOC_DEVICE_DETACH_PT, wanted)


def _pairs(what: str, answer: bytes, start: int, count: int) -> list[tuple[int, int]]:
    """``count`` pairs of 64-bit numbers. DeviceError where they do not fit."""
    if count > _MOST_PARTS or start + 16 * count > len(answer):
        raise DeviceError(
            f"read {what}", why=f"the answer's {len(answer):#x} bytes have no room for {counted(count, 'entry')}"
        )
    words = memoryview(answer)[start : start + 16 * count]
    numbers = [int.from_bytes(words[at : at + 8], "little") for at in range(0, 16 * count, 8)]
    return list(zip(numbers[::2], numbers[1::2], strict=True))
