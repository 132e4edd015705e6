# SPDX-License-Identifier: Apache-2.0
"""The time that device models and injected faults go by: the machine's, or one that a test moves.

with manual_clock() as clock, vfio_ims.open_driver("mock:intel-dlb") as driver:
    ...
    clock.advance(0.5)      what was due by then has happened when this returns
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

from vfio_ims.errors import UsageError
from vfio_ims.locks import make_lock

__all__ = ["Alarm", "Clock", "ManualClock", "current_clock", "manual_clock"]


class Alarm(Protocol):
    """An action that is to come."""

    def cancel(self) -> None:
        """Forget it, where it has not begun."""
        ...


class Clock(Protocol):
    """Seconds that only grow, and actions at a time."""

    def now(self) -> float:
        """Seconds since a beginning of the clock's own; never less than before."""
        ...

    def call_later(self, seconds: float, action: Callable[[], object]) -> Alarm:
        """Run ``action`` once, ``seconds`` from now, in a thread of the clock's choice."""
        ...

    def pause(self, seconds: float) -> None:
        """Return when so much time has passed."""
        ...


class SystemClock:
    """The machine's monotonic clock."""

    def now(self) -> float:
        return time.monotonic()

    def call_later(self, seconds: float, action: Callable[[], object]) -> Alarm:
        timer = threading.Timer(seconds, action)
        timer.daemon = True
        timer.start()
        return timer

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)


class _Due:
    """An action of a manual clock."""

    def __init__(self, action: Callable[[], object]) -> None:
        self.action: Callable[[], object] | None = action

    def cancel(self) -> None:
        self.action = None


class ManualClock:
    """Time that passes in ``advance`` only: what is due is then run in order of its time, in the calling thread.

    ``pause`` moves the clock itself: nothing sleeps.
    """

    def __init__(self) -> None:
        self._now, self._lock, self._numbers = 0.0, make_lock(), itertools.count()
        self._due: list[tuple[float, int, _Due]] = []

    def now(self) -> float:
        """Seconds that ``advance`` and ``pause`` have let pass."""
        return self._now

    @property
    def pending(self) -> int:
        """How many actions are to come."""
        return sum(due.action is not None for _, _, due in self._due)

    def call_later(self, seconds: float, action: Callable[[], object]) -> Alarm:
        """Run ``action`` once the clock has been moved ``seconds`` on from now, in the thread that moves it."""
        due = _Due(action)
        with self._lock:
            heapq.heappush(self._due, (self._now + max(seconds, 0.0), next(self._numbers), due))
        return due

    def advance(self, seconds: float) -> None:
        """Let ``seconds`` pass. What actions set off within that time happens too."""
        if seconds < 0:
            raise UsageError("advance a clock", why=f"time only grows: not by {seconds} s")
        end = self._now + seconds
        while True:
            with self._lock:
                if not self._due or self._due[0][0] > end:
                    self._now = max(self._now, end)
                    return
                when, _, due = heapq.heappop(self._due)
                self._now = max(self._now, when)
            action, due.action = due.action, None
            if action is not None:
                action()

    def pause(self, seconds: float) -> None:
        """Move the clock ``seconds`` on, as ``advance``: nothing sleeps."""
        self.advance(seconds)


_SYSTEM = SystemClock()
_CURRENT: ContextVar[Clock] = ContextVar("_CURRENT", default=_SYSTEM)


def current_clock() -> Clock:
    """What models made now, and faults injected now, go by."""
    return _CURRENT.get()


@contextmanager
def manual_clock() -> Iterator[ManualClock]:
    """Models and faults that are made within go by the clock that is yielded, for as long as they live."""
    clock = ManualClock()
    token = _CURRENT.set(clock)
    try:
        yield clock
    finally:
        _CURRENT.reset(token)
