# SPDX-License-Identifier: Apache-2.0
"""What functions were like before they were touched: on disk before the first write, until they are so again.

One file a function. It says a state, not steps, so that whatever was cut off at whatever point can be put right by
comparing. The folder is lost with a reboot, and so is what it would undo.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vfio_ims.errors import AccessDenied, SetupError
from vfio_ims.host.binding import Binding
from vfio_ims.host.durable import remove_file, replace_file
from vfio_ims.json_input import read_json
from vfio_ims.pci import PciAddress

__all__ = ["Entry", "Journal"]

_FORMAT = 1
_SUDO = "the same command with sudo"


@dataclass(frozen=True, slots=True)
class Entry:
    """One function as it was. ``virtual``: its virtual functions as they were, by address."""

    address: str
    id: str | None
    before: Binding
    boot_id: str
    written: float
    virtual: dict[str, Binding]


class Journal:
    """The entries in a folder, which is made where it is missing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _place(self, address: str) -> Path:
        return self.folder / f"{PciAddress.parse(address)}.json"

    def entries(self) -> list[Entry]:
        """All of them, in the order in which they were written. Raises SetupError for one that cannot be read."""
        try:
            names = sorted(name for name in os.listdir(self.folder) if name.endswith(".json"))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._refused(error, "read") from error
        return sorted((self._read(self.folder / name) for name in names), key=lambda entry: entry.written)

    def get(self, address: str) -> Entry | None:
        """The entry of one function."""
        place = self._place(address)
        try:
            place.lstat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refused(error, "read") from error
        return self._read(place)

    def put(self, entry: Entry) -> None:
        """On return the entry is on disk, whole. An older one of the function is replaced, or stays if this fails.

        Raises AccessDenied or SetupError.
        """
        self._prepare()
        place = self._place(entry.address)
        text = json.dumps({"format": _FORMAT} | asdict(entry), indent=1) + "\n"
        with self._typed("write"):
            replace_file(place, text.encode())

    def drop(self, address: str) -> None:
        """Forget one function. Raises AccessDenied or SetupError."""
        with self._typed("write"):
            remove_file(self._place(address))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time binds and restores. Raises AccessDenied or SetupError."""
        self._prepare()
        with self._typed("lock"):
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            with self._typed("lock"):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _prepare(self) -> None:
        with self._typed("use"):
            self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            status = self.folder.stat()
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or status.st_uid not in (0, os.geteuid()):
            # A user who can write entries decides which drivers root will bind.
            why = "others may write to it, and what it says is carried out as root"
            raise SetupError(f"use the journal in {self.folder}", why=why, hint=f"chmod go-w {self.folder}")

    @contextmanager
    def _typed(self, verb: str) -> Iterator[None]:
        """What the kernel refuses below is raised as an error of ours."""
        try:
            yield
        except OSError as error:
            raise self._refused(error, verb) from error

    def _refused(self, error: OSError, verb: str) -> AccessDenied | SetupError:
        operation, code = f"{verb} the journal in {self.folder}", error.errno or 0
        first = "what is changed is first written down there"
        if code in (errno.EACCES, errno.EPERM):
            return AccessDenied(operation, why=f"{first}, and this user may not", hint=_SUDO, errno=code)
        if code in (errno.ENOSPC, errno.EDQUOT):
            why, hint = f"{first}, and there is no room", f"df -h {self._above()}; df -i {self._above()}"
        elif code == errno.EROFS:
            why, hint = f"{first}, and that file system is read-only", "--state FOLDER, where it can be written"
        else:
            why, hint = first, f"ls -ld {self._above()}"
        return SetupError(operation, why=why, hint=hint, errno=code)

    def _above(self) -> Path:
        """The folder, or what there is of the way to it."""
        return next(place for place in (self.folder, *self.folder.parents) if os.path.lexists(place))

    def _read(self, place: Path) -> Entry:
        with self._typed("read"):
            content = place.read_bytes()
        try:
            data = read_json(content)
            if data.pop("format") != _FORMAT:
                raise ValueError("it has another format")
            before, virtual = _binding(data.pop("before")), data.pop("virtual")
            entry = Entry(
                before=before, virtual={str(PciAddress.parse(a)): _binding(b) for a, b in virtual.items()}, **data
            )
            if place != self._place(entry.address):
                raise ValueError(f"it is about {entry.address}")
            return entry
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            why = f"it is not what this version wrote: {error}"
            raise SetupError(f"read {place}", why=why, hint=f"look at it; rm {place} gives up restoring") from error


def _binding(data: dict[str, Any]) -> Binding:
    for name in (data["driver"], data["override"]):
        if name is not None and (not isinstance(name, str) or "/" in name or name.startswith(".")):
            raise ValueError(f"{name!r} is no driver's name")
    return Binding(**data)
