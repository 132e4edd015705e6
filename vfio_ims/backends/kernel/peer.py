# SPDX-License-Identifier: Apache-2.0
"""Mapping a BAR of another function, peer-to-peer: by its address in a container, by a dma-buf in an iommufd.

Facts: the kernel's drivers/vfio/vfio_iommu_type1.c (vaddr_get_pfns follows mappings of device memory),
drivers/vfio/pci/vfio_pci_dmabuf.c and drivers/iommu/iommufd/pages.c (iopt_map_dmabuf).
"""

from __future__ import annotations

import errno
import mmap
from typing import TYPE_CHECKING

from vfio_ims.backends.kernel.device import KernelDevice
from vfio_ims.errors import DeviceError, UnsupportedError, UsageError, VfioImsError
from vfio_ims.native import vfio

if TYPE_CHECKING:
    from vfio_ims.ports.device import DevicePort

__all__ = ["dma_buf_of", "file_refused", "map_bar", "region_refused"]


def map_bar(peer: DevicePort, index: int, offset: int, size: int, space: str) -> mmap.mmap:
    """A mapping of a part of ``peer``'s region in this process, for the container to follow."""
    operation = f"map region {index} of {peer.name} for DMA"
    port = _kernels(peer, operation, space)
    info = port.region_info(index)
    if not any(area.holds(offset, size) for area in info.areas):
        why = f"{size:#x} bytes at {offset:#x} of the region cannot be mapped, by the kernel's word"
        raise UsageError(operation, device=space, why=why)
    try:
        return mmap.mmap(port.device.fileno(), size, offset=info.offset + offset)
    except OSError as error:
        raise DeviceError(operation, device=space, errno=error.errno) from error


def dma_buf_of(peer: DevicePort, index: int, offset: int, size: int, space: str) -> int:
    """A dma-buf over a part of ``peer``'s region; the caller closes it."""
    operation = f"export region {index} of {peer.name} as a dma-buf"
    port = _kernels(peer, operation, space)
    try:
        return vfio.export_dma_buf(port.device.fileno(), index, offset, size)
    except OSError as error:
        code = error.errno or 0
        if code in (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL):
            why = "this kernel does not export it (VFIO_DEVICE_FEATURE_DMA_BUF: Linux 6.19 with CONFIG_PCI_P2PDMA)"
            hint = f"{space},iommu=type1 and {peer.name},iommu=type1: a container maps a BAR by its address"
            raise UnsupportedError(operation, device=space, why=why, hint=hint, errno=code) from error
        raise DeviceError(operation, device=space, errno=code, hint="dmesg | tail") from error


def _kernels(peer: DevicePort, operation: str, space: str) -> KernelDevice:
    if not isinstance(peer, KernelDevice):
        why = f"{peer.name} is on mount {peer.mount}, and the space is the kernel's"
        raise UsageError(operation, device=space, why=why)
    peer.check_open(operation)
    return peer


def region_refused(code: int, operation: str, name: str, peer: str, interface: str) -> VfioImsError | None:
    """Why a container would not map a BAR; None: for the same reasons as any memory."""
    if code != errno.EFAULT:
        return None
    if interface == "iommufd":
        why = "iommufd stands in for the container, and maps no device's memory by its address"
        return UnsupportedError(operation, device=name, why=why, hint="a kernel with CONFIG_VFIO_CONTAINER", errno=code)
    why = f"the kernel found nothing behind it: memory decoding of {peer} is off, or it is in D3"
    return DeviceError(operation, device=name, why=why, hint=f"{peer}: set bit 1 of its command register", errno=code)


def file_refused(code: int, operation: str, name: str) -> VfioImsError | None:
    """Why an iommufd would not map a dma-buf; None: for the same reasons as any memory."""
    if code in (errno.ENOTTY, errno.EOPNOTSUPP, errno.ENXIO):
        why = "this kernel's iommufd maps no dma-bufs (IOMMU_IOAS_MAP_FILE), or not this exporter's"
        return UnsupportedError(operation, device=name, why=why, hint="uname -r; CONFIG_DMA_SHARED_BUFFER", errno=code)
    if code in (errno.EINVAL, errno.EBADF):
        why = "it is no dma-buf of VFIO's with one range, or its memory has been taken away"
        return UsageError(operation, device=name, why=why, errno=code)
    return None
