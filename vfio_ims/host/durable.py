# SPDX-License-Identifier: Apache-2.0
"""Files that count after a power cut: on disk, whole, before anything relies on them; refusals as errors of ours."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from vfio_ims.errors import AccessDenied, SetupError

__all__ = ["refused", "remove_file", "replace_file", "sync_folder", "write_file"]


def replace_file(place: Path, data: bytes) -> None:
    """On return ``data`` is at ``place`` and on disk; if it fails, what was there is. Raises OSError."""
    fresh = place.with_suffix(".new")
    try:
        write_file(fresh, data)
        os.replace(fresh, place)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    sync_folder(place.parent)


def write_file(place: Path, data: bytes) -> None:
    """Write a new file, all of it and down to the disk. Raises OSError."""
    descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Bring names that were made, changed or removed in ``folder`` to disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_file(place: Path) -> bool:
    """Remove it, on disk too; False: there was none. Raises OSError."""
    try:
        place.unlink()
    except FileNotFoundError:
        return False
    sync_folder(place.parent)
    return True


def refused(error: OSError, operation: str, place: Path, device: str | None = None) -> AccessDenied | SetupError:
    """The error to raise where the file system refuses a file at ``place``: what stands in the way, and what to do."""
    code = error.errno or 0
    above = next(one for one in place.parents if os.path.lexists(one))
    if code in (errno.EACCES, errno.EPERM):
        return AccessDenied(operation, device=device, hint="the same command with sudo", errno=code)
    why, hint = "", f"ls -ld {above}"
    if code in (errno.ENOSPC, errno.EDQUOT):
        why, hint = "there is no room", f"df -h {above}; df -i {above}"
    elif code == errno.EROFS:
        why, hint = "that file system is read-only", f"findmnt -T {above}"
    return SetupError(operation, device=device, why=why, hint=hint, errno=code)
