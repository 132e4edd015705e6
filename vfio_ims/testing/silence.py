# SPDX-License-Identifier: Apache-2.0
"""That nothing came: waiting as long as an interrupt could still be under way, and no longer."""

from __future__ import annotations

from typing import Protocol

__all__ = ["silent"]


class Waits(Protocol):
    """What has a ``wait``: an IMS interrupt, a polled slot, an MSI-X vector."""

    @property
    def settle(self) -> float: ...

    def wait(self, timeout: float) -> bool: ...


def silent(irq: Waits, *, settle: float | None = None) -> bool:
    """Wait for ``irq`` as long as its mount may take, and say whether nothing came. A wake-up that came is taken.

    ``settle``: seconds, where the mount's own time does not do.
    """
    return not irq.wait(irq.settle if settle is None else settle)
