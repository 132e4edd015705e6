# SPDX-License-Identifier: Apache-2.0
"""Messages over a UNIX stream socket, with their descriptors. Sending never waits: what the socket refuses is queued.

That rule keeps the two sides from waiting for each other: a thread that receives never stands in a send.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from struct import Struct
from typing import NamedTuple

from vfio_ims.errors import RemovedError
from vfio_ims.vfio_user.forked import dropped_in_child
from vfio_ims.vfio_user.wire import HEADER, MAX_MESSAGE

__all__ = ["MAX_FDS", "NO_ROOM", "Connection", "Message", "close_all"]

MAX_FDS = 16
"""Descriptors that this side takes in one message."""

_ROOM = 64 << 10
# Plain numbers: the enumeration's arithmetic costs more than the system call.
_SEND = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
_WAIT = int(socket.MSG_CMSG_CLOEXEC)
_LOOK = int(socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT)
_CUT = int(socket.MSG_CTRUNC)
_CREDENTIALS = Struct("=iII")  # struct ucred: process, user, group
_CONTROL = socket.CMSG_SPACE(MAX_FDS * 4)
_TOO_MANY = f"descriptors must be at most {MAX_FDS} a message"
NO_ROOM = "this process may open no more descriptors, so that those of the message are lost"
"""The fault of a message that is well formed: its descriptors met the limit of this process, or of the machine."""

_header = HEADER.unpack_from
_GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.EBADF, errno.ESHUTDOWN)


class Message(NamedTuple):
    """One message as it came. ``fault`` says why it cannot be taken as it is: its frame or its descriptors are wrong.

    The taker of a message owns ``fds``.
    """

    id: int
    command: int
    flags: int
    error: int
    payload: bytes
    fds: tuple[int, ...]
    fault: str = ""


def close_all(fds: Iterable[int]) -> None:
    for fd in fds:
        with contextlib.suppress(OSError):
            os.close(fd)


class Connection:
    """A connected socket. ``send`` is for any thread, ``fill`` and ``pop`` for one at a time.

    The peer's going is RemovedError, from every call that needs it.
    """

    def __init__(self, sock: socket.socket, name: str) -> None:
        self.name = name
        self._sock = sock
        self._send_lock = threading.Lock()
        self._queue: deque[tuple[memoryview, tuple[int, ...]]] = deque()
        self.queued = 0
        self._view = memoryview(bytearray(_ROOM))
        self._start = self._end = 0
        self._before = 0  # bytes of the stream before the buffer's first
        self._rights: deque[tuple[int, list[int], str]] = deque()  # byte of the stream, descriptors, fault
        dropped_in_child(self)

    def fileno(self) -> int:
        return self._sock.fileno()

    def peer(self) -> int:
        """The process on the other side: the one that connected, or that listens."""
        credentials = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        return int(_CREDENTIALS.unpack(credentials)[0])

    # --- receiving ----------------------------------------------------------------------------------------------------

    def pop(self) -> Message | None:
        """The next message that is here in full, or None."""
        start = self._start
        held = self._end - start
        if held < HEADER.size:
            return None
        ident, command, size, flags, error = _header(self._view, start)
        if size < HEADER.size or size > MAX_MESSAGE:
            fault = f"message size must be from {HEADER.size} to {MAX_MESSAGE}, not {size}"
            fds = self._take(HEADER.size)[0]
            return Message(ident, command, flags, error, b"", fds, fault)
        if held < size:
            if size > len(self._view):
                self._grow(size)
            return None
        payload = self._view[start + HEADER.size : start + size].tobytes()
        if self._rights or held == size:
            fds, fault = self._take(size)
            return Message(ident, command, flags, error, payload, fds, fault)
        self._start = start + size
        return Message(ident, command, flags, error, payload, (), "")

    def alone(self, most: int) -> memoryview | None:
        """What has been received, where it begins with a message, has no descriptors and no more than ``most`` bytes.

        Valid until ``fill`` or ``pop``; ``step_over`` takes it.
        """
        return None if self._start or self._rights or self._end > most else self._view[: self._end]

    def step_over(self) -> None:
        """Take all of what ``alone`` returned."""
        self._before += self._end
        self._end = 0

    @property
    def ready(self) -> bool:
        """Whether ``pop`` finds another message, or what makes none."""
        start = self._start
        held = self._end - start
        return held >= HEADER.size and held >= _header(self._view, start)[2]

    def _grow(self, size: int) -> None:
        view = memoryview(bytearray(size))
        held = self._end - self._start
        view[:held] = self._view[self._start : self._end]
        self._before += self._start
        self._view, self._start, self._end = view, 0, held

    def _take(self, size: int) -> tuple[tuple[int, ...], str]:
        """Step over ``size`` bytes; what descriptors came with them, and what was wrong with those."""
        self._start += size
        if not self._rights and self._start == self._end <= _ROOM:
            self._before += self._end
            self._start = self._end = 0
            return (), ""
        fds: list[int] = []
        fault = ""
        while self._rights and self._rights[0][0] < self._before + self._start:
            _, more, wrong = self._rights.popleft()
            fds, fault = fds + more, fault or wrong
        if self._start == self._end:
            self._before += self._end
            self._start = self._end = 0
            if len(self._view) > _ROOM:
                self._view = memoryview(bytearray(_ROOM))
        return tuple(fds), fault

    def fill(self, *, wait: bool = True) -> bool:
        """Receive what there is, once ``pop`` finds nothing; False where nothing came (in time, with ``wait``)."""
        if self._start:
            self._grow(max(_ROOM, len(self._view)))
        try:
            room = self._view[self._end :] if self._end else self._view
            count, control, got, _ = self._sock.recvmsg_into((room,), _CONTROL, _WAIT if wait else _LOOK)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._gone(error) from error
        if count == 0:
            raise self._gone(None)
        self._end += count
        if control or got & _CUT:
            self._keep(control, bool(got & _CUT))
        return True

    def _keep(self, control: Sequence[tuple[int, int, bytes]], cut: bool) -> None:
        """Note the descriptors that came. The kernel ends a receive after them: they are the last message's.

        What is held already is that of the one message that was begun before, so it is bounded here.
        """
        fds = array.array("i")
        for level, kind, data in control:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
        if sum(len(held) for _, held, _ in self._rights) + len(fds) > 2 * MAX_FDS:
            for _, held, _ in self._rights:
                close_all(held)
            at = self._rights[-1][0]
            self._rights.clear()
            self._rights.append((at, [], _TOO_MANY))
        fault = ""
        if cut:  # the kernel delivers as many as it can
            close_all(fds)
            fault = NO_ROOM if len(fds) < MAX_FDS else _TOO_MANY
        self._rights.append((self._before + self._end - 1, [] if cut else list(fds), fault))

    # --- sending ------------------------------------------------------------------------------------------------------

    def send(self, data: bytes | bytearray, fds: Sequence[int] = ()) -> bool:
        """Send, or queue what the socket does not take now. False where something is queued: call ``flush`` later."""
        with self._send_lock:
            sent = 0 if self._queue else self._try(data, fds)
            if sent == len(data):
                return True
            rest, fds = memoryview(bytes(data))[sent:], () if sent else fds
            # The caller may close its descriptors: the queue holds its own.
            self._queue.append((rest, tuple(os.dup(fd) for fd in fds)))
            self.queued += len(rest)
            return False

    def _try(self, data: bytes | bytearray | memoryview, fds: Sequence[int]) -> int:
        try:
            if fds:
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))
                return self._sock.sendmsg([data], [rights], _SEND)
            return self._sock.send(data, _SEND)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._gone(error) from error

    def flush(self) -> bool:
        """Send what is queued as far as it goes now; whether all went."""
        with self._send_lock:
            while self._queue:
                data, fds = self._queue[0]
                sent = self._try(data, fds)
                self.queued -= sent
                if sent:
                    close_all(fds)
                    fds = ()
                if sent < len(data):
                    self._queue[0] = (data[sent:], fds)
                    return False
                self._queue.popleft()
            return True

    def drain(self, timeout: float) -> bool:
        """Wait until all that is queued is sent; whether it was in time. For threads that do not receive."""
        poller = select.poll()
        poller.register(self._sock.fileno(), select.POLLOUT)
        while not self.flush():
            if not poller.poll(timeout * 1000):
                return False
        return True

    # --- the end ------------------------------------------------------------------------------------------------------

    def _gone(self, error: OSError | None) -> RemovedError:
        number = error.errno if error is not None else None
        known = error is None or number in _GONE
        why = "the other side closed the socket" if known else "the socket failed"
        hint = "start the server again and open the device anew"
        code = None if known else number
        return RemovedError("reach the vfio-user server", device=self.name, why=why, hint=hint, errno=code)

    def shutdown(self) -> None:
        """End the conversation: threads that wait in ``fill`` come back with RemovedError."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def drop(self) -> None:
        """In a forked child: close its copies. A shutdown would reach the parent's socket."""
        self._sock.close()
        for _, fds, _ in self._rights:
            close_all(fds)
        for _, queued in self._queue:
            close_all(queued)
        self._rights.clear()
        self._queue.clear()

    def close(self) -> None:
        """Close the socket and every descriptor that was not taken. No thread may be in a call."""
        with self._send_lock:
            self._sock.close()
            while self._queue:
                close_all(self._queue.popleft()[1])
            self.queued = 0
        while self._rights:
            close_all(self._rights.popleft()[1])
