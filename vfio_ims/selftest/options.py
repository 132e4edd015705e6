# SPDX-License-Identifier: Apache-2.0
"""Options of a self-test, and its progress."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from vfio_ims.errors import UsageError

__all__ = ["Options", "Progress", "ProgressSink"]


@dataclass(frozen=True, slots=True)
class Options:
    """Times are in seconds.

    ``timeout``: T, after which a fire whose owner was not woken is lost. ``settle``: after how long nothing more comes;
    None: the mount's own time. ``dwell``: how long a slot is left alone after it fired, once, so that an echo shows.
    ``slots``: only the first so many. ``words`` False: for a device that takes no address of ordinary memory in a slot.
    ``pasid``: the number that PASID checks use.
    """

    timeout: float = 1.0
    settle: float | None = None
    dwell: float = 0.003
    slots: int | None = None
    words: bool = True
    masks: bool = True
    pasids: bool = True
    reset: bool = True
    pasid: int = 0x1A5

    def __post_init__(self) -> None:
        for name, value, none in (("timeout", self.timeout, False), ("settle", self.settle, True)):
            if not (_seconds(value) and value) and not (none and value is None):
                raise UsageError("set up a self-test", why=f"{name} must be seconds above 0, not {value!r}")
        if not _seconds(self.dwell):
            raise UsageError("set up a self-test", why=f"dwell must be seconds, 0 or more, not {self.dwell!r}")
        slots: object = self.slots
        if slots is not None and not (isinstance(slots, int) and slots >= 1):
            raise UsageError("set up a self-test", why=f"slots must be a number, 1 or more, not {self.slots!r}")


def _seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


@dataclass(frozen=True, slots=True)
class Progress:
    """``done`` of ``total`` in the step called ``step``, which is number ``number`` (from 1) of ``steps``."""

    step: str
    done: int
    total: int
    number: int = 1
    steps: int = 1

    def __str__(self) -> str:
        return f"{self.step}: {self.done} of {self.total}"


ProgressSink = Callable[[Progress], None]
"""Called in the thread that runs the self-test, at each step's start and end and between them now and then."""
