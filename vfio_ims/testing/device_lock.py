# SPDX-License-Identifier: Apache-2.0
"""One test run at a time on one device: processes of pytest-xdist, and other people's runs on the same machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import tempfile
import time
import weakref
from pathlib import Path

from vfio_ims.errors import DeviceBusy

__all__ = ["DeviceLock", "lock_folder"]

_PAUSE = 0.02  # seconds between two looks at a lock that another process holds


def lock_folder() -> Path:
    """Where locks are: /run/lock, which all users of a machine share, else the folder for temporary files."""
    shared = Path("/run/lock")
    return shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())


class DeviceLock:
    """An advisory lock, a file of its own, for the device called ``name``.

    It ends with the process that holds it; a forked child lets go of its copy.
    Who waits is next: a holder that gives it back and wants it again waits behind the one that waited.
    """

    def __init__(self, name: str, folder: Path | None = None) -> None:
        stem = "vfio-ims-" + re.sub(r"[^\w.-]+", "-", name).strip("-")[-150:]
        self._name, self._path = name, (folder or lock_folder()) / f"{stem}.lock"
        self._held = -1

    @property
    def held(self) -> bool:
        return self._held >= 0

    def acquire(self, timeout: float) -> None:
        """Wait up to ``timeout`` seconds. DeviceBusy names the process that still holds it then."""
        if self.held:
            return
        end = time.monotonic() + timeout
        first = self._take(self._path.with_suffix(".next"), end, timeout)
        try:
            found = self._take(self._path, end, timeout)
        finally:
            _give_back(self._path.with_suffix(".next"), first)
        self._held = found
        _HELD.add(self)
        with contextlib.suppress(OSError):  # another user's file: read only
            os.ftruncate(found, 0)
            os.pwrite(found, f"{os.getpid()} {os.environ.get('PYTEST_XDIST_WORKER', '')}".encode(), 0)

    def _take(self, path: Path, end: float, timeout: float) -> int:
        """The descriptor of ``path``, locked, where it is still the file of that name."""
        while True:
            descriptor = _open(path)
            try:
                self._wait(descriptor, end, timeout)
                with contextlib.suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False)):
                        return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)  # its last holder has removed it

    def _wait(self, descriptor: int, end: float, timeout: float) -> None:
        while True:
            with contextlib.suppress(BlockingIOError):
                return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.monotonic() >= end:
                why = f"{self._holder()} has not ended its tests on it within {timeout:g} s"
                hint = f"wait longer: --vfio-wait SECONDS; the lock is {self._path}"
                raise DeviceBusy("take the lock of a device", device=self._name, why=why, hint=hint)
            time.sleep(_PAUSE)

    def _holder(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            process, _, worker = self._path.read_text().partition(" ")
            return f"process {int(process)}" + (f", pytest-xdist's {worker}," if worker else "")
        return "another process"

    def release(self) -> None:
        """Give it back, and remove its file; safe to call again."""
        descriptor, self._held = self._held, -1
        if descriptor >= 0:
            _give_back(self._path, descriptor)

    def _forked(self) -> None:
        """In a child: let go of the copy, which leaves the parent's lock as it is."""
        descriptor, self._held = self._held, -1
        if descriptor >= 0:
            os.close(descriptor)


_HELD: weakref.WeakSet[DeviceLock] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for lock in list(_HELD):
        lock._forked()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _give_back(path: Path, descriptor: int) -> None:
    with contextlib.suppress(OSError):  # another user's file stays
        path.unlink()
    os.close(descriptor)


def _open(path: Path) -> int:
    """The file of a lock, made where there is none. Another user's is opened for reading, which is enough to lock."""
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    for access in (os.O_RDWR, os.O_RDONLY):
        with contextlib.suppress(FileNotFoundError, PermissionError):
            return os.open(path, access | flags)
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | flags, 0o644)
    except FileExistsError:
        return _open(path)  # another process has made it meanwhile
