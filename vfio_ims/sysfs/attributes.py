# SPDX-License-Identifier: Apache-2.0
"""Reading one file, link or folder of sysfs. What is missing, unreadable or malformed is None, never an error."""

import os
from pathlib import Path

__all__ = ["SYS", "entries", "link_name", "read_bytes", "read_int", "read_text"]

SYS = Path("/sys")


def read_bytes(path: Path, size: int = 1 << 16) -> bytes | None:
    """Up to ``size`` bytes, or None."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError):
        return None
    try:
        parts = []
        while size > 0 and (part := os.read(descriptor, size)):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
    except OSError:
        # Some attributes fail halfway, as config does in a function that has been removed.
        return b"".join(parts) or None
    finally:
        os.close(descriptor)


def read_text(path: Path, size: int = 1 << 16) -> str | None:
    """The text of up to ``size`` bytes, without the newline at its end, or None. What is no UTF-8 is replaced."""
    data = read_bytes(path, size)
    return None if data is None else data.decode(errors="replace").strip()


def read_int(path: Path) -> int | None:
    """A number as sysfs writes it, decimal or 0x and hex, or None."""
    text = read_text(path)
    try:
        return int(text, 0) if text else None
    except ValueError:
        return None


def link_name(path: Path) -> str | None:
    """The last part of where a symbolic link leads (a driver's name, a group's number), or None."""
    try:
        return os.path.basename(os.readlink(path)) or None
    except (OSError, ValueError):
        return None


def entries(path: Path) -> tuple[str, ...]:
    """The names in a folder, sorted; none if it is missing or may not be read."""
    try:
        return tuple(sorted(os.listdir(path)))
    except (OSError, ValueError):
        return ()
