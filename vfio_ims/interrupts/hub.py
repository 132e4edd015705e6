# SPDX-License-Identifier: Apache-2.0
"""One place where many event descriptors are drained, by the threads and tasks that wait: no thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable

from vfio_ims.errors import ClosedError
from vfio_ims.interrupts.wakeup import Wakeup
from vfio_ims.lifetime import Owner
from vfio_ims.locks import make_rlock
from vfio_ims.native.events import EventFd, Poller, Timer
from vfio_ims.native.lib import calls
from vfio_ims.native.watch import watch

__all__ = ["EventHub"]

Sink = Callable[[int], None]


class EventHub(Owner):
    """Drains the event descriptors added to it and hands each count to its sink, which wakes the owners.

    Threads that wait take turns: one waits for the descriptors, and each looks at its own flag after every drain. Tasks
    are served by their loop's reader on ``fileno()``. The cost of a drain grows with events, not with descriptors.
    A thread may be broken off anywhere, as Ctrl-C does: what it had drained is dispatched by the next one, so that a
    wake-up may come twice, and none is lost.
    """

    def __init__(self, name: str, owner: Owner, failure: Exception | None = None) -> None:
        self.draining = calls().draining
        self._poller = Poller()  # before the owner is made: it must not be closed half-made
        super().__init__(name, owner)
        self._sinks: dict[int, Sink] = {}
        self._lock = make_rlock()
        self.loops: list[asyncio.AbstractEventLoop] = []
        """Those that drain this hub: ``serve_loop`` has been called for them."""
        self._timer: Timer | None = None
        self._action: Callable[[], None] = _nothing
        self._due, self._ticks = False, 0  # the action's time has come: who waits or drains next runs it
        self._wakeups: weakref.WeakSet[Wakeup] = weakref.WeakSet()
        self._failure = failure
        _HUBS.add(self)

    def fileno(self) -> int:
        """Readable when an event waits to be drained; then call ``drain``."""
        self.check_open("use the event hub")
        return self._poller.fileno()

    def add(self, event: EventFd, sink: Sink) -> None:
        """Drain ``event`` from now on, giving its count to ``sink`` in whatever thread drains. Sinks must not wait."""
        with self._lock:
            self.check_open("add an event")
            descriptor = event.fileno()
            self._sinks[descriptor] = sink
            self._poller.add(descriptor)

    def remove(self, event: EventFd) -> None:
        """Stop draining ``event``; after this its sink is not called."""
        with self._lock:
            if not self.closed and self._sinks.pop(event.fileno(), None) is not None:
                self._poller.remove(event.fileno())

    def call_every(self, period: float, action: Callable[[], None]) -> None:
        """Run ``action`` every ``period`` seconds while a thread or a task waits here, or a caller drains.

        No thread: a timer makes ``fileno()`` readable, and its drain is followed by the action, without the hub's lock.
        """
        with self._lock:
            self.call_never()
            self._timer, self._action = Timer(period), action
            self._sinks[self._timer.fileno()] = self._expired
            self._poller.add(self._timer.fileno())

    def call_never(self) -> None:
        """End ``call_every``."""
        with self._lock:
            timer, self._timer = self._timer, None
            self._due = False
            if timer is not None:
                if not self.closed:
                    self._sinks.pop(timer.fileno(), None)
                    self._poller.remove(timer.fileno())
                timer.close()

    def _expired(self, count: int) -> None:
        self._due = True
        self._ticks += 1
        self._poller.nudge()  # a loop's reader may have called this: the next one looks what is due

    def _run_due(self) -> None:
        """Run the action if its time has come and no other thread does. The hub's lock is not held: it takes others."""
        with self._lock:
            due, self._due = self._due, False
        if due:
            self._action()

    def wakeup(self) -> Wakeup:
        """A new flag, woken by sinks."""
        return self.wakeups(1)[0]

    def wakeups(self, count: int) -> list[Wakeup]:
        """New flags, woken by sinks."""
        made = [Wakeup(self) for _ in range(count)]
        with self._lock:
            for one in made:
                self._wakeups.add(one)
                if self._failure is not None:
                    one.fail(self._failure)
        return made

    def fail(self, reason: Exception) -> None:
        """The device will not interrupt any more: every wait, under way or to come, raises ``reason``."""
        with self._lock:
            self._failure = reason
            for wakeup in list(self._wakeups):
                wakeup.fail(reason)
        self.kick()

    def drain(self) -> int:
        """Take what is there without waiting; returns how many descriptors had events."""
        with self._lock:
            self.check_open("drain events")
            ticks = self._ticks
            found = self._dispatch() - (self._ticks - ticks)
        if self._due:
            self._run_due()
        return found

    def _dispatch(self) -> int:
        """Take and dispatch, with the lock held. Threads that sleep are woken by the taking, and wait for the lock."""
        poller, sinks, total = self._poller, self._sinks, 0
        failure: Exception | None = None
        watcher = watch.by
        while events := poller.take():
            for descriptor, count in events:
                if watcher is not None:
                    watcher.drained(descriptor, count)
                sink = sinks.get(descriptor)
                if sink is not None:
                    try:
                        sink(count)
                    except Exception as error:  # noqa: BLE001 - the others' events do not wait for this one's
                        failure = failure or error
            poller.acknowledge()
            total += len(events)
            if len(events) < poller.at_once:
                break
        if failure is not None:
            raise failure
        return total

    def wait_for(self, wakeup: Wakeup, timeout: float | None) -> bool:
        """Block until ``wakeup`` is raised, and take it; False after ``timeout`` seconds."""
        return self.wait_until(wakeup.take, timeout)

    def wait_until(self, done: Callable[[], bool], timeout: float | None) -> bool:
        """Block until ``done()`` is true; False after ``timeout`` seconds.

        It is asked again after every drain and ``kick``. What it raises ends the wait.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        poller, ready = self._poller, True
        while True:
            with self._lock:
                epoch = poller.epoch
                if done():
                    return True
                self.check_open("wait for an interrupt")
                left = None if deadline is None else deadline - time.monotonic()
                over = left is not None and left <= 0
                if (ready or over) and self._dispatch():  # an event that came meanwhile is not reported as a timeout
                    epoch = poller.epoch  # which taking has changed
                    if done():
                        return True
                if over:
                    return False
            if self._due:
                self._run_due()
                continue
            ready = poller.sleep(epoch, left)

    def kick(self) -> None:
        """Make every waiting thread look at its flag again: one was raised by other means than an event."""
        if self._closed_by is None:
            try:
                self._poller.wake()
            except ClosedError:  # just now, by another thread
                return

    def serve_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let ``loop`` drain this hub whenever events are there, until the hub closes."""
        if not self.usable:
            self.check_open("wait for an interrupt")
        if loop not in self.loops:
            reader, state = self._poller.reader(self._sinks, self._lock, self._drain_in_loop)
            loop.add_reader(self._poller.fileno(), reader, state, loop)
            self.loops = [other for other in self.loops if not other.is_closed()] + [loop]

    def _drain_in_loop(self) -> None:
        with self._lock:
            if self._closed_by is not None:
                return
            try:
                self._dispatch()
            except BaseException:
                self._poller.nudge()  # what was taken and not dispatched is not readable by itself
                raise
        if self._due:
            self._run_due()

    def _release(self) -> None:
        descriptor = self._poller.fileno()
        loops, self.loops = self.loops, []  # what waits now raises ClosedError
        for loop in loops:
            if not loop.is_closed():
                if loop is _running():
                    loop.remove_reader(descriptor)
                else:
                    _forget_reader(loop, descriptor)
        with self._lock:
            self._sinks.clear()
            self._poller.close()
            self.call_never()


_HUBS: weakref.WeakSet[EventHub] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for hub in list(_HUBS):
        hub.loops = []  # so that every wait looks whose hub it is
        for wakeup in list(hub._wakeups):
            wakeup.forget()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _nothing() -> None:
    """The action before there is one."""


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _forget_reader(loop: asyncio.AbstractEventLoop, descriptor: int) -> None:
    """Remove the reader from a loop of another thread, or one that does not run now, before the number is reused."""
    if not loop.is_running():
        loop.remove_reader(descriptor)
        return
    done = threading.Event()

    def remove() -> None:
        loop.remove_reader(descriptor)
        done.set()

    with contextlib.suppress(RuntimeError):  # its thread has closed it just now
        loop.call_soon_threadsafe(remove)
        done.wait(1)
