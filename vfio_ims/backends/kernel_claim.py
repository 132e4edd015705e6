# SPDX-License-Identifier: Apache-2.0
"""One owner a function, by a lock that names its holder. The kernel refuses a second opener too, but not by name.

The lock is advisory and goes with its descriptor: it ends with the process, and travels with a hand-over.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from contextlib import suppress
from pathlib import Path

from vfio_ims.errors import DeviceBusy
from vfio_ims.native.descriptor import Descriptor

__all__ = ["Claim", "claim", "claimed_by", "unseen"]

_NOBODY = (0, "?")  # a holder that could not be named


class Claim(Descriptor):
    """The lock on one function. Closing it gives the function up."""

    def __init__(self, fd: int, bdf: str) -> None:
        super().__init__(fd, f"claim on {bdf}")
        self.sign()

    def sign(self) -> None:
        """Write this process's name into it, for those who find it locked. What cannot be written is left out."""
        with suppress(OSError):
            text = json.dumps({"pid": os.getpid(), "started": _started(os.getpid()), "name": _name(os.getpid())})
            os.ftruncate(self.fileno(), 0)
            os.pwrite(self.fileno(), f"{text}\n".encode(), 0)


def _folders(dev: Path) -> list[Path]:
    """Where a lock may be put: where all users see it, else where this user's other programs do."""
    root = dev.parent
    private = os.environ.get("XDG_RUNTIME_DIR") if dev == Path("/dev") else str(root / f"run/user/{os.geteuid()}")
    return [root / "run/lock", *([Path(private)] if private else [])]


def _all_folders(dev: Path) -> list[Path]:
    """Where locks may be seen: root sees those of every user."""
    others = sorted((dev.parent / "run/user").glob("*")) if os.geteuid() == 0 else []
    return list(dict.fromkeys([*_folders(dev), *others]))


def unseen(dev: Path = Path("/dev")) -> str:
    """Why another user's holder may stay without a name here; "" where it has one."""
    shared = _folders(dev)[0]
    if os.geteuid() == 0 or os.access(shared, os.W_OK | os.X_OK):
        return ""
    return f"this user cannot write to {shared}, so its lock is its own, and another user's holder has no name here"


def claim(bdf: str, dev: Path = Path("/dev")) -> Claim | None:
    """Take the lock; None where there is nowhere to put one. Raises DeviceBusy, which names the holder.

    Where users cannot write to /run/lock each user's locks are in XDG_RUNTIME_DIR: root sees them all, another user
    none. The kernel refuses the second opener all the same, and ``unseen`` says why it could not be named.
    """
    ours = {place.resolve() for place in _folders(dev)}
    for folder in _all_folders(dev):
        if folder.resolve() not in ours and (found := _held(folder, bdf)) is not None:
            raise _busy(bdf, found)
    for folder in _folders(dev):
        fd = _open(folder / f"vfio-ims-{bdf}.lock")
        if fd is None:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(fd)
            os.close(fd)
            if error.errno != errno.EWOULDBLOCK:
                continue
            raise _busy(bdf, holder or _NOBODY) from None
        return Claim(fd, bdf)
    return None


def claimed_by(bdf: str, dev: Path = Path("/dev")) -> str | None:
    """Who has the lock, as "process 4711 (python)"; None: nobody who could be seen."""
    found = next((held for folder in _all_folders(dev) if (held := _held(folder, bdf)) is not None), None)
    return None if found is None else _words(found)


def _held(folder: Path, bdf: str) -> tuple[int, str] | None:
    """Process id and name of who holds the lock in this folder, as far as they are known; None: nobody."""
    try:
        fd = os.open(folder / f"vfio-ims-{bdf}.lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _holder(fd) or _NOBODY
    finally:
        os.close(fd)
    return None


def _busy(bdf: str, holder: tuple[int, str]) -> DeviceBusy:
    kill = f" (kill {holder[0]})" if holder[0] else ""
    hint = f"end that program{kill}, or have it hand the device over"
    return DeviceBusy("open", device=bdf, why=f"{_words(holder)} has it", hint=hint, errno=errno.EBUSY)


def _open(place: Path) -> int | None:
    """The lock file, made where it is missing; a file of another user can be locked without writing to it."""
    for flags in (os.O_RDWR, os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_RDONLY):
        try:
            fd = os.open(place, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        except OSError:
            continue
        if stat.S_ISREG(os.fstat(fd).st_mode):
            return fd
        os.close(fd)
    return None


def _holder(fd: int) -> tuple[int, str] | None:
    """Process id and name. What the file says counts while that process lives; else the kernel's list of locks does."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        told = json.loads(os.pread(fd, 4096, 0))
        if told["started"] is not None and _started(told["pid"]) == told["started"]:
            return told["pid"], str(told["name"])
    status = os.fstat(fd)
    wanted = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5] == wanted:
                return int(words[4]), _name(int(words[4]))
    return None


def _words(holder: tuple[int, str]) -> str:
    return f"process {holder[0]} ({holder[1]})" if holder[0] else "another program"


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return "?"


def _started(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot: tells it from a later one of the same number."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
