# SPDX-License-Identifier: Apache-2.0
"""Call a vfio-user server: connect, agree on version and limits."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import time

from vfio_ims.errors import AccessDenied, DeviceBusy, DeviceError, SetupError, UsageError, VfioImsError
from vfio_ims.native.failure import failed
from vfio_ims.vfio_user.transport import MAX_FDS, Connection, Message, close_all
from vfio_ims.vfio_user.version import MAJOR, MINOR, Capabilities, decode_version, encode_version
from vfio_ims.vfio_user.wire import (
    COMMAND,
    ERROR,
    HEADER,
    REPLY,
    TYPE_MASK,
    Command,
    WireError,
    explain_errno,
    malformed,
)

__all__ = ["dial"]

_FIRST = 1
_MOMENTS = (0.001, 0.01, 0.05)


def dial(path: str, name: str, timeout: float) -> tuple[Connection, Capabilities]:
    """A connection that has its VERSION behind it, and what the server can take.

    Raises SetupError, AccessDenied, UsageError (no such socket); DeviceBusy (no answer: most likely it serves
    another client); RemovedError, DeviceError (no sensible answer).
    """
    connection = Connection(_connect(path, name, timeout), name)
    try:
        ours = Capabilities(max_msg_fds=MAX_FDS, write_multiple=True, host=True)
        body = encode_version(MAJOR, MINOR, ours)
        connection.send(HEADER.pack(_FIRST, Command.VERSION, HEADER.size + len(body), COMMAND, 0) + body)
        return connection, _check(_answer(connection, name, timeout), name)
    except BaseException:
        connection.close()
        raise


def _connect(path: str, name: str, timeout: float) -> socket.socket:
    try:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    except OSError as error:
        raise failed(error.errno or 0, "connect", name) from error
    try:
        sock.settimeout(timeout)
        for moment in _MOMENTS:  # a server may be between its bind and its listen
            with contextlib.suppress(ConnectionRefusedError):
                sock.connect(path)
                break
            time.sleep(moment)
        else:
            sock.connect(path)
        sock.settimeout(None)
        # Receives come back this often to look at the clock.
        tick = max(min(timeout / 4, 0.5), 0.01)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, int(tick * 1e6)))
    except OSError as error:
        sock.close()
        raise _explain(path, name, error) from error
    return sock


def _explain(path: str, name: str, error: OSError) -> VfioImsError:
    if "too long" in str(error) or "null" in str(error):
        return UsageError("connect", device=name, why="a socket's path must be shorter than 108 bytes, without NUL")
    if error.errno in (errno.EACCES, errno.EPERM):
        hint = f"run as its owner, or ask the owner for access: ls -l {path}"
        return AccessDenied("connect", device=name, hint=hint, errno=error.errno)
    why = {
        errno.ENOENT: "there is no such socket",
        errno.ECONNREFUSED: "no server listens there",
        errno.ENOTSOCK: "that is no socket",
        errno.EAGAIN: "the server has too many callers waiting",
        errno.EPROTOTYPE: "that is not a stream socket",
    }.get(error.errno or errno.EAGAIN, "")
    hint = f"vfio-ims serve MODEL --socket {name.removeprefix('vfio-user:')}"
    return SetupError("connect", device=name, why=why, hint=hint, errno=error.errno)


def _answer(connection: Connection, name: str, timeout: float) -> Message:
    end = time.monotonic() + timeout
    while (message := connection.pop()) is None:
        connection.fill()
        if time.monotonic() > end:
            server = connection.peer()
            why = f"no answer to VERSION within {timeout:g} s: process {server} serves another client, or hangs"
            hint = f"a server has one client at a time, however idle: close that one, or look at process {server}"
            raise DeviceBusy("connect", device=name, why=why, hint=hint, errno=errno.ETIMEDOUT)
    close_all(message.fds)
    return message


def _check(message: Message, name: str) -> Capabilities:
    try:
        if (
            message.fault
            or message.flags & TYPE_MASK != REPLY
            or message.command != Command.VERSION
            or message.id != _FIRST
        ):
            malformed("message", "the reply to VERSION", message.fault or message[:3])
        if message.flags & ERROR:
            number, _ = explain_errno(message.error)
            raise DeviceError("connect", device=name, why=f"the server refuses vfio-user {MAJOR}.{MINOR}", errno=number)
        major, minor, theirs = decode_version(message.payload)
        if (major, minor) > (MAJOR, MINOR) or major != MAJOR:
            malformed("version", f"{MAJOR}.{MINOR} or {MAJOR}.0", f"{major}.{minor}")
        return theirs
    except WireError as error:
        raise DeviceError(
            "connect",
            device=name,
            why=f"the server's answer is wrong: {error}",
            hint="see that it is a vfio-user server",
        ) from error
