# SPDX-License-Identifier: Apache-2.0
"""Eventfds, and an epoll that drains them in batches: one compiled call for as many events as there are."""

from __future__ import annotations

import array
import errno
import os
import time
import weakref
from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, Any

from vfio_ims.errors import UsageError
from vfio_ims.lifetime import Owner
from vfio_ims.locks import make_lock
from vfio_ims.native.descriptor import Descriptor
from vfio_ims.native.failure import failed
from vfio_ims.native.lib import CData, native

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

__all__ = ["EventFd", "Poller", "new_eventfd", "signal", "signal_many", "signal_merged"]

_MOST = 4096  # events that one wait returns at most; the rest comes with the next


class EventFd(Descriptor):
    """A counter in the kernel that a descriptor makes readable; non-blocking, closed on exec."""

    def __init__(self, label: str = "eventfd") -> None:
        super().__init__(new_eventfd(label), label)

    def signal(self, count: int = 1) -> None:
        """Add ``count``."""
        self.check_open("signal an eventfd")
        _done(native().lib.event_signal(self._fd, count), "signal an eventfd", self.label)

    def drain(self) -> int:
        """Take the count and leave 0; 0 where nothing was signalled."""
        self.check_open("drain an eventfd")
        count = native().lib.event_drain(self._fd)
        return count if count >= 0 else _done(count, "drain an eventfd", self.label)


def new_eventfd(label: str) -> int:
    """The number of a new eventfd, the caller's to close. Raises SetupError where no more descriptors may be opened."""
    try:
        return os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
    except OSError as error:
        raise failed(error.errno or 0, "create an eventfd", label) from error


def signal(fd: int) -> bool:
    """Add 1 to an eventfd. True: the form of ``signal_merged``."""
    _done(native().lib.event_signal(fd, 1), "signal an eventfd", f"descriptor {fd}")
    return True


def signal_merged(fd: int) -> bool:
    """Add 1 to an eventfd unless its count is unread: one pending bit, as a vector has. Whether it was added.

    Exact among signallers that use this function.
    """
    return bool(_done(native().lib.event_signal_merged(fd), "signal an eventfd", f"descriptor {fd}"))


def signal_many(fds: Sequence[int] | Buffer) -> None:
    """Add 1 to each eventfd, in one compiled call. A buffer holds native 32-bit numbers."""
    ffi, lib = native()
    given: Any = fds if isinstance(fds, (bytes, bytearray, memoryview, array.array)) else array.array("i", fds)  # type: ignore[arg-type]
    numbers = ffi.from_buffer("int32_t[]", given)
    _done(lib.event_signal_many(numbers, len(numbers)), "signal eventfds", f"{len(numbers)} eventfds")


def _done(result: int, operation: str, label: str) -> int:
    if result < 0:
        raise failed(-result, operation, label)
    return result


