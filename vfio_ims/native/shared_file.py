# SPDX-License-Identifier: Apache-2.0
"""A file of another process's, mapped: copies into and out of it survive that its owner cuts it meanwhile."""

from __future__ import annotations

import contextlib
import fcntl
import mmap

from vfio_ims.native.access import MemoryGone, copy
from vfio_ims.native.lib import native

__all__ = ["SharedFile", "seals_of"]


def seals_of(fd: int) -> int | None:
    """The seals of a memory file (a memfd, a file of tmpfs or hugetlbfs); None of anything else.

    It waits for no other process: other requests on a descriptor may wait for its file system's server (FUSE).
    """
    try:
        return fcntl.fcntl(fd, fcntl.F_GET_SEALS)
    except OSError:
        return None


class SharedFile:
    """The first ``size`` bytes of the memory file ``fd``, which may be closed afterwards.

    ``sealed``: no process can make the file shorter. Raises OSError, ValueError where it cannot be mapped.
    """

    def __init__(self, fd: int, size: int, *, writable: bool) -> None:
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self.sealed = bool((seals_of(fd) or 0) & fcntl.F_SEAL_SHRINK)
        error = -native().lib.memory_guard()
        if error:
            raise OSError(error, "the handler of SIGBUS cannot be installed")
        self._memory = mmap.mmap(fd, size, flags=mmap.MAP_SHARED, prot=protection)  # keeps a descriptor of its own
        self._view = memoryview(self._memory)

    def __len__(self) -> int:
        return len(self._view)

    @property
    def address(self) -> int:
        """Where it is mapped in this process."""
        ffi, _ = native()
        with ffi.from_buffer(self._view) as start:
            return int(ffi.cast("uintptr_t", start))

    def view(self, offset: int, size: int) -> memoryview:
        """The memory itself. Touching what the owner has cut off kills this process: only where it is ``sealed``."""
        return self._view[offset : offset + size]

    def read(self, offset: int, size: int) -> bytes:
        """Copy out. Raises MemoryGone."""
        ffi, _ = native()
        out = bytearray(size)
        with self._piece(offset, size) as piece, ffi.from_buffer(out) as to, ffi.from_buffer(piece) as source:
            copy(int(ffi.cast("uintptr_t", to)), int(ffi.cast("uintptr_t", source)), size)
        return bytes(out)

    def write(self, offset: int, data: bytes) -> None:
        """Copy in, as a device's write lands (``native.memory.put``). Raises MemoryGone: some of it may be there."""
        ffi, lib = native()
        with self._piece(offset, len(data)) as piece, ffi.from_buffer(piece) as to, ffi.from_buffer(data) as source:
            place = int(ffi.cast("uintptr_t", to)), int(ffi.cast("uintptr_t", source))
            if lib.memory_put(*place, len(data)):
                raise MemoryGone

    def _piece(self, offset: int, size: int) -> memoryview:
        """Keeps the mapping while it is copied."""
        try:
            return self._view[offset : offset + size]
        except ValueError:  # closed meanwhile
            raise MemoryGone from None

    def close(self) -> None:
        """Unmap it. With a view of it in use, the mapping goes with the last of them."""
        self._view.release()
        with contextlib.suppress(BufferError):
            self._memory.close()
