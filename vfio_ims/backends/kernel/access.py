# SPDX-License-Identifier: Apache-2.0
"""What a request on an open device can fail with, and how a region is laid out as a window."""

from __future__ import annotations

import errno
import mmap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from vfio_ims.errors import (
    DeviceBusy,
    DeviceError,
    RemovedError,
    SetupError,
    UnsupportedError,
    UsageError,
    VfioImsError,
)
from vfio_ims.interruption import break_off
from vfio_ims.native.failure import failed
from vfio_ims.native.window import Piece
from vfio_ims.ports.values import RegionInfo

__all__ = ["OPEN_TIMEOUT", "access_refused", "irqs_refused", "pieces_of", "retry", "translate_errno"]

OPEN_TIMEOUT = 1.0
_PAUSE = 0.02

T = TypeVar("T")


@contextmanager
def translate_errno(refusal: Callable[[int], VfioImsError]) -> Iterator[None]:
    """Turn an errno of the kernel's into the error that ``refusal`` makes of it; our own errors pass."""
    try:
        yield
    except OSError as error:
        if isinstance(error, VfioImsError):
            raise
        refused = refusal(error.errno or 0)
        if error.errno in (errno.EMFILE, errno.ENFILE):  # says nothing about the device
            refused = failed(error.errno, refused.operation, refused.device)
        raise refused from error


def retry(action: Callable[[], T], code: int, timeout: float = OPEN_TIMEOUT) -> T:
    """Do it again while it fails with ``code``, for ``timeout`` seconds. Raises OSError.

    A group that was closed a moment ago is still EBUSY; a reset that meets another one is EAGAIN.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return action()
        except OSError as error:
            if error.errno != code or time.monotonic() >= deadline:
                raise
            break_off()
            time.sleep(_PAUSE)


def access_refused(code: int, operation: str, name: str) -> VfioImsError:
    """A request, read or write on an open device failed."""
    if code == errno.EIO:
        why = "memory decoding is off, or the function does not answer"
        return DeviceError(operation, device=name, why=why, hint="set bit 1 of the command register", errno=code)
    if code == errno.ENODEV:
        return RemovedError(operation, device=name, why="the function is gone", errno=code)
    if code in (errno.ENOTTY, errno.EOPNOTSUPP):
        return UnsupportedError(operation, device=name, why="the function or this kernel has no such thing", errno=code)
    if code in (errno.EINVAL, errno.EFAULT, errno.ERANGE):
        return UsageError(operation, device=name, why="the kernel takes no such argument", errno=code)
    if code == errno.EBUSY:
        return DeviceBusy(operation, device=name, errno=code)
    return DeviceError(operation, device=name, errno=code)


def irqs_refused(code: int, operation: str, name: str) -> VfioImsError:
    """SET_IRQS failed; the vectors in its range that were attached are no longer."""
    if code == errno.ENOSPC:
        why = "the machine has no interrupt vectors left for it, or its interrupts cannot be mapped for the IOMMU"
        return SetupError(operation, device=name, why=why, hint="ask for fewer vectors; dmesg | tail", errno=code)
    if code in (errno.ENOTTY, errno.EOPNOTSUPP):
        why = "vfio-pci has no such action for this kind of interrupt: only INTx can be masked"
        return UnsupportedError(operation, device=name, why=why, errno=code)
    if code == errno.EINVAL:
        why = "the range, the kind of data or the state do not fit: only one of INTx, MSI and MSI-X is on at a time"
        return UsageError(operation, device=name, why=why, errno=code)
    if code == errno.EBADF:
        return UsageError(operation, device=name, why="a descriptor in the data is not open", errno=code)
    return access_refused(code, operation, name)


def pieces_of(info: RegionInfo, fd: int, guard: tuple[int, int] | None, page: int = mmap.PAGESIZE) -> list[Piece]:
    """How to map what of a region may be mapped, in whole pages.

    Pages that the guard meets are read-only, unless they are all that the region has (64 KiB pages): then the guard
    alone protects its bytes. Where the kernel has no MSIX_MAPPABLE capability they are not mapped at all.
    """
    first, last = (guard[0] // page * page, -(-guard[1] // page) * page) if guard and guard[0] < guard[1] else (0, 0)
    whole = first == 0 and last >= info.size
    pieces: list[Piece] = []

    def add(start: int, end: int, writable: bool) -> None:
        if start < end:
            pieces.append(Piece(fd, info.offset + start, start, end - start, writable))

    for area in info.areas:
        start = -(-area.offset // page) * page
        # The last page of the region is the function's to its end, whatever the region's own size.
        end = -(-area.end // page) * page if area.end == info.size else area.end // page * page
        add(start, min(end, max(start, first)), True)
        if info.msix_mappable:
            add(max(start, first), min(end, last), whole)
        add(max(start, last), end, True)
    return pieces
