# SPDX-License-Identifier: Apache-2.0
"""The client's memory as the server reaches it: DMA windows, each file mapped once, its descriptor closed.

A guest that maps a gigabyte page by page sends a quarter of a million windows with the same file; one mapping or one
descriptor each would run into the process's limits.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from dataclasses import dataclass

from vfio_ims.errors import BusFault
from vfio_ims.native.shared_file import SharedFile, seals_of
from vfio_ims.vfio_user.messages import DmaFlags
from vfio_ims.vfio_user.windows import Window, WindowMap
from vfio_ims.vfio_user.wire import Refused

__all__ = ["ClientMemory", "Piece"]

_MOST_WINDOWS = 1 << 20
_LARGEST_WINDOW = 8 << 40  # libvfio-user's bound
_SPACE = 1 << 64
_SWEEP = 1 << 20  # an unmap of at least that much is one of QEMU's sweeps: its steps end at the interrupt range
_PERMISSIONS = DmaFlags.READ | DmaFlags.WRITE
_BY_MESSAGE = 0  # the file number of windows without a file


@dataclass(frozen=True, slots=True)
class Piece:
    """A run of client memory: in a file, mapped, or by message only where ``file`` is None."""

    iova: int
    size: int
    file: SharedFile | None
    offset: int

    @property
    def view(self) -> memoryview | None:
        """The memory itself, where nothing can take it away."""
        return self.file.view(self.offset, self.size) if self.file is not None and self.file.sealed else None

    def read(self) -> bytes:
        """Raises MemoryGone. Of a piece with a file."""
        assert self.file is not None
        return self.file.read(self.offset, self.size)

    def write(self, data: bytes) -> None:
        """Raises MemoryGone. Of a piece with a file."""
        assert self.file is not None
        self.file.write(self.offset, data)


class ClientMemory:
    """The windows of one client. Safe for threads. ``map`` and ``unmap`` raise Refused, ``pieces`` raises BusFault."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._windows = WindowMap()
        self._files: dict[int, SharedFile] = {}
        self._users: dict[int, int] = {}  # windows that need the file
        self._numbers: dict[tuple[int, int, bool], int] = {}
        self._next = _BY_MESSAGE + 1

    def __len__(self) -> int:
        return len(self._windows)

    def map(self, address: int, size: int, flags: int, offset: int, fd: int | None) -> None:
        """Add a window. ``fd`` is the caller's to close, always."""
        known = _PERMISSIONS | DmaFlags.MMAP | DmaFlags.FILE_IO
        if flags & ~known:
            raise Refused(errno.EINVAL, f"flags must be among {known:#x}, not {flags:#x}")
        if fd is None and flags & (DmaFlags.MMAP | DmaFlags.FILE_IO):
            raise Refused(errno.EINVAL, "a window that is to be mapped needs a descriptor")
        if size > _LARGEST_WINDOW:
            raise Refused(errno.ENOSPC, f"size must be at most {_LARGEST_WINDOW:#x}, not {size:#x}")
        if not size or address + size > _SPACE or offset + size > _SPACE // 2:
            raise Refused(errno.EINVAL, f"the window {address:#x}+{size:#x} (file offset {offset:#x}) does not exist")
        with self._lock:
            if self._same(address, size, flags, offset, fd):
                return
            if self._windows.meets(address, size):
                raise Refused(errno.EEXIST, f"the window {address:#x}+{size:#x} overlaps another")
            if len(self._windows) >= _MOST_WINDOWS:
                raise Refused(errno.EINVAL, f"there are {_MOST_WINDOWS} windows already")
            number = _BY_MESSAGE if fd is None else self._file(fd, offset + size, bool(flags & DmaFlags.WRITE))
            if number != _BY_MESSAGE:
                self._users[number] += 1
            window = Window(address, size, offset, number << 2 | flags & _PERMISSIONS)
            try:
                self._reach(window, self._files.get(number), -1 if fd is None else fd)
            except BaseException:
                self._drop(number)
                raise
            self._windows.add(window)

    def _reach(self, window: Window, file: SharedFile | None, fd: int) -> None:
        """Called with each new window, before it counts. ``fd`` is the client's, for the time of the call."""

    def _leave(self, window: Window) -> None:
        """Called with each window that goes, while its file is still mapped."""

    def _same(self, address: int, size: int, flags: int, offset: int, fd: int | None) -> bool:
        """Whether just this window is there already: telling it twice does no harm."""
        old = self._windows.find(address)
        if old is None or old[:3] != (address, size, offset) or old.tag & 3 != flags & _PERMISSIONS:
            return False
        number = _BY_MESSAGE
        if fd is not None and seals_of(fd) is not None:
            number = self._numbers.get(self._key(fd, os.fstat(fd)), _BY_MESSAGE)
        return number == old.tag >> 2

    @staticmethod
    def _key(fd: int, status: os.stat_result) -> tuple[int, int, bool]:
        return status.st_dev, status.st_ino, fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDWR

    def _file(self, fd: int, end: int, write: bool) -> int:
        """The number of the file behind ``fd``, mapped up to ``end`` at least.

        What is no memory file is not mapped: its client answers for it by message. Another device's region is such,
        and a file on a disk or network, whose pages this process would have to wait for.
        """
        if seals_of(fd) is None:
            return _BY_MESSAGE
        status = os.fstat(fd)
        if end > status.st_size:
            raise Refused(errno.EINVAL, f"the file ends at {status.st_size:#x}, the window at {end:#x}")
        key = self._key(fd, status)
        if write and not key[2]:
            raise Refused(errno.EACCES, "a window that can be written needs a descriptor open for reading and writing")
        number = self._numbers.get(key)
        if number is not None and len(self._files[number]) >= end:
            return number
        try:
            file = SharedFile(fd, status.st_size, writable=key[2])
        except (OSError, ValueError, OverflowError) as error:
            raise Refused(
                getattr(error, "errno", None) or errno.EINVAL, f"the file cannot be mapped: {error}"
            ) from error
        # A file that has grown is mapped anew under a new number; the old mapping goes with its last window.
        self._numbers[key] = number = self._next
        self._next += 1
        self._files[number], self._users[number] = file, 0
        return number

    def unmap(self, address: int, size: int) -> int:
        """Remove the windows within the range; returns how many. Refused where one is cut, or none is there.

        libvfio-user takes exact matches only. QEMU's VT-d sweeps a whole address space in large steps when a function
        changes domain, whether something is mapped there or not, and the kernel's VFIO allows that: so it is allowed.
        """
        with self._lock:
            gone = self._windows.remove(address, size) if size and address + size <= _SPACE else None
            if gone is None or (not gone and size < _SWEEP):
                raise Refused(errno.ENOENT, f"there is no window {address:#x}+{size:#x}")
            for window in gone:
                self._leave(window)
                self._drop(window.tag >> 2)
            return len(gone)

    def _drop(self, number: int) -> None:
        if number not in self._files:
            return
        self._users[number] -= 1
        if not self._users[number]:
            del self._users[number]
            self._numbers = {key: other for key, other in self._numbers.items() if other != number}
            self._files.pop(number).close()

    def clear(self) -> None:
        """Remove all: the client is gone, or says so."""
        with self._lock:
            self._windows.clear()
            self._numbers.clear()
            self._users.clear()
            while self._files:
                self._files.popitem()[1].close()

    def holds(self, iova: int, size: int) -> bool:
        """Whether some byte of the range lies in a window."""
        with self._lock:
            return self._windows.meets(iova, size)

    def pieces(self, iova: int, size: int, *, write: bool) -> list[Piece]:
        """The range as runs of memory, each as long as it can be. All of it must be mapped and allow the access."""
        need = DmaFlags.WRITE if write else DmaFlags.READ
        runs: list[tuple[int, int, int, int]] = []  # iova, size, file, offset
        at, end = iova, iova + size
        with self._lock:
            while at < end:
                window = self._windows.find(at)
                if window is None or not window.tag & need:
                    why = f"no window at {at:#x}" if window is None else f"the window at {at:#x} does not allow it"
                    raise BusFault(iova, size, write=write, why=why)
                inside = at - window.start
                take = min(window.size - inside, end - at)
                number, offset = window.tag >> 2, window.offset + inside
                if runs and runs[-1][2] == number and (number == _BY_MESSAGE or runs[-1][3] + runs[-1][1] == offset):
                    runs[-1] = (runs[-1][0], runs[-1][1] + take, number, runs[-1][3])
                else:
                    runs.append((at, take, number, offset))
                at += take
            return [Piece(at, size, self._files.get(number), offset) for at, size, number, offset in runs]
