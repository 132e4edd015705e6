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

__all__ = ["break_off", "enter_section", "leave_section", "uninterrupted"]

_this_thread = threading.get_ident
# signal.signal wraps this and turns numbers into enumerations, at ten times the cost.
_plain = importlib.import_module("_signal")
_getsignal: Callable[[int], Any] = getattr(_plain, "getsignal", signal.getsignal)
_signal: Callable[[int, Any], Any] = getattr(_plain, "signal", signal.signal)
_SIGINT = int(signal.SIGINT)


class _Sections:
    """Of the main thread: how deep it is in sections, and what has been held back."""

    __slots__ = ("depth", "handler", "held", "main")

    def __init__(self) -> None:
        self.main = threading.main_thread().ident
        self.depth, self.held = 0, 0
        self.handler: Callable[[int, FrameType | None], Any] = signal.default_int_handler


_sections = _Sections()


def _after_fork_in_child() -> None:
    _sections.main = _this_thread()  # whichever forks is the child's main thread


os.register_at_fork(after_in_child=_after_fork_in_child)


def _hold(number: int, frame: FrameType | None) -> None:
    _sections.held += 1
    if _sections.held > 1:  # pressed again: the section hangs, and is broken off after all
        _sections.held = 0
        _sections.handler(number, frame)


def enter_section() -> bool:
    """Hold SIGINT back from now on; whether ``leave_section`` has to be called: not where nothing is held back."""
    sections = _sections
    if _this_thread() != sections.main:
        return False
    if not sections.depth:
        handler = _getsignal(_SIGINT)
        if not callable(handler) or handler is _hold:
            return False  # ignored, or the system's own: nothing is raised
        sections.handler, sections.held = handler, 0
        _signal(_SIGINT, _hold)
    sections.depth += 1
    return True


def leave_section() -> None:
    """The end of a section; of the outermost: what it held back is raised here."""
    sections = _sections
    sections.depth -= 1
    if not sections.depth:
        _signal(_SIGINT, sections.handler)
        if sections.held:
            sections.held = 0
            sections.handler(_SIGINT, sys._getframe(2))


class uninterrupted:  # noqa: N801 - used as a verb: with uninterrupted():
    """``with uninterrupted():`` holds SIGINT back in the main thread until the block's end; elsewhere nothing happens.

    Python runs signal handlers in the main thread only, so no other thread is ever interrupted. The handler that was
    there is called at the end, whatever it is; sections nest. A second Ctrl-C is not held back.
    """

    __slots__ = ("_entered",)

    def __enter__(self) -> None:
        sections = _sections
        if sections.depth and _this_thread() == sections.main:  # nested, as most are: no call
            sections.depth += 1
            self._entered = True
        else:
            self._entered = enter_section()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._entered:
            if _sections.depth > 1:
                _sections.depth -= 1
            else:
                leave_section()


def break_off() -> None:
    """Raise what is held back, in a section that waits: here it can be broken off. Does nothing elsewhere."""
    if _sections.held and _this_thread() == _sections.main:
        _sections.held = 0
        _sections.handler(_SIGINT, sys._getframe(1))
