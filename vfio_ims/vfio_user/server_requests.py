# SPDX-License-Identifier: Apache-2.0
"""What the server asks of its client: DMA by message. Writes are posted; reads wait, in threads that may."""

from __future__ import annotations

import threading
from collections import deque
from struct import Struct

from vfio_ims.errors import BusFault, RemovedError
from vfio_ims.vfio_user.messages import DMA_ACCESS
from vfio_ims.vfio_user.transport import Connection, Message
from vfio_ims.vfio_user.wire import COMMAND, ERROR, HEADER, NO_REPLY, Command, explain_errno

__all__ = ["Requests"]

_DMA = Struct("=" + HEADER.form + DMA_ACCESS.form)
_MOST_OPEN = 4096  # writes whose answers are still out; more are sent without asking for one
_BATCH = 64 << 10


class _Read:
    __slots__ = ("data", "settled", "why")

    def __init__(self, lock: threading.RLock) -> None:
        self.settled = threading.Condition(lock)
        self.data: bytes | None = None
        self.why = ""

    def settle(self, why: str, data: bytes | None = None) -> None:
        """Called with the lock held."""
        self.why, self.data = why, data
        self.settled.notify()


class Requests:
    """Requests from the server to one client. ``loop`` is the thread that receives: it never waits here.

    ``served`` is the model's lock, which the loop takes for each of the client's requests. Who waits here for an answer
    frees it, however often it is held: the client may wait for an access at the time, and answer after that only (QEMU
    does: its emulated CPU holds its lock while it reads a register).
    """

    def __init__(
        self,
        connection: Connection,
        faults: deque[BusFault],
        served: threading.RLock,
        loop: int,
        timeout: float,
        most: int,
    ) -> None:
        self._connection, self._faults, self._loop, self._timeout = connection, faults, loop, timeout
        self._served = served
        self._most = most  # bytes of data in one message
        self._lock = threading.Lock()
        self._open: dict[int, _Read | tuple[int, int]] = {}
        self._last = 0
        self._batch = bytearray()
        self._over = False

    def _number(self, entry: _Read | tuple[int, int]) -> int:
        with self._lock:
            number = self._last
            while True:
                number = (number + 1) & 0xFFFF
                if number not in self._open:
                    break
            self._last = number
            self._open[number] = entry
            return number

    def write(self, iova: int, data: bytes) -> None:
        """Post a write; what the client refuses goes to the faults. The loop's writes leave with ``flush``."""
        for at in range(0, len(data), self._most):
            part = data[at : at + self._most]
            flags, number = COMMAND | NO_REPLY, 0
            if len(self._open) < _MOST_OPEN:
                flags, number = COMMAND, self._number((iova + at, len(part)))
            size = _DMA.size + len(part)
            self._send(_DMA.pack(number, Command.DMA_WRITE, size, flags, 0, iova + at, len(part)) + part)

    def _send(self, message: bytes) -> None:
        if threading.get_ident() == self._loop:
            self._batch += message
            if len(self._batch) >= _BATCH:
                self.flush()
        elif not self._connection.send(message):
            self._connection.drain(self._timeout)

    def reply(self, data: bytes, *, more: bool) -> None:
        """Send a reply from the loop, behind what it has written; ``more``: with what comes next, another is due."""
        if not more and not self._batch:
            self._connection.send(data)
            return
        self._batch += data
        if not more or len(self._batch) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what the loop's thread has written since. Nothing to do in other threads."""
        if self._batch and threading.get_ident() == self._loop:
            batch, self._batch = self._batch, bytearray()
            self._connection.send(batch)

    def read(self, iova: int, size: int) -> bytes:
        """Read and wait. Raises BusFault: the client refused, did not answer, or is gone; or this is the loop."""
        if threading.get_ident() == self._loop:
            why = "memory without a file is read by message, from a worker thread: the server's loop cannot wait"
            raise BusFault(iova, size, write=False, why=why)
        return b"".join(self._read(iova + at, min(size - at, self._most)) for at in range(0, size, self._most))

    def _read(self, iova: int, size: int) -> bytes:
        entry = _Read(self._served)
        number = self._number(entry)
        message = _DMA.pack(number, Command.DMA_READ, _DMA.size, COMMAND, 0, iova, size)
        try:
            if not self._connection.send(message):
                self._connection.drain(self._timeout)
            with entry.settled:
                if not entry.settled.wait_for(lambda: bool(entry.why) or self._over, self._timeout):
                    entry.why = f"no answer within {self._timeout} s"
        except RemovedError as error:
            entry.why = error.why
        if entry.data is None or len(entry.data) != size:
            raise BusFault(iova, size, write=False, why=entry.why or "the client is gone")
        return entry.data

    def answer(self, message: Message) -> bool:
        """Take a reply, with the model's lock held; False where nothing was asked."""
        with self._lock:
            entry = self._open.pop(message.id, None)
        if entry is None:
            return False
        refused = f"the client refused: {explain_errno(message.error)[1]}" if message.flags & ERROR else ""
        if isinstance(entry, _Read):
            entry.settle(
                refused or "the client's answer has the wrong length",
                None if refused else message.payload[DMA_ACCESS.size :],
            )
        elif refused:
            self._faults.append(BusFault(*entry, write=True, why=refused))
        return True

    def fail(self) -> None:
        """The client is gone: no thread waits any longer."""
        with self._served, self._lock:
            self._over = True
            for entry in self._open.values():
                if isinstance(entry, _Read):
                    entry.settle("the client is gone")
            self._open.clear()
        self._batch.clear()
