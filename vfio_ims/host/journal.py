# SPDX-License-Identifier: Apache-2.0
"""What functions were like before they were touched: on disk before the first write, until they are so again.

One file a function. It says a state, not steps, so that whatever was cut off at whatever point can be put right by
comparing. The folder is lost with a reboot, and so is what it would undo.
"""

from __future__ import annotations

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
from vfio_ims.pci import PciAddress

__all__ = ["Entry", "Journal"]

_FORMAT = 1


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
        except PermissionError as error:
            raise self._denied(error) from error
        return sorted((self._read(self.folder / name) for name in names), key=lambda entry: entry.written)

    def get(self, address: str) -> Entry | None:
        """The entry of one function."""
        place = self._place(address)
        return self._read(place) if place.exists() else None

    def put(self, entry: Entry) -> None:
        """On return the entry is on disk. An older one of the function is replaced."""
        self._prepare()
        place = self._place(entry.address)
        text = json.dumps({"format": _FORMAT} | asdict(entry), indent=1) + "\n"
        fresh = place.with_suffix(".new")
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            os.write(descriptor, text.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(fresh, place)
        self._sync()

    def drop(self, address: str) -> None:
        """Forget one function."""
        self._place(address).unlink(missing_ok=True)
        self._sync()

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One process at a time binds and restores."""
        self._prepare()
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _prepare(self) -> None:
        try:
            self.folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            status = self.folder.stat()
        except PermissionError as error:
            raise self._denied(error) from error
        if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or status.st_uid not in (0, os.geteuid()):
            # Whoever can write entries decides which drivers root will bind.
            why = "others may write to it, and what it says is carried out as root"
            raise SetupError(f"use the journal in {self.folder}", why=why, hint=f"chmod go-w {self.folder}")

    def _denied(self, error: OSError) -> AccessDenied:
        why = "what is changed is first written down there, and this user may not"
        hint = "the same command with sudo"
        return AccessDenied(f"use the journal in {self.folder}", why=why, hint=hint, errno=error.errno)

    def _sync(self) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _read(self, place: Path) -> Entry:
        try:
            data = json.loads(place.read_text())
            if data.pop("format") != _FORMAT:
                raise ValueError("it has another format")
            before, virtual = _binding(data.pop("before")), data.pop("virtual")
            entry = Entry(
                before=before, virtual={str(PciAddress.parse(a)): _binding(b) for a, b in virtual.items()}, **data
            )
            if place != self._place(entry.address):
                raise ValueError(f"it is about {entry.address}")
            return entry
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = f"it is not what this version wrote: {error}"
            raise SetupError(f"read {place}", why=why, hint=f"look at it; rm {place} gives up restoring") from error


def _binding(data: dict[str, Any]) -> Binding:
    for name in (data["driver"], data["override"]):
        if name is not None and (not isinstance(name, str) or "/" in name or name.startswith(".")):
            raise ValueError(f"{name!r} is no driver's name")
    return Binding(**data)
