# SPDX-License-Identifier: Apache-2.0
"""SIGTERM stops a verb as Ctrl-C does, and its exit status says which it was."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["status", "terminable"]

_stopped_by = signal.SIGINT


def status() -> int:
    """The exit status of a verb that was stopped: 130 after Ctrl-C, 143 after SIGTERM, as a shell has them."""
    return 128 + _stopped_by


def _stop(number: int, frame: FrameType | None) -> None:
    """What Ctrl-C does: sections that hold it back (vfio_ims.interruption) hold this back, too."""
    global _stopped_by
    _stopped_by = signal.Signals(number)
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:  # a shell's background job: it ignores Ctrl-C, and is stopped by SIGTERM alone
        raise KeyboardInterrupt


@contextmanager
def terminable() -> Iterator[None]:
    """While it lasts SIGTERM raises KeyboardInterrupt in the main thread; elsewhere nothing changes."""
    global _stopped_by
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _stopped_by = signal.SIGINT
    before = signal.signal(signal.SIGTERM, _stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
