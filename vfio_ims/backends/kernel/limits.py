# SPDX-License-Identifier: Apache-2.0
"""Why a mapping was refused: locked memory counted, and the other reasons distinguished."""

from __future__ import annotations

import errno
import os
import resource
from dataclasses import dataclass
from pathlib import Path

from vfio_ims.counted import counted
from vfio_ims.errors import DeviceBusy, DeviceError, SetupError, UsageError, VfioImsError

__all__ = ["Locked", "map_refused", "unmap_refused"]


@dataclass(frozen=True, slots=True)
class Locked:
    """How much memory this process may lock (None: without limit), and how much it has. Bytes."""

    limit: int | None
    used: int

    @classmethod
    def now(cls, interface: str, proc: Path = Path("/proc/self")) -> Locked:
        """Type1 counts pinned pages as locked ones (VmLck), iommufd by user, and shows them as VmPin."""
        soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
        key = "VmLck:" if interface == "type1" else "VmPin:"
        used = 0
        try:
            for line in (proc / "status").read_text().splitlines():
                if line.startswith(key):
                    used = int(line.split()[1]) * 1024
        except (OSError, ValueError, IndexError):
            used = 0
        return cls(None if soft == resource.RLIM_INFINITY else soft, used)


def _size(count: int) -> str:
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if count >= unit and not count % unit:
            return f"{count // unit} {name}"
    return f"{counted(count, 'byte')}"


def map_refused(
    code: int, name: str, iova: int, size: int, interface: str, locked: Locked, limit: str = "65535"
) -> VfioImsError:
    """MAP_DMA or IOAS_MAP failed. ``limit``: type1's dma_entry_limit."""
    operation = f"map {size:#x} bytes at IOVA {iova:#x}"
    if code == errno.ENOMEM and locked.limit is not None and locked.used + size > locked.limit:
        need = -(-(locked.used + size) // 1024)
        whose = "of this user" if interface == "iommufd" else "of this process"
        why = (
            f"{_size(size)} more would be pinned, {_size(locked.used)} {whose} are, and the limit (RLIMIT_MEMLOCK) is"
            f" {_size(locked.limit)}; {interface} counts pinned memory against it"
        )
        hint = (
            f"ulimit -l {need} in the shell (memlock in /etc/security/limits.conf), LimitMEMLOCK={need}K in a unit, or"
            f" sudo prlimit --pid {os.getpid()} --memlock={need * 1024}"
        )
        return SetupError(operation, device=name, why=why, hint=hint, errno=code)
    if code == errno.ENOMEM:
        why = "the kernel could not pin or map so much memory"
        hint = "free memory, or map less at once" if interface == "type1" else "ulimit -l (counted by user); free -m"
        return SetupError(operation, device=name, why=why, hint=hint, errno=code)
    if code == errno.EEXIST:
        why = "a part of this range is mapped already"
        return DeviceBusy(operation, device=name, why=why, hint="unmap it first", errno=code)
    if code == errno.ENOSPC:
        why = f"the container has all the mappings that it may have ({limit})"
        hint = "map fewer, larger buffers, or raise vfio_iommu_type1.dma_entry_limit"
        return DeviceBusy(operation, device=name, why=why, hint=hint, errno=code)
    if code == errno.EFAULT:
        why = "the memory is not this process's, or may not be pinned (a device's BAR cannot be, through iommufd)"
        return UsageError(operation, device=name, why=why, errno=code)
    if code in (errno.EINVAL, errno.EOVERFLOW, errno.ENOENT):
        why = "address, size and IOVA must be whole pages, and the IOVA within what the IOMMU allows (ranges())"
        return UsageError(operation, device=name, why=why, errno=code)
    return DeviceError(operation, device=name, errno=code, hint="dmesg | tail")


def unmap_refused(code: int, name: str, iova: int, size: int) -> VfioImsError:
    """UNMAP_DMA or IOAS_UNMAP failed."""
    operation = f"unmap {size:#x} bytes at IOVA {iova:#x}"
    if code in (errno.EINVAL, errno.ENOENT, errno.EOVERFLOW):
        why = "the range must be whole pages and must not cut a mapping"
        return UsageError(operation, device=name, why=why, errno=code)
    if code == errno.EBUSY:
        return DeviceBusy(operation, device=name, why="a device still uses it", errno=code)
    return DeviceError(operation, device=name, errno=code)
