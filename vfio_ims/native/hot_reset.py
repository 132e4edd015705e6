# SPDX-License-Identifier: Apache-2.0
"""VFIO's ioctls for a hot reset of a slot or bus: which functions it takes along, and doing it. All raise OSError.

Facts: the kernel's include/uapi/linux/vfio.h; drivers/vfio/pci/vfio_pci_core.c (vfio_pci_ioctl_get_pci_hot_reset_info,
vfio_pci_ioctl_pci_hot_reset).
"""

from __future__ import annotations

import array
import errno
from collections.abc import Sequence
from dataclasses import dataclass

from vfio_ims.native.ioctl import call
from vfio_ims.native.lib import native

__all__ = ["NOT_OWNED", "Dependent", "HotResetInfo", "hot_reset", "hot_reset_info"]

NOT_OWNED = 0xFFFF_FFFF
"""VFIO_PCI_DEVID_NOT_OWNED: the ``id`` of a function that the caller's iommufd has no right to reset."""

_FIRST_ROOM, _MOST = 64, 1 << 16  # functions: a bus has up to 256, bridges below it have buses of their own


@dataclass(frozen=True, slots=True)
class Dependent:
    """One function that would be reset. ``id``: of its IOMMU group, or in the iommufd where ``by_device`` says so."""

    id: int
    segment: int
    bus: int
    devfn: int


@dataclass(frozen=True, slots=True)
class HotResetInfo:
    """``by_device``: ids are those of the iommufd, not of groups."""

    by_device: bool
    functions: tuple[Dependent, ...]


def hot_reset_info(device: int) -> HotResetInfo:
    """The functions that a hot reset of ``device`` resets, itself among them. ENODEV where it has no such reset."""
    ffi, lib = native()
    head, one = ffi.sizeof("struct ioc_hot_reset_info"), ffi.sizeof("struct ioc_dependent_device")
    room = _FIRST_ROOM
    while True:
        buffer = ffi.new("uint8_t[]", head + room * one)
        info = ffi.cast("struct ioc_hot_reset_info *", buffer)
        info.argsz = head + room * one
        try:
            call(device, lib.IOC_DEVICE_GET_PCI_HOT_RESET_INFO, info)
        except OSError as error:
            if error.errno != errno.ENOSPC or room >= _MOST:
                raise
            room = min(max(2 * room, info.count), _MOST)
            continue
        found = ffi.cast("struct ioc_dependent_device *", buffer + head)
        listed = (found[number] for number in range(min(info.count, room)))
        functions = tuple(Dependent(item.group_id, item.segment, item.bus, item.devfn) for item in listed)
        return HotResetInfo(bool(info.flags & lib.IOC_HOT_RESET_DEV_ID), functions)


def hot_reset(device: int, groups: Sequence[int] = ()) -> None:
    """Reset the slot or bus. ``groups``: descriptors of every affected group; none for a device by its own node."""
    ffi, lib = native()
    payload = array.array("i", groups).tobytes()
    size = ffi.sizeof("struct ioc_hot_reset")
    buffer = ffi.new("uint8_t[]", size + len(payload))
    wanted = ffi.cast("struct ioc_hot_reset *", buffer)
    wanted.argsz, wanted.count = size + len(payload), len(groups)
    ffi.buffer(buffer)[size:] = payload
    call(device, lib.IOC_DEVICE_PCI_HOT_RESET, wanted)
