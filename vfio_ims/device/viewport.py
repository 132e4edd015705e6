# SPDX-License-Identifier: Apache-2.0
"""Registers behind a selector: one place in a BAR shows the registers of whichever part was selected last."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar, cast

from vfio_ims.registers import Block

if TYPE_CHECKING:
    from vfio_ims.ports.window import Window

__all__ = ["Viewport"]

B = TypeVar("B", bound=Block)


class Viewport:
    """The 32-bit register ``selector`` of ``window``, and what it selects.

    It is state that every user of the device shares: selecting and accessing are one step under a lock, so that two
    threads do not reach each other's registers.
    """

    def __init__(self, window: Window, selector: int, lock: threading.RLock) -> None:
        self._window, self._selector, self._lock = window, selector, lock

    def bind(self, block: type[B], base: int, number: int, label: str = "") -> B:
        """The registers of ``block`` at ``base``, as they are while the selector holds ``number``."""
        return block(cast("Window", _Selected(self._window, self._selector, number, self._lock)), base, label)


class _Selected:
    """The part of a window that registers of 32 bits use."""

    def __init__(self, window: Window, selector: int, number: int, lock: threading.RLock) -> None:
        self._window, self._selector, self._number, self._lock = window, selector, number, lock

    def read32(self, offset: int) -> int:
        with self._lock:
            self._window.write32(self._selector, self._number)
            return self._window.read32(offset)

    def write32(self, offset: int, value: int) -> None:
        with self._lock:
            self._window.write32(self._selector, self._number)
            self._window.write32(offset, value)

    def poll(self, offset: int, width: int, mask: int, expected: int, timeout: float) -> int:
        """Read again and again, the lock free between two reads: another's access may select something else."""
        deadline = time.monotonic() + timeout
        while True:
            value = self.read32(offset)
            if value & mask == expected or time.monotonic() >= deadline:
                return value
