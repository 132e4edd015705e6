# SPDX-License-Identifier: Apache-2.0
"""A flag that interrupts raise and one owner waits for: as a thread, as a task, or by looking."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError

if TYPE_CHECKING:
    from vfio_ims.interrupts.hub import EventHub

__all__ = ["Wakeup", "take_each"]

_FOR_EVER = 1e9
"""Seconds, some 30 years: beyond that the kernel's clock would overflow."""


class Wakeup:
    """At least one wake-up after each event; wake-ups merge and may be spurious. They are not counts.

    Made by an ``EventHub``, which raises it. ``operation`` and ``device`` word the errors.
    """

    __slots__ = ("__weakref__", "_futures", "_raised", "_reason", "hub")

    def __init__(self, hub: EventHub) -> None:
        self.hub = hub
        self._raised = False
        self._futures: list[asyncio.Future[None]] = []
        self._reason: Exception | Callable[[], Exception] | None = None

    @property
    def raised(self) -> bool:
        """Whether a wake-up is waiting to be taken."""
        return self._raised

    def forget(self) -> None:
        """Start without wake-ups and waiters: this is a forked child."""
        self._raised, self._futures = False, []

    def take(self) -> bool:
        """Take the wake-up if there is one. Raises what ``fail`` was given."""
        if self._raised:
            reason = self._reason
            if reason is not None:
                raise reason if isinstance(reason, Exception) else reason()
            self._raised = False
            return True
        return False

    def wake(self) -> None:
        """Raise the flag and resume waiting tasks. Called by the hub, in whatever thread drains it."""
        self._raised = True
        futures = self._futures
        if futures:
            here = self.hub.draining()  # in this thread: asking asyncio costs a system call before Python 3.12
            for future in futures.copy():
                loop = future.get_loop()
                if loop is here:
                    if not future.done():
                        future.set_result(None)
                elif not loop.is_closed():
                    with contextlib.suppress(RuntimeError):  # its thread has closed it just now
                        loop.call_soon_threadsafe(_resume, future)

    def fail(self, reason: Exception | Callable[[], Exception]) -> None:
        """From now on every wait raises ``reason``, or what it makes; those under way at once. The first one stays."""
        if self._reason is None:
            self._reason = reason
        self.wake()

    def recover(self, reason: Exception) -> None:
        """What ``fail`` was given is over, if it was ``reason``: waits wait again."""
        if self._reason is reason:
            self._reason = None

    def wait(self, timeout: float | None = None) -> bool:
        """Block until woken; False after ``timeout`` seconds (None: for ever)."""
        if timeout is not None:
            given: object = timeout
            if not isinstance(given, (int, float)) or given != given:
                why = f"timeout must be seconds, or None to wait for ever, not {timeout!r}"
                raise UsageError("wait for an interrupt", device=self.hub.label, why=why)
            if timeout > _FOR_EVER:
                timeout = None
        return self.take() or self.hub.wait_for(self, timeout)

    def wait_until(self, done: Callable[[], bool], timeout: float | None = None) -> bool:
        """Block until ``done()``, which is asked after each drain of the hub; takes this wake-up.

        Raises what ``fail`` was given.
        """

        def either() -> bool:
            self.take()
            return done()

        return either() or self.hub.wait_until(either, timeout)

    async def wait_async(self) -> None:
        """Wait in a task. Wrap it in ``asyncio.timeout`` for a limit."""
        await self

    def __await__(self) -> Generator[object, None, None]:
        while not (self._raised and self.take()):
            loop = asyncio.get_running_loop()
            if loop not in self.hub.loops:
                self.hub.serve_loop(loop)
            future = loop.create_future()
            self._futures.append(future)
            try:
                if not self._raised:  # by another thread between the look and the entry in the list
                    yield from future
            finally:
                self._futures.remove(future)

    async def __aiter__(self) -> AsyncIterator[None]:
        while True:
            await self
            yield


def take_each(wakeups: Iterable[Wakeup]) -> list[bool]:
    """``take`` of each: whether there was a wake-up to be taken."""
    found = []
    for one in wakeups:
        raised = one._raised
        if raised:
            if one._reason is not None:
                one.take()  # raises it
            one._raised = False
        found.append(raised)
    return found


def _resume(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
