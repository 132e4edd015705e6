# SPDX-License-Identifier: Apache-2.0
"""The client's end of the conversation: requests with their replies, and the server's own requests in between.

A thread that waits for a reply receives, if no other does; the watcher's thread receives while none waits. So an access
costs no switch between threads, the server is heard at all times, and messages are handled in their order.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import threading
import time
from collections.abc import Callable, Sequence

from vfio_ims.errors import RemovedError, VfioImsError
from vfio_ims.interruption import uninterrupted
from vfio_ims.native.failure import failed
from vfio_ims.vfio_user.forked import dropped_in_child
from vfio_ims.vfio_user.transport import NO_ROOM, Connection, Message, close_all
from vfio_ims.vfio_user.watcher import Watcher
from vfio_ims.vfio_user.wire import COMMAND, ERROR, HEADER, NO_REPLY, REPLY, TYPE_MASK, name_of

__all__ = ["Call", "Channel"]

_LISTEN = select.EPOLLIN | select.EPOLLONESHOT
_DRAIN = select.EPOLLOUT | select.EPOLLONESHOT
_MUTE = select.EPOLLONESHOT  # with nothing asked for; a hang-up is reported once all the same


class Call:
    """A request under way. ``takes_fds``: its reply may carry descriptors, which are then the caller's."""

    __slots__ = ("command", "done", "failed", "message", "takes_fds")

    def __init__(self, command: int, takes_fds: bool) -> None:
        self.command, self.takes_fds = command, takes_fds
        self.message: Message | None = None
        self.failed = False
        self.done = threading.Lock()
        self.done.acquire()


