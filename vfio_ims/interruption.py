# SPDX-License-Identifier: Apache-2.0
"""Sections that Ctrl-C does not break off: it is raised at their end, or where they can bear it.

Python raises KeyboardInterrupt between any two instructions of the main thread. A section that changes the device and
our record of it in several steps would leave them apart.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

__all__ = ["break_off", "uninterrupted"]

_this_thread = threading.get_ident
# signal.signal wraps this and turns numbers into enumerations, at ten times the cost.
_plain = importlib.import_module("_signal")
_getsignal: Callable[[int], Any] = getattr(_plain, "getsignal", signal.getsignal)
_signal: Callable[[int, Any], Any] = getattr(_plain, "signal", signal.signal)
_SIGINT = int(signal.SIGINT)


class _Section:
    """Of the main thread: how deep it is in sections, and what has been held back."""

    main = threading.main_thread().ident
    depth = 0
    held = 0
    handler: Callable[[int, FrameType | None], Any] = signal.default_int_handler


def _after_fork_in_child() -> None:
    _Section.main = _this_thread()  # whichever forks is the child's main thread


os.register_at_fork(after_in_child=_after_fork_in_child)


def _hold(number: int, frame: FrameType | None) -> None:
    _Section.held += 1
    if _Section.held > 1:  # pressed again: the section hangs, and is broken off after all
        _Section.held = 0
        _Section.handler(number, frame)


class uninterrupted:  # noqa: N801 - used as a verb: with uninterrupted():
    """``with uninterrupted():`` holds SIGINT back in the main thread until the block's end; elsewhere nothing happens.

    Python runs signal handlers in the main thread only, so no other thread is ever interrupted. The handler that was
    there is called at the end, whatever it is; sections nest. A second Ctrl-C is not held back.
    """

    __slots__ = ("_entered",)

    def __enter__(self) -> None:
        self._entered = False
        if _this_thread() != _Section.main:
            return
        if not _Section.depth:
            handler = _getsignal(_SIGINT)
            if not callable(handler) or handler is _hold:
                return  # ignored, or the system's own: nothing is raised
            _Section.handler, _Section.held = handler, 0
            _signal(_SIGINT, _hold)
        _Section.depth += 1
        self._entered = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entered:
            _Section.depth -= 1
            if not _Section.depth:
                _signal(_SIGINT, _Section.handler)
                if _Section.held:
                    _Section.held = 0
                    _Section.handler(_SIGINT, sys._getframe(1))


def break_off() -> None:
    """Raise what is held back, in a section that waits: here it can be broken off. Does nothing elsewhere."""
    if _Section.held and _this_thread() == _Section.main:
        _Section.held = 0
        _Section.handler(_SIGINT, sys._getframe(1))
