# SPDX-License-Identifier: Apache-2.0
"""Interrupts of consumer queues that have waited: an alarm for each one that is due, at which it is looked at again."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.clock import current_clock

if TYPE_CHECKING:
    from vfio_ims.clock import Alarm

    from .ports import PortState

__all__ = ["Timers"]


class Timers:
    """``expired(port)`` is called under ``lock``, the model's, ``seconds`` after ``start(port, seconds)``."""

    def __init__(self, lock: threading.RLock, expired: Callable[[PortState], None]) -> None:
        self._lock, self._expired, self._clock = lock, expired, current_clock()
        self._running: dict[PortState, tuple[object, Alarm]] = {}

    def start(self, port: PortState, seconds: float) -> None:
        """Nothing changes where the port's time is running already."""
        if port not in self._running:
            this = object()
            self._running[port] = this, self._clock.call_later(seconds, lambda: self._end(port, this))

    def _end(self, port: PortState, this: object) -> None:
        with self._lock:
            found = self._running.get(port)
            if found is not None and found[0] is this:
                del self._running[port]
                self._expired(port)

    def clear(self) -> None:
        """Forget all that is running."""
        for _, alarm in self._running.values():
            alarm.cancel()
        self._running.clear()