class Channel:
    """Talks over ``connection``. ``serve`` answers a request of the server's: errno (0: done) and the reply's payload.

    Nothing waits longer than ``timeout`` seconds for a reply: then the server is given up, as QEMU gives it up. A
    failure ends everything: all who wait and all who come later get it.
    """

    def __init__(
        self, connection: Connection, watcher: Watcher, timeout: float, serve: Callable[[Message], tuple[int, bytes]]
    ) -> None:
        self._connection, self._watcher, self._timeout, self._serve = connection, watcher, timeout, serve
        self._numbers = itertools.count(1)
        self._open: dict[int, Call] = {}
        self._failure: VfioImsError | None = None
        self._lost: Callable[[VfioImsError], None] | None = None
        self._ending = threading.Lock()
        self._receiving = threading.RLock()  # a handler of a request may make one
        self._socket = connection.fileno()
        try:
            self._outlet = os.dup(self._socket)  # the same socket, to be waited for on its own
        except OSError as error:
            raise failed(error.errno or 0, "connect", connection.name) from error
        watcher.add(self._socket, _LISTEN, self.catch_up)
        watcher.add(self._outlet, _MUTE, self._on_room)
        dropped_in_child(self)

    def drop(self) -> None:
        """In a forked child."""
        self._close_outlet()

    # --- requests -----------------------------------------------------------------------------------------------------

    def call(self, command: int, payload: bytes, fds: Sequence[int] = (), *, takes_fds: bool = False) -> Message:
        """Ask and wait. The reply may say ERROR: that is the caller's to see. Ctrl-C waits for the reply as well."""
        with uninterrupted():
            if not self._receiving.acquire(blocking=False):
                return self.wait(self.begin(command, payload, fds, takes_fds=takes_fds))
            try:
                # Before it asks, so that the reply does not wake the watcher as well.
                self._watcher.arm(self._socket, _MUTE)
                call = self.begin(command, payload, fds, takes_fds=takes_fds)
                self._receive_for(call, time.monotonic() + self._timeout)
            finally:
                self._receiving.release()
                self._listen()
            return self.wait(call) if call.message is None else call.message

    def begin(self, command: int, payload: bytes, fds: Sequence[int] = (), *, takes_fds: bool = False) -> Call:
        """Send a request; ``wait`` for its reply later."""
        call = Call(command, takes_fds)
        number = self._register(call)
        self._send(HEADER.pack(number, command, HEADER.size + len(payload), COMMAND, 0) + payload, fds)
        return call

    def _register(self, call: Call) -> int:
        """A number for the request, by which its reply finds it."""
        number = next(self._numbers) & 0xFFFF
        while self._open.setdefault(number, call) is not call:
            number = next(self._numbers) & 0xFFFF
        if self._failure is not None:
            self._open.pop(number, None)
            raise self._again(self._failure)
        return number

    def begin_many(self, command: int, payloads: Sequence[bytes]) -> list[Call]:
        """Send requests together; ``wait`` for their replies later."""
        calls, batch, numbers = [], bytearray(), self._numbers
        for payload in payloads:
            call = Call(command, False)
            number = next(numbers) & 0xFFFF
            if self._open.setdefault(number, call) is not call or self._failure is not None:
                number = self._register(call)  # another, or it raises the failure
            batch += HEADER.pack(number, command, HEADER.size + len(payload), COMMAND, 0)
            batch += payload
            calls.append(call)
        self._send(batch)
        return calls

    def wait_many(self, calls: Sequence[Call]) -> list[Message]:
        """The replies to ``calls``, as ``wait`` for each."""
        return [call.message or self.wait(call) for call in calls]

    def post(self, messages: bytes | bytearray) -> None:
        """Send whole messages that want no reply."""
        if self._failure is not None:
            raise self._again(self._failure)
        with uninterrupted():  # half a message would be the end of the conversation
            self._send(messages)

    def _send(self, data: bytes | bytearray, fds: Sequence[int] = ()) -> None:
        try:
            if not self._connection.send(data, fds):
                self._watcher.arm(self._outlet, _DRAIN)
        except RemovedError as error:
            raise self.fail(error) from error

    def wait(self, call: Call) -> Message:
        """The reply to ``call``. Raises what ended the channel."""
        deadline = time.monotonic() + self._timeout
        while call.message is None:
            if call.failed:
                assert self._failure is not None
                raise self._again(self._failure)
            if self._receiving.acquire(blocking=False):
                try:
                    self._watcher.arm(self._socket, _MUTE)
                    self._receive_for(call, deadline)
                finally:
                    self._receiving.release()
                    self._listen()
            elif not call.done.acquire(timeout=max(deadline - time.monotonic(), 0)):
                self.fail(self._late(call))
        return call.message

    # --- receiving ----------------------------------------------------------------------------------------------------

    def _receive_for(self, call: Call, deadline: float) -> None:
        try:
            self._handle_all()
            while call.message is None and not call.failed:
                if self._connection.queued:
                    self._fill_and_flush(deadline)
                else:
                    self._connection.fill()  # comes back now and then, to look at the clock
                self._handle_all()
                if time.monotonic() > deadline and call.message is None:
                    raise self._late(call)
        except VfioImsError as error:
            self.fail(error)

    def _fill_and_flush(self, deadline: float) -> None:
        """Something is queued: see to both directions."""
        poller = select.poll()
        poller.register(self._socket, select.POLLIN | select.POLLOUT)
        poller.poll(max(deadline - time.monotonic(), 0) * 1000)
        self._connection.flush()
        self._connection.fill(wait=False)

    def catch_up(self) -> None:
        """Handle what is here, unless another thread is at it, which will listen again."""
        if self._receiving.acquire(blocking=False):
            try:
                self._handle_all()
                while self._connection.fill(wait=False):
                    self._handle_all()
            except VfioImsError as error:
                self.fail(error)
            finally:
                self._receiving.release()
                self._listen()

    def _listen(self) -> None:
        """Let the watcher hear the socket again: after the release, so that it finds no thread receiving."""
        if self._failure is None:
            self._watcher.arm(self._socket, _LISTEN)

    def _on_room(self) -> None:
        try:
            if not self._connection.flush():
                self._watcher.arm(self._outlet, _DRAIN)
        except VfioImsError as error:
            self.fail(error)

    def _handle_all(self) -> None:
        while (message := self._connection.pop()) is not None:
            kind = message.flags & TYPE_MASK
            if kind == REPLY and message.fault in ("", NO_ROOM):
                self._settle(message)
                continue
            close_all(message.fds)
            if message.fault or kind != COMMAND:
                raise self._broken(message.fault or f"message type must be 0 or 1, not {kind}")
            error, body = self._serve(message)
            if not message.flags & NO_REPLY:
                flags = REPLY | ERROR if error else REPLY
                self._send(HEADER.pack(message.id, message.command, HEADER.size + len(body), flags, error) + body)

    def _settle(self, message: Message) -> None:
        call = self._open.get(message.id)
        if call is None or call.command != message.command:
            close_all(message.fds)
            asked = "a request under way" if call is None else name_of(call.command)
            raise self._broken(f"a reply must be to {asked}, not to {name_of(message.command)} (id {message.id})")
        del self._open[message.id]
        if message.fds and not call.takes_fds:
            close_all(message.fds)
        call.message = message
        call.done.release()

    # --- the end ------------------------------------------------------------------------------------------------------

    def _error(self, why: str, hint: str) -> RemovedError:
        return RemovedError("reach the vfio-user server", device=self._connection.name, why=why, hint=hint)

    def _late(self, call: Call) -> RemovedError:
        why = f"no answer to {name_of(call.command)} within {self._timeout:g} s"
        return self._error(why, "see whether the server hangs, or serves another client")

    def _broken(self, why: str) -> RemovedError:
        return self._error(f"the server breaks the protocol: {why}", "fix the server: nothing it says is trusted now")

    @staticmethod
    def _again(failure: VfioImsError) -> VfioImsError:
        """The same error once more, for another thread to raise."""
        return type(failure)(
            failure.operation, device=failure.device, why=failure.why, hint=failure.hint, errno=failure.errno
        )

    def fail(self, error: VfioImsError) -> VfioImsError:
        """End it all with ``error``; the first one counts, and is returned as new."""
        with self._ending:
            first = self._failure is None
            if self._failure is None:
                self._failure = error
            for call in list(self._open.values()):
                if not call.failed:
                    call.failed = True
                    with contextlib.suppress(RuntimeError):  # its reply came just now
                        call.done.release()
        self._connection.shutdown()
        if first and self._lost is not None and isinstance(error, RemovedError):
            self._lost(self._again(error))
        return self._again(self._failure)

    def on_lost(self, notify: Callable[[VfioImsError], None]) -> None:
        """Call ``notify`` once when the server is gone, in whatever thread notices; at once if it is."""
        with self._ending:
            self._lost, failure = notify, self._failure
        if isinstance(failure, RemovedError):
            notify(self._again(failure))

    def close(self, error: VfioImsError) -> None:
        """End it with ``error`` and give everything back, the watcher's thread too; called once."""
        self.fail(error)
        self._watcher.close()
        taken = self._receiving.acquire(timeout=self._timeout)  # who still receives comes back at once
        self._close_outlet()
        self._connection.close()
        if taken:
            self._receiving.release()

    def _close_outlet(self) -> None:
        outlet, self._outlet = self._outlet, -1  # a number that was closed may be another file's by now
        if outlet >= 0:
            os.close(outlet)
