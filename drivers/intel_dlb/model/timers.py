# SPDX-License-Identifier: Apache-2.0
"""Interrupts of consumer queues that have waited: a thread for each one that is due, which looks again then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .ports import PortState

__all__ = ["Timers"]


class Timers:
    """``expired(port)`` is called under ``lock``, the model's, ``seconds`` after ``start(port, seconds)``."""

    def __init__(self, lock: threading.RLock, expired: Callable[[PortState], None]) -> None:
        self._lock, self._expired = lock, expired
        self._running: dict[PortState, threading.Timer] = {}

    def start(self, port: PortState, seconds: float) -> None:
        """Nothing changes where the port's time is running already."""
        if port not in self._running:
            timer = self._running[port] = threading.Timer(seconds, self._end, (port,))
            timer.daemon = True
            timer.start()

    def _end(self, port: PortState) -> None:
        with self._lock:
            if self._running.get(port) is threading.current_thread():
                del self._running[port]
                self._expired(port)

    def clear(self) -> None:
        """Forget all that is running."""
        for timer in self._running.values():
            timer.cancel()
        self._running.clear()
