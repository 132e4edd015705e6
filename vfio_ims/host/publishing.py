# SPDX-License-Identifier: Apache-2.0
"""An owner of a device shows its counts to the same user's other processes, and to root: over a socket without a file.

An abstract socket needs no file and ends with its process, and any user may bind any name: each end looks at who the
other is (SO_PEERCRED, unix(7)), and what comes is bounded in size and time, and checked.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, Self

from vfio_ims.errors import DeviceBusy
from vfio_ims.printable import printable

__all__ = ["Counts", "Publication", "ask"]

_TIMEOUT = 0.5  # seconds for the whole of an answer
_LARGEST = 4 << 20  # bytes: 2**16 slots need 1 MiB
_CREDENTIALS = struct.Struct("3i")  # struct ucred: process, user, group


@dataclass(frozen=True)
class Counts:
    """What an owner publishes: events by vector and slot, and errors by name."""

    vectors: dict[str, int]
    slots: dict[int, int]
    errors: dict[str, str]


def _place(name: str) -> str:
    return f"\0vfio-ims-live-{name}"


def _peer(connection: socket.socket) -> tuple[int, int]:
    """Process and user at the other end."""
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    process, user, _ = _CREDENTIALS.unpack(found)
    return process, user


def ask(name: str, owner: int) -> Counts | None:
    """What the owner of ``name`` publishes; None: nothing, or nothing that can be trusted.

    The other end must be this user's, root's, or the process ``owner``, which has the device.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, suppress(OSError):
        deadline = time.monotonic() + _TIMEOUT
        connection.settimeout(_TIMEOUT)
        connection.connect(_place(name))
        process, user = _peer(connection)
        if user in (0, os.geteuid()) or process == owner:
            return _understood(_received(connection, deadline))
    return None


def _received(connection: socket.socket, deadline: float) -> bytes:
    """All that comes before the other end closes; nothing where that is too much, or too late."""
    data = bytearray()
    while (left := deadline - time.monotonic()) > 0 and len(data) <= _LARGEST:
        connection.settimeout(left)
        part = connection.recv(65536)
        if not part:
            return bytes(data)
        data += part
    return b""


def _understood(data: bytes) -> Counts | None:
    try:
        found = json.loads(data)
        return Counts(
            {_text(name): _count(value) for name, value in found["vectors"].items()},
            {_count(int(slot)): _count(value) for slot, value in (found["slots"] or {}).items()},
            {_text(name): _text(text) for name, text in found["errors"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("no text")
    return printable(value)


def _count(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("no count")
    return value


class Publication:
    """Answers each process that may ask with ``counts()``, in a thread of its own, until it is closed.

    Raises DeviceBusy where another process has the name already.
    """

    def __init__(self, name: str, counts: Callable[[], Counts]) -> None:
        self._counts = counts
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            self._listener.bind(_place(name))
            self._listener.listen()
        except OSError as error:
            self._listener.close()
            if error.errno != errno.EADDRINUSE:
                raise
            why = "another process publishes under this name already"
            raise DeviceBusy("publish its counts", device=name, why=why, errno=error.errno) from error
        self._thread = threading.Thread(target=self._serve, name=f"live view of {name}", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, suppress(OSError):
                connection.settimeout(_TIMEOUT)
                if _peer(connection)[1] in (0, os.geteuid()):
                    connection.sendall(json.dumps(asdict(self._counts())).encode())

    def close(self) -> None:
        """Answer no longer."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(2 * _TIMEOUT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
