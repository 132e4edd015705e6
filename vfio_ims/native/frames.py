# SPDX-License-Identifier: Apache-2.0
"""Where memory of this process lies physically. All raise OSError, EPERM for a process without CAP_SYS_ADMIN.

Facts: the kernel's Documentation/admin-guide/mm/pagemap.rst (bits of pagemap, of kpageflags).
"""

from __future__ import annotations

import array
import errno
import mmap
import os

from vfio_ims.native.lib import native

__all__ = ["frames", "is_hugepage", "touch"]

_PRESENT = 1 << 63
_FRAME = (1 << 55) - 1
_HUGE = 1 << 17


def touch(address: int, size: int) -> None:
    """Have the kernel put a page behind each address: one load a page."""
    load = native().lib.memory_load
    for at in range(address, address + size, mmap.PAGESIZE):
        load(at, 1)


def frames(address: int, size: int) -> list[int]:
    """The page frame of each page: its physical address, divided by the page size."""
    count = size // mmap.PAGESIZE
    fd = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    try:
        data = os.pread(fd, 8 * count, address // mmap.PAGESIZE * 8)
    finally:
        os.close(fd)
    found = array.array("Q", data)
    if len(found) != count or any(not entry & _PRESENT for entry in found):
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    numbers = [entry & _FRAME for entry in found]
    if not all(numbers):  # what is shown to those who may not see them
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))
    return numbers


def is_hugepage(frame: int) -> bool:
    """Whether a frame is part of a hugepage (hugetlb), which the kernel neither swaps nor moves by itself."""
    fd = os.open("/proc/kpageflags", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return bool(int.from_bytes(os.pread(fd, 8, frame * 8), "little") & _HUGE)
    finally:
        os.close(fd)
