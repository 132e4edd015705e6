# SPDX-License-Identifier: Apache-2.0
"""Memory that exists already, as the backing of a buffer: a caller's own, a part of a file, a BAR of another device."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Protocol

from vfio_ims.counted import counted
from vfio_ims.errors import UsageError
from vfio_ims.native.lib import native
from vfio_ims.native.memory import FileMemory

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["Backing", "CallerMemory", "NoMemory", "file_part", "is_dma_buf"]


class Backing(Protocol):
    """What a buffer is made over. ``fd`` and ``offset``: the file behind it, -1 where there is none."""

    @property
    def size(self) -> int: ...
    @property
    def address(self) -> int: ...
    @property
    def fd(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def view(self) -> memoryview: ...

    def close(self) -> None:
        """Let go of it; UsageError while views of it are in use."""
        ...

    def abandon(self) -> object:
        """Forget it: it goes with the last view of it, or of what this returns."""
        ...


class CallerMemory:
    """An object with the buffer protocol. While this holds it, it can neither be resized nor freed.

    UsageError where it is not whole pages of contiguous memory.
    """

    fd, offset = -1, 0

    def __init__(self, memory: ReadableBuffer, page: int, device: str) -> None:
        operation = "map memory"
        try:
            whole = memoryview(memory)
        except TypeError as error:
            why = f"it must have the buffer protocol (mmap, array, NumPy's arrays), and {type(memory).__name__} has not"
            raise UsageError(operation, device=device, why=why) from error
        if not whole.c_contiguous or not whole.nbytes:
            why = (
                f"it must be contiguous and not empty, not {counted(whole.nbytes, 'byte')} with strides {whole.strides}"
            )
            raise UsageError(operation, device=device, why=why)
        self._view = whole.cast("B")
        self.writable = not whole.readonly
        self.size = whole.nbytes
        ffi, _ = native()
        with ffi.from_buffer(self._view) as start:
            self.address = int(ffi.cast("uintptr_t", start))
        if self.address % page or self.size % page:
            why = f"address and size must be multiples of the page, {page:#x}, not {self.address:#x} and {self.size:#x}"
            hint = "mmap.mmap(-1, size) is page aligned; allocate() maps new memory of any size"
            self._view.release()
            raise UsageError(operation, device=device, why=why, hint=hint)

    @property
    def view(self) -> memoryview:
        return memoryview(self._view)

    def close(self) -> None:
        try:
            self._view.release()
        except BufferError as error:
            raise UsageError("close mapped memory", why="memoryviews of it are still in use") from error

    def abandon(self) -> object:
        return self._view


class NoMemory:
    """What devices reach and this process has no view of through the buffer: a BAR, a dma-buf."""

    address, fd, offset = 0, -1, 0

    def __init__(self, size: int, device: str, what: str) -> None:
        self.size, self._device, self._what = size, device, what

    @property
    def view(self) -> memoryview:
        why = f"it is {self._what}, not memory of this process"
        raise UsageError("look at a buffer", device=self._device, why=why, hint="for a BAR: device.bar(number)")

    def close(self) -> None:
        """There is nothing to let go of."""

    def abandon(self) -> object:
        return None


def is_dma_buf(fd: int) -> bool:
    """Whether a descriptor is a dma-buf's. False where that cannot be read."""
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith("/dmabuf:")
    except OSError:
        return False


def file_part(fd: int, offset: int, size: int | None, *, writable: bool, page: int, device: str) -> FileMemory:
    """A part of a file, mapped through a copy of its descriptor. UsageError where the file does not have it.

    ``page``: what offset, size and address must be multiples of.
    """
    operation = "map a file"
    try:
        status = os.fstat(fd)
    except OSError as error:
        raise UsageError(operation, device=device, why=f"descriptor {fd} is not open", errno=error.errno) from error
    if not stat.S_ISREG(status.st_mode):
        raise UsageError(operation, device=device, why="it is no file: a memfd, or one on tmpfs or hugetlbfs, can be")
    if size is None:
        size = status.st_size - offset
    if offset < 0 or size <= 0 or offset + size > status.st_size:
        why = f"the file has {status.st_size:#x} bytes, and {size:#x} at {offset:#x} were asked for"
        raise UsageError(operation, device=device, why=why, hint="os.ftruncate(fd, size) makes it as long as needed")
    if offset % page or size % page:
        why = f"offset and size must be multiples of the page, {page:#x}, not {offset:#x} and {size:#x}"
        raise UsageError(operation, device=device, why=why)
    block = status.st_blksize  # on hugetlbfs the size of its pages, and addresses must be multiples of it
    align = block if block > page and not block & (block - 1) else page
    copy = os.dup(fd)
    return FileMemory(copy, size, f"{device} file", offset=offset, writable=writable, align=align)
