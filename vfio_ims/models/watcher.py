# SPDX-License-Identifier: Apache-2.0
"""Watches mapped slot tables: a client's stores to them are not seen, yet an unmask has to send what is pending."""

from __future__ import annotations

import threading
from collections.abc import Collection

from vfio_ims.models.slot_store import SlotStore

__all__ = ["Watcher"]

_INTERVAL = 0.0005


class Watcher:
    """A thread that sleeps while nothing pends, and looks every half millisecond while something does."""

    def __init__(self, stores: Collection[SlotStore], lock: threading.RLock, name: str) -> None:
        self._stores, self._lock, self._name = stores, lock, name
        self._wanted, self._stop = threading.Event(), False
        self._thread: threading.Thread | None = None

    def wake(self) -> None:
        """Something may pend now. Called with ``lock`` held, the model's."""
        if not any(store.pending for store in self._stores):
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=f"{self._name} slots", daemon=True)
            self._thread.start()
        self._wanted.set()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._wanted.wait()
            if self._stop:
                return
            with self._lock:
                if not self._stop:
                    left = [store.watch() for store in self._stores]  # each is looked at
                    if not any(left):
                        self._wanted.clear()
            pause.wait(_INTERVAL)

    def close(self) -> None:
        self._stop = True
        self._wanted.set()
        # Joined outside the model's lock only: the thread may be waiting for it, and then ends by itself.