class Poller(Owner):
    """Waits for many eventfds and drains them. The cost of a wait grows with events, not with descriptors.

    Several threads may wait, add and remove at once. After ``remove`` returned, no waiter touches the descriptor.
    """

    def __init__(self, label: str = "poller", parent: Owner | None = None) -> None:
        ffi, lib = native()
        handle = lib.poller_new()
        if handle == ffi.NULL:
            raise failed(ffi.errno, "create an epoll", label)
        self._handle: CData = ffi.gc(handle, lib.poller_free)
        self._keys: dict[int, Hashable] = {}
        self._tokens: dict[int, int] = {}
        self._retired: list[int] = []
        self._at_once: int = lib.EVENTS_AT_ONCE  # of one compiled call
        self._room: tuple[CData, CData] = ffi.new("int64_t[]", self._at_once), ffi.new("uint64_t[]", self._at_once)
        self._wait = lib.poller_wait
        self._waiting = 0
        self._lock = make_lock()
        super().__init__(label, parent)
        _POLLERS.add(self)

    def fileno(self) -> int:
        """Readable while events wait: for ``asyncio``'s add_reader, with ``wait(0)`` as the reader."""
        self.check_open("use a poller")
        return native().lib.poller_fileno(self._handle)

    def __len__(self) -> int:
        return len(self._tokens)

    def add(self, fd: int, key: Hashable = None) -> None:
        """Watch a non-blocking eventfd; ``wait`` names it by ``key``, or by its number."""
        self.check_open("watch an eventfd")
        if fd in self._tokens:
            raise UsageError("watch an eventfd", device=self.label, why=f"descriptor {fd} is watched already")
        with self._lock:  # no waiter looks for the key before it is there
            token = native().lib.poller_add(self._handle, fd)
            if token == -errno.EINVAL:
                raise UsageError("watch an eventfd", device=self.label, why=f"descriptor {fd} must be non-blocking")
            _done(token, f"watch descriptor {fd}", self.label)
            self._keys[token] = fd if key is None else key
            self._tokens[fd] = token

    def remove(self, fd: int) -> None:
        """Watch it no longer. Do it before the eventfd is closed.

        A ``wait`` under way in another thread may still return what it drained before.
        """
        self.check_open("stop watching an eventfd")
        with self._lock:
            token = self._tokens.pop(fd, None)
            if token is None:
                raise UsageError("stop watching an eventfd", device=self.label, why=f"descriptor {fd} is not watched")
            _done(native().lib.poller_remove(self._handle, token), f"stop watching descriptor {fd}", self.label)
            self._retired.append(token)
            self._forget()

    def _forget(self) -> None:
        """Drop the keys of what was removed, unless a waiter may hold a count for one. The lock is held."""
        if not self._waiting:
            for token in self._retired:
                del self._keys[token]
            self._retired.clear()

    def wait(self, timeout: float | None = None) -> list[tuple[Any, int]]:
        """Keys and counts of what was signalled, drained. Empty after ``timeout`` seconds or an ``interrupt``."""
        if timeout == 0:
            return self.look()
        self.check_open("wait for events")
        with self._lock:
            self._waiting += 1
        try:
            counts = self._drain(timeout)
            with self._lock:
                return [(self._keys[token], count) for token, count in counts]
        finally:
            with self._lock:
                self._waiting -= 1
                self._forget()

    def look(self) -> list[tuple[Any, int]]:
        """Keys and counts of what is there now, drained."""
        self.check_open("wait for events")
        tokens, counts = self._room
        with self._lock:  # nothing waits in the kernel, so that it is held all the while
            found = self._wait(self._handle, 0, self._at_once, tokens, counts)
            if found == 1:
                return [(self._keys[tokens[0]], counts[0])]
            if not found:
                return []
            ffi = native().ffi
            drained = list(zip(ffi.unpack(tokens, found), ffi.unpack(counts, found), strict=True)) if found > 0 else []
            if not 0 < found < self._at_once:
                drained += self._drain(0)  # a signal's handler has run, there is more, or the poller was closed
            return [(self._keys[token], count) for token, count in drained]

    def _drain(self, timeout: float | None) -> list[tuple[int, int]]:
        ffi, lib = native()
        tokens, counts = ffi.new("int64_t[]", self._at_once), ffi.new("uint64_t[]", self._at_once)
        deadline = time.monotonic() + timeout if timeout else None
        left = 0 if timeout == 0 else -1
        drained: list[tuple[int, int]] = []
        while True:
            if deadline is not None:
                left = max(0, -int((time.monotonic() - deadline) * 1000 // 1))
            found = lib.poller_wait(self._handle, 0 if drained else min(left, 1 << 30), self._at_once, tokens, counts)
            if found > 0:
                drained += zip(ffi.unpack(tokens, found), ffi.unpack(counts, found), strict=True)
            if found in (-errno.EINTR, self._at_once) and len(drained) < _MOST:
                continue  # a signal's handler has run, or there is more
            if found < 0 and not drained:
                self.check_open("wait for events")  # closed meanwhile
                _done(found, "wait for events", self.label)
            return drained

    def interrupt(self) -> None:
        """Make one ``wait`` return: one under way, or the next."""
        self.check_open("interrupt a poller")
        _done(native().lib.poller_interrupt(self._handle), "interrupt a poller", self.label)

    def _release(self) -> None:
        native().lib.poller_close(self._handle)


_POLLERS: weakref.WeakSet[Poller] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for poller in list(_POLLERS):
        native().lib.poller_close(poller._handle)  # an epoll is shared with the parent: drop this copy of it


os.register_at_fork(after_in_child=_after_fork_in_child)
