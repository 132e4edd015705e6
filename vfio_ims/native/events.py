# SPDX-License-Identifier: Apache-2.0
"""Eventfds, and an epoll that drains them in batches: one compiled call for as many events as there are."""

from __future__ import annotations

import array
import contextlib
import errno
import functools
import os
import select
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any

from vfio_ims.errors import UsageError
from vfio_ims.interruption import uninterrupted
from vfio_ims.lifetime import Owner
from vfio_ims.locks import make_lock
from vfio_ims.native.descriptor import Descriptor
from vfio_ims.native.failure import failed
from vfio_ims.native.lib import CData, calls, native
from vfio_ims.native.watch import watch

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

__all__ = ["EventFd", "Poller", "Timer", "new_eventfd", "notify", "signal", "signal_many", "signal_merged"]

_MOST = 4096  # events that one wait returns at most; the rest comes with the next
_REMOVED: tuple[Any, int] = (None, 0)


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


class Timer(Descriptor):
    """A descriptor that is readable after each ``period`` seconds until it is read; a poller drains it as an eventfd.

    Python has timerfds from 3.13 on.
    """

    def __init__(self, period: float, label: str = "timer") -> None:
        fd = native().lib.event_timer(max(1, round(period * 1000)))
        super().__init__(_done(fd, "create a timer", label), label)


def signal(fd: int) -> bool:
    """Add 1 to an eventfd. True: the form of ``signal_merged``."""
    _done(native().lib.event_signal(fd, 1), "signal an eventfd", f"descriptor {fd}")
    return True


