# SPDX-License-Identifier: Apache-2.0
"""Which channels have recorded a cause of an interrupt: done, or aborted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vfio_ims.locks import make_lock

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["Causes"]


class Causes:
    """The device's causes, taken from it as they are seen and kept until someone asks for the slot.

    The lock is innermost, and held for a few accesses.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self._lock, self._held = engine, make_lock(), 0

    def collect(self) -> None:
        """Take what is recorded now: the device can record anew."""
        with self._lock:
            self._held |= self._engine.take_causes()

    def take(self, slots: Sequence[int]) -> list[int]:
        """Those of ``slots`` with a cause, which is forgotten."""
        with self._lock:
            self._held |= self._engine.take_causes()
            found = [slot for slot in slots if self._held >> slot & 1]
            for slot in found:
                self._held &= ~(1 << slot)
            return found

    def clear(self) -> None:
        """Forget what was kept."""
        with self._lock:
            self._held = 0
