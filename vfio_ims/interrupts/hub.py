# SPDX-License-Identifier: Apache-2.0
"""One place where many event descriptors are drained, by whoever happens to wait: no thread of its own."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.interrupts.wakeup import Wakeup
from vfio_ims.lifetime import Owner
from vfio_ims.native.events import EventFd, Poller

if TYPE_CHECKING:
    from vfio_ims.device import Device

__all__ = ["EventHub"]

Sink = Callable[[int], None]


class EventHub(Owner):
    """Drains the event descriptors added to it and hands each count to its sink, which wakes the owners.

    Threads that wait take turns: one drains for all, the others sleep until they are woken or the turn is free. Tasks
    are served by their loop's reader on ``fileno()``. The cost of a drain grows with events, not with descriptors.
    """

    def __init__(self, device: Device) -> None:
        self._poller = Poller()  # before the owner is made: it must not be closed half-made
        super().__init__(device.name, device)
        self._sinks: dict[int, Sink] = {}
        self._lock = threading.RLock()
        self._turn = threading.Condition(self._lock)
        self._sleeping = 0  # threads that wait for the turn or their flag
        self._draining = False
        self._nudged = False
        self._loops: list[asyncio.AbstractEventLoop] = []
        self._wakeups: weakref.WeakSet[Wakeup] = weakref.WeakSet()
        self._failure: Exception | None = device.loss
        self.draining_loop: asyncio.AbstractEventLoop | None = None
        """The loop whose reader is draining now: its futures may be resolved on the spot."""

    def fileno(self) -> int:
        """Readable when an event waits to be drained; then call ``drain``."""
        self.check_open("use the event hub")
        return self._poller.fileno()

    def add(self, event: EventFd, sink: Sink) -> None:
        """Drain ``event`` from now on, giving its count to ``sink`` in whatever thread drains. Sinks must not wait."""
        with self._turn:
            self.check_open("add an event")
            descriptor = event.fileno()
            self._sinks[descriptor] = sink
            self._poller.add(descriptor)

    def remove(self, event: EventFd) -> None:
        """Stop draining ``event``; after this its sink is not called."""
        with self._turn:
            if not self.closed and self._sinks.pop(event.fileno(), None) is not None:
                self._poller.remove(event.fileno())

    def wakeup(self) -> Wakeup:
        """A new flag, woken by sinks."""
        made = Wakeup(self)
        with self._turn:
            self._wakeups.add(made)
            if self._failure is not None:
                made.fail(self._failure)
        return made

    def fail(self, reason: Exception) -> None:
        """The device will not interrupt any more: every wait, under way or to come, raises ``reason``."""
        with self._turn:
            self._failure = reason
            for wakeup in list(self._wakeups):
                wakeup.fail(reason)
        self.kick()

    def drain(self) -> int:
        """Take what is there without waiting; returns how many descriptors had events."""
        with self._turn:
            self.check_open("drain events")
            return self._look()

    def _look(self) -> int:
        """Drain beside a thread that may be waiting in the kernel."""
        events = self._poller.look()
        self._dispatch(events)
        if self._draining:
            self._share(events)
        return len(events)

    def _share(self, events: list[tuple[int, int]]) -> None:
        """Another thread waits in the kernel: it has to look at its flag again."""
        if events or self._nudged:  # this look may have taken the nudge that was meant for it
            self._nudge()

    def _nudge(self) -> None:
        self._nudged = True
        self._poller.interrupt()

    def _dispatch(self, events: list[tuple[int, int]]) -> None:
        for descriptor, count in events:
            sink = self._sinks.get(descriptor)
            if sink is not None:
                sink(count)
        if events and self._sleeping:
            self._turn.notify_all()

    def wait_for(self, wakeup: Wakeup, timeout: float | None) -> bool:
        """Block until ``wakeup`` is raised, and take it; False after ``timeout`` seconds."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._turn:
            while not wakeup.take():
                self.check_open("wait for an interrupt")
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    self._look()  # an event that came meanwhile is not reported as a timeout
                    return wakeup.take()
                if self._draining:
                    self._sleeping += 1
                    try:
                        self._turn.wait(left)
                    finally:
                        self._sleeping -= 1
                else:
                    self._lead(left)
            return True

    def _lead(self, timeout: float | None) -> None:
        """Drain for everybody, once. The turn is given back while waiting in the kernel."""
        self._draining = True
        self._turn.release()
        events: list[tuple[int, int]] = []
        try:
            events = self._poller.wait(timeout)
        finally:
            self._turn.acquire()
            self._draining = self._nudged = False
            self._dispatch(events)
            self._turn.notify_all()

    def kick(self) -> None:
        """Make every waiting thread look at its flag again: one was raised by other means than an event."""
        with self._turn:
            if self._draining:
                self._nudge()
            self._turn.notify_all()

    def serve_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let ``loop`` drain this hub whenever events are there, until the hub closes."""
        if not self.usable:
            self.check_open("wait for an interrupt")
        if loop not in self._loops:
            self._loops = [other for other in self._loops if not other.is_closed()] + [loop]
            loop.add_reader(self._poller.fileno(), self._drain_in, loop)

    def _drain_in(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            if self._closed_by is not None:
                return
            self.draining_loop = loop
            try:
                events = self._poller.look()
                self._dispatch(events)
                if self._draining:
                    self._share(events)
            finally:
                self.draining_loop = None

    def _release(self) -> None:
        descriptor = self._poller.fileno()
        for loop in self._loops:
            if not loop.is_closed():
                if loop is _running():
                    loop.remove_reader(descriptor)
                else:
                    _forget_reader(loop, descriptor)
        self._poller.interrupt()
        with self._turn:
            self._turn.notify_all()
            while self._draining:
                self._turn.wait(0.01)
            self._sinks.clear()
            self._poller.close()


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

    loop.call_soon_threadsafe(remove)
    done.wait(1)
