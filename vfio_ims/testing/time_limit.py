# SPDX-License-Identifier: Apache-2.0
"""A time limit for a check: what never returns is named, and the run goes on."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

import pytest

from vfio_ims.driver import Driver
from vfio_ims.testing.contract import CALLBACKS, breach

__all__ = ["time_limit"]

AGAIN = 5.0  # seconds for whatever comes after a check overran: the driver's end, and the checks after it
_REPORTING = ("pytest_runtest_makereport", "state_of")  # of our plug-in: not to be broken off

_overran = False


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Within, what takes longer than ``seconds`` (0: no limit) is broken off, and fails with the callback's name.

    It is broken off where Python runs: a call into C that never returns is not. Only in the main thread, and not where
    another limit runs already. After the first overrun in a process everything has ``AGAIN`` seconds only.
    """
    mine = threading.current_thread() is threading.main_thread()
    if not seconds or not mine or signal.getitimer(signal.ITIMER_REAL) != (0.0, 0.0):
        yield
        return
    given = min(AGAIN, seconds) if _overran else seconds
    before = signal.signal(signal.SIGALRM, lambda _, frame: _expired(frame, given))
    signal.setitimer(signal.ITIMER_REAL, given, min(AGAIN, seconds))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _expired(frame: FrameType | None, given: float) -> None:
    global _overran
    stack = _frames(frame)
    ours = [each for each in stack if each.f_globals.get("__name__", "").startswith("vfio_ims.")]
    if not ours or any(each.f_code.co_name in _REPORTING for each in ours):
        return  # pytest is between two phases
    _overran = True
    found = _callback(stack) or next(filter(None, (_callback(other) for other in _other_threads())), None)
    _fail(found, stack, given)


def _fail(found: tuple[Driver, str, FrameType] | None, stack: list[FrameType], given: float) -> NoReturn:
    if found is None:
        text = f"the check took longer than {given:g} s, {_place(stack[0])}: no callback of a driver was running"
    else:
        driver, callback, at = found
        text = breach(driver, callback, "it returns", f"it was still {_place(at)} when the check was {given:g} s old")
    pytest.fail(text, pytrace=False)


def _frames(frame: FrameType | None) -> list[FrameType]:
    """The innermost first."""
    found = []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


def _other_threads() -> Iterator[list[FrameType]]:
    own = threading.get_ident()
    for thread, frame in sys._current_frames().items():
        if thread != own:
            yield _frames(frame)


def _callback(stack: list[FrameType]) -> tuple[Driver, str, FrameType] | None:
    """The innermost callback of a driver, and where in the driver's own file it is."""
    for depth, frame in enumerate(stack):
        driver = frame.f_locals.get("self")
        if isinstance(driver, Driver) and frame.f_code.co_name in CALLBACKS:
            own = [each for each in stack[: depth + 1] if each.f_code.co_filename == frame.f_code.co_filename]
            return driver, frame.f_code.co_name, own[0]
    return None


def _place(frame: FrameType) -> str:
    return f"at {Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
