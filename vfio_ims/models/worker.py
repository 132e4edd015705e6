# SPDX-License-Identifier: Apache-2.0
"""Where a model does work that takes long: beside the accesses, in order of submission."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from vfio_ims.locks import make_lock

__all__ = ["Worker"]


class Worker:
    """One thread, started with the first job. ``drain`` waits until everything submitted before it is done."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._guard = make_lock()

    def submit(self, job: Callable[[], None]) -> None:
        """Run ``job`` behind those that were submitted before.

        What it raises ends the thread, so a job handles its errors.
        """
        with self._guard:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
        self._jobs.put(job)

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def close(self, *, wait: bool = True) -> None:
        """Finish what was submitted, then end the thread. ``wait``: return after that (not under a lock of jobs)."""
        with self._guard:
            thread, self._thread = self._thread, None
        if thread is not None:
            self._jobs.put(None)
            if wait and thread is not threading.current_thread():
                thread.join()
