# SPDX-License-Identifier: Apache-2.0
"""A copy of this checkout with the module for arm64 in it: what an arm64 Python, in a process or a guest, runs from.

It stays in the cache, one for each checkout, and with it what that Python has compiled: a later run copies only what
has changed.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tests.arm64.pieces import Pieces

REPO = Path(__file__).resolve().parents[2]
COPIED = ("pyproject.toml", "LICENSE", "README.md", "vfio_ims", "drivers", "tests", "examples")
MODULE = "vfio_ims/native/_native.abi3.so"


def stage(pieces: Pieces) -> Path:
    """The copy, brought up to date."""
    stages = pieces.root.parent / "stages"
    stages.mkdir(exist_ok=True)
    to = stages / hashlib.sha256(str(REPO).encode()).hexdigest()[:12]
    with (stages / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        to.mkdir(exist_ok=True)
        wanted = {path.relative_to(REPO): path for name in COPIED for path in _files(REPO / name)}
        for place, path in wanted.items():
            _copy(path, to / place)
        for path in list(_files(to)):
            if path.relative_to(to) not in wanted:
                path.unlink()
        _unpack(wheel(pieces), to)
        _copy(pieces.wheel / "trap.so", to / "tests" / "native" / "trap-aarch64.so")
    return to


def wheel(pieces: Pieces) -> Path:
    """The wheel for arm64: its compiled module is that of this checkout, its Python may be older."""
    (found,) = pieces.wheel.glob("*.whl")
    return found


def _files(path: Path) -> Iterator[Path]:
    """All files and links but what was compiled."""
    if path.is_symlink() or not path.is_dir():
        yield path
        return
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name not in ("__pycache__", ".venv", ".hypothesis") and not entry.name.endswith((".so", ".pyc")):
                yield from _files(Path(entry.path))


def _copy(path: Path, to: Path) -> None:
    there, here = (os.stat(one, follow_symlinks=False) if os.path.lexists(one) else None for one in (to, path))
    assert here is not None
    if there and (there.st_size, there.st_mtime_ns) == (here.st_size, here.st_mtime_ns):
        return
    to.parent.mkdir(parents=True, exist_ok=True)
    fresh = to.with_name(f".{to.name}.new")
    shutil.copy2(path, fresh, follow_symlinks=False)
    fresh.replace(to)


def _unpack(archive: Path, to: Path) -> None:
    module = to / MODULE
    stamp = archive.stat().st_mtime
    if module.exists() and module.stat().st_mtime == stamp:
        return
    fresh = module.with_name("fresh.so")
    with zipfile.ZipFile(archive) as names:
        fresh.write_bytes(names.read(MODULE))
    os.utime(fresh, (stamp, stamp))
    fresh.replace(module)