def notify(fd: int) -> None:
    """Add 1 to an eventfd that another process shares, without ever waiting for it: a full one stays full.

    A plain write blocks where the other side has filled the eventfd and cleared O_NONBLOCK, which it may do between a
    look and the write. This has the kernel signal it, through Linux AIO. Where AIO is missing (ENOSYS, or fs.aio-max-nr
    is used up) it looks and writes, which such a client could still block. Raises VfioImsError if it is no eventfd.
    """
    code = -native().lib.event_notify(fd)
    if code in (errno.ENOSYS, errno.EPERM, errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE):
        if select.select([], [fd], [], 0)[1]:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_write(fd, 1)
    elif code:
        raise failed(code, "signal an eventfd", f"descriptor {fd}")


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

    Several threads may sleep, take, add and remove at once. After ``remove`` returned, no thread touches the
    descriptor. Breaking a thread off anywhere, as Ctrl-C does, loses no count and leaves no other thread asleep.
    """

    def __init__(self, label: str = "poller", parent: Owner | None = None) -> None:
        ffi, lib = native()
        handle = lib.poller_new()
        if handle == ffi.NULL:
            raise failed(ffi.errno, "create an epoll", label)
        self._handle: CData = ffi.gc(handle, lib.poller_free)
        self._keys: dict[int, Hashable] = {}
        self._tokens: dict[int, int] = {}
        self.at_once: int = lib.EVENTS_AT_ONCE
        """How many events one ``take`` returns at most."""
        self._room: tuple[CData, CData] = ffi.new("int64_t[]", self.at_once), ffi.new("uint64_t[]", self.at_once)
        self._take, self._sleep, self._epoch = lib.poller_take, lib.poller_sleep, lib.poller_epoch
        self._taken: CData = lib.poller_taken(handle)
        self._unpack = ffi.unpack
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
        """Watch a non-blocking eventfd; what is taken names it by ``key``, or by its number."""
        self.check_open("watch an eventfd")
        if fd in self._tokens:
            raise UsageError("watch an eventfd", device=self.label, why=f"descriptor {fd} is watched already")
        with uninterrupted(), self._lock:  # no other thread looks for the key before it is there
            token = native().lib.poller_add(self._handle, fd)
            if token == -errno.EINVAL:
                raise UsageError("watch an eventfd", device=self.label, why=f"descriptor {fd} must be non-blocking")
            _done(token, f"watch descriptor {fd}", self.label)
            self._keys[token] = fd if key is None else key
            self._tokens[fd] = token

    def remove(self, fd: int) -> None:
        """Watch it no longer; what was drained of it and not yet taken is dropped. Before the eventfd is closed."""
        self.check_open("stop watching an eventfd")
        with uninterrupted(), self._lock:
            token = self._tokens.pop(fd, None)
            if token is None:
                raise UsageError("stop watching an eventfd", device=self.label, why=f"descriptor {fd} is not watched")
            del self._keys[token]
            _done(native().lib.poller_remove(self._handle, token), f"stop watching descriptor {fd}", self.label)

    def take(self) -> list[tuple[Any, int]]:
        """Keys and counts of what is there now, drained: of some of the events where there are very many.

        Wakes the sleepers if there are any. Until ``acknowledge`` is called the next ``take`` returns the same: two
        threads must not do this at once.
        """
        tokens, counts = self._room
        found = self._take(self._handle, self.at_once, tokens, counts)
        if not found:
            return []
        if found < 0:
            if found == -errno.EINTR:
                return []
            self.check_open("wait for events")  # closed meanwhile
            _done(found, "wait for events", self.label)
        keys = self._keys
        if found == 1:
            token = tokens[0]
            return [(keys[token], counts[0])] if token in keys else [_REMOVED]
        drained = zip(self._unpack(tokens, found), self._unpack(counts, found), strict=True)
        return [(keys[token], count) if token in keys else _REMOVED for token, count in drained]

    def reader(
        self, sinks: dict[int, Callable[[int], None]], lock: threading.RLock, drain: Callable[[], None]
    ) -> tuple[Callable[[tuple[object, ...], object], object], tuple[object, ...]]:
        """A function for a loop's ``add_reader``, and its first argument, before the loop.

        It gives the count of one event to its sink, in C; where there is not exactly one it calls ``drain``. ``sinks``
        has the sinks by key; ``lock`` is held while one is called. What a sink raises is raised, and the descriptor is
        readable again.
        """
        address = functools.partial(native().ffi.cast, "uintptr_t")
        pointers = (int(address(pointer)) for pointer in (self._handle, *self._room))
        return calls().drain_one, (*pointers, self._keys, sinks, watch, "by", lock.acquire, lock.release, drain)

    def acknowledge(self) -> None:
        """What ``take`` returned last has been dealt with."""
        self._taken[0] = 0

    @property
    def epoch(self) -> int:
        """Changes with every ``wake``: read it, look for what a wake would report, then ``sleep``."""
        return self._epoch(self._handle)

    def sleep(self, epoch: int, timeout: float | None = None) -> bool:
        """Block until there is something to ``take`` (True), the epoch is not ``epoch``, or ``timeout`` is over.

        May also return early. One thread at a time waits for the descriptors; as it returns another one does.
        """
        self.check_open("wait for events")
        wait_ms = -1 if timeout is None else min(max(0, -int(-timeout * 1000 // 1)), 1 << 30)
        found = self._sleep(self._handle, epoch, wait_ms)
        if found < 0 and found != -errno.EINTR:
            self.check_open("wait for events")  # closed meanwhile
            _done(found, "wait for events", self.label)
        return found > 0

    def wake(self) -> None:
        """Make every ``sleep`` under way return."""
        self.check_open("wake those who wait for events")
        native().lib.poller_wake(self._handle)

    def nudge(self) -> None:
        """Make the descriptor readable until the next ``take``."""
        _done(native().lib.poller_nudge(self._handle), "signal a poller", self.label)

    def wait(self, timeout: float | None = None) -> list[tuple[Any, int]]:
        """Keys and counts of what was signalled, drained. Empty after ``timeout`` seconds, or a ``wake``."""
        deadline = time.monotonic() + timeout if timeout else None
        while True:
            epoch = self.epoch
            drained = self._drain()
            if drained or timeout == 0:
                return drained
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return []
            if not self.sleep(epoch, left) and epoch != self.epoch:
                return self._drain()

    def _drain(self) -> list[tuple[Any, int]]:
        with self._lock:
            drained = self.take()
            self._taken[0] = 0
            more = drained
            while len(more) == self.at_once and len(drained) < _MOST:
                more = self.take()
                drained += more
                self._taken[0] = 0
            return drained

    def _release(self) -> None:
        native().lib.poller_close(self._handle)


_POLLERS: weakref.WeakSet[Poller] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for poller in list(_POLLERS):
        native().lib.poller_close(poller._handle)  # an epoll is shared with the parent: drop this copy of it


os.register_at_fork(after_in_child=_after_fork_in_child)
