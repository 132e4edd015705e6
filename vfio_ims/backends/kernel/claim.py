# SPDX-License-Identifier: Apache-2.0
"""One owner a function, by a lock that names its holder. The kernel refuses a second opener too, but not by name.

The lock is advisory and goes with its descriptor: it ends with the process, and travels with a hand-over. It is two
locks of one file: flock() excludes, since that works on a file of another user, which can only be read; and a lock of
the open file description (fcntl(2), F_OFD_SETLK) can be looked at without taking anything, so that looking never makes
a claim fail. Any user may make files in the folder: a file's content counts only where its owner may write it.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vfio_ims.errors import DeviceBusy
from vfio_ims.native.descriptor import Descriptor
from vfio_ims.printable import printable

__all__ = ["Claim", "Claimant", "claim", "claimed_by", "unseen"]

_LOCK = struct.Struct("hhqqi0q")  # struct flock of fcntl.h on 64-bit Linux: type, whence, start, length, pid


@dataclass(frozen=True, slots=True)
class Claimant:
    """The process that holds a lock; ``pid`` is 0 where it could not be named."""

    pid: int = 0
    name: str = "?"

    def __str__(self) -> str:
        return f"process {self.pid} ({printable(self.name)})" if self.pid else "another program"


class Claim(Descriptor):
    """The lock on one function. Closing it gives the function up."""

    def __init__(self, fd: int, bdf: str) -> None:
        super().__init__(fd, f"claim on {bdf}")
        with suppress(
            OSError
        ):  # a file system that has no such locks: the holder is not seen, flock() excludes all the same
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _LOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, 0, 1, 0))
        self._sign()

    def _sign(self) -> None:
        """Write this process's number into it, which the kernel does not know after a hand-over, if it may."""
        with suppress(OSError):
            text = json.dumps({"pid": os.getpid(), "started": _started(os.getpid())})
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
            raise _busy(bdf, holder) from None
        return Claim(fd, bdf)
    return None


def claimed_by(bdf: str, dev: Path = Path("/dev")) -> Claimant | None:
    """The process that has the lock, as far as that can be seen; None: none that could be. Takes nothing."""
    return next((held for folder in _all_folders(dev) if (held := _held(folder, bdf)) is not None), None)


def _held(folder: Path, bdf: str) -> Claimant | None:
    """The process that holds the lock in this folder; None: none."""
    fd = _opened(folder / f"vfio-ims-{bdf}.lock", os.O_RDONLY)
    if fd is None:
        return None
    try:
        answer = fcntl.fcntl(fd, fcntl.F_OFD_GETLK, _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0))
        return None if _LOCK.unpack(answer)[0] == fcntl.F_UNLCK else _holder(fd)
    except OSError:
        return None
    finally:
        os.close(fd)


def _busy(bdf: str, holder: Claimant) -> DeviceBusy:
    kill = f" (kill {holder.pid})" if holder.pid else ""
    hint = f"end that program{kill}, or have it hand the device over"
    return DeviceBusy("open", device=bdf, why=f"{holder} has it", hint=hint, errno=errno.EBUSY)


def _open(place: Path) -> int | None:
    """The lock file, made where it is missing; a file of another user can be locked without writing to it."""
    ways = (os.O_RDWR, os.O_RDWR | os.O_CREAT | os.O_EXCL, os.O_RDONLY)
    return next((fd for flags in ways if (fd := _opened(place, flags)) is not None), None)


def _opened(place: Path, flags: int) -> int | None:
    """A descriptor of a plain file; None for anything else that was put there: a link, a pipe, a name of another file.

    The holder writes its number into it: under a second name that would be another file's data.
    """
    try:
        fd = os.open(place, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
    except OSError:
        return None
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode) and status.st_nlink == 1:
        return fd
    os.close(fd)
    return None


def _holder(fd: int) -> Claimant:
    """The process that holds the lock: by the kernel's list, or by the file, for a holder that it was handed over to.

    The file counts where the one on the kernel's list is of the file's owner, and so may have written to it or handed
    the lock over: root's to a process of any user, a user's to its own.
    """
    listed, signed = _listed(fd), _signed(fd)
    if signed and (not listed or _user(listed) == os.fstat(fd).st_uid):
        return Claimant(signed, _name(signed))
    return Claimant(listed, _name(listed)) if listed else Claimant()


def _listed(fd: int) -> int:
    """The living process that took the lock, by /proc/locks (proc_locks(5)); 0: none that is known here."""
    status = os.fstat(fd)
    wanted = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    with suppress(OSError, ValueError):
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if len(words) > 5 and words[1] == "FLOCK" and words[5] == wanted and _started(int(words[4])) is not None:
                return int(words[4])
    return 0


def _signed(fd: int) -> int:
    """The living process that the file names, if it is its owner's or the file root's; 0: none."""
    with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
        signed = json.loads(os.pread(fd, 4096, 0))
        pid = signed["pid"]
        started = _started(pid) if isinstance(pid, int) else None
        if started is not None and started == signed["started"] and os.fstat(fd).st_uid in (0, _user(pid)):
            return int(pid)
    return 0


def _user(pid: int) -> int | None:
    """The user of a process."""
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return None


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return "?"


def _started(pid: int) -> int | None:
    """When a process was started, in clock ticks since boot: a later one of the same number differs in it."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None
