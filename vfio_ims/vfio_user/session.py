# SPDX-License-Identifier: Apache-2.0
"""One client of the server: its messages in order, each answered first and acted on after."""

from __future__ import annotations

import errno
import logging
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.errors import BusFault, RemovedError
from vfio_ims.ports.values import RegionIndex
from vfio_ims.vfio_user.plain_requests import PlainRequests
from vfio_ims.vfio_user.server_requests import Requests
from vfio_ims.vfio_user.service import Service
from vfio_ims.vfio_user.transport import NO_ROOM, Connection, Message, close_all
from vfio_ims.vfio_user.wire import (
    COMMAND,
    ERROR,
    HEADER,
    MAX_TRANSFER,
    NO_REPLY,
    REPLY,
    TYPE_MASK,
    Command,
    Refused,
    WireError,
    name_of,
)

if TYPE_CHECKING:
    from vfio_ims.ports.link import PlainAccess
    from vfio_ims.ports.model import ModelPort

__all__ = ["Session"]

log = logging.getLogger(__name__)
_ACTING = (Command.REGION_READ, Command.REGION_WRITE, Command.REGION_WRITE_MULTI, Command.DEVICE_RESET)
_MOST_QUEUED = 4 << 20  # bytes of replies that a client may leave unread before it has to read
_MOST_BROKEN = 16  # messages in a row whose frame makes no sense, before the stream is given up


class Session:
    """Serves ``connection``, whose VERSION is done, until the client goes. It belongs to the thread that makes it.

    ``most``: the bytes that the client takes in one message; ``timeout``: how long it may take to answer a DMA read.
    """

    def __init__(
        self, model: ModelPort, connection: Connection, faults: deque[BusFault], *, most: int, timeout: float
    ) -> None:
        self._model, self._connection, self._faults = model, connection, faults
        self.service = Service(model)
        most = min(most, MAX_TRANSFER)
        self.requests = Requests(connection, faults, model.lock, threading.get_ident(), timeout, most)
        self._broken = 0
        plain: Callable[[int, range], PlainAccess | None] | None = getattr(model, "plain_access", None)
        with model.lock:
            bars = range(min(len(self.service.sizes), RegionIndex.ROM))
            accesses = [] if plain is None else [plain(bar, range(0)) for bar in bars]
        self._plain = PlainRequests(connection, self.requests, accesses, self.service.sizes)

    def run(self) -> None:
        """Serve until the client is gone: RemovedError."""
        connection, plain = self._connection, self._plain
        while True:
            while plain.answer_alone():
                self._broken = 0
                if connection.queued:
                    break  # the client may wait for that, and send nothing
                connection.fill()
            while (message := connection.pop()) is not None:
                if plain.answer(message):
                    self._broken = 0
                else:
                    self._take(message)
                while connection.queued > _MOST_QUEUED:
                    self._wait(select.POLLOUT)
            self.requests.flush()  # where the last message wanted no reply
            while connection.queued and not self._wait(select.POLLOUT | select.POLLIN):
                pass
            connection.fill()

    def _wait(self, events: int) -> bool:
        """Something is queued: send more of it once that goes. Whether there is something to receive."""
        poller = select.poll()
        poller.register(self._connection.fileno(), events)
        ready = poller.poll()
        self._connection.flush()
        return bool(ready and ready[0][1] & select.POLLIN)

    def close(self) -> None:
        """Let go of everything that the client gave. The connection is its owner's."""
        self.requests.fail()
        self.service.close()

    def _take(self, message: Message) -> None:
        fds = list(message.fds)
        try:
            with self._model.lock:
                self._answer(message, fds)
        finally:
            if fds:
                close_all(fds)

    def _answer(self, message: Message, fds: list[int]) -> None:
        try:
            if message.fault == NO_ROOM:
                raise Refused(errno.EMFILE, message.fault)
            if message.fault:
                self._count_broken(message)
            self._broken = 0
            if message.flags & TYPE_MASK == REPLY and self.requests.answer(message):
                return
            handler = self.service.handlers.get(message.command)
            if message.flags & TYPE_MASK != COMMAND or handler is None:
                raise Refused(errno.EINVAL, "there is no such request")
            answer = handler(message.payload, fds)
        except (Refused, WireError) as refusal:
            log.info("%s: refused %s: %s", self._connection.name, name_of(message.command), refusal)
            self._reply(message, error=refusal.errno if isinstance(refusal, Refused) else errno.EINVAL)
            return
        except RemovedError:
            raise
        except Exception:
            log.exception("%s: the model failed in %s", self._connection.name, name_of(message.command))
            self._reply(message, error=errno.EIO)
            return
        body, out = answer if isinstance(answer, tuple) else (answer, ())
        self._reply(message, body, out)
        if message.command in _ACTING:
            self._act()

    def _count_broken(self, message: Message) -> None:
        """Refuse it; but a stream of them has lost its frames for good."""
        self._broken += 1
        if self._broken > _MOST_BROKEN:
            self.requests.flush()
            raise RemovedError("serve", device=self._connection.name, why=f"the client talks garbage: {message.fault}")
        raise Refused(errno.EINVAL, message.fault)

    def _reply(self, message: Message, body: bytes = b"", fds: tuple[int, ...] = (), error: int = 0) -> None:
        if message.flags & NO_REPLY and message.flags & TYPE_MASK == COMMAND:
            return
        flags = REPLY | ERROR if error else REPLY
        header = HEADER.pack(message.id, message.command, HEADER.size + len(body), flags, error)
        if fds:
            self.requests.flush()
            self._connection.send(header + body, fds)
        else:
            self.requests.reply(header + body, more=self._connection.ready)

    def _act(self) -> None:
        try:
            self._model.act()
        except BusFault as fault:
            self._faults.append(fault)
        except Exception:
            log.exception("%s: the model failed in act", self._connection.name)
        finally:
            if not self._connection.ready:  # else it goes with the next reply, behind this one's
                self.requests.flush()
