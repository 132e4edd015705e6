# SPDX-License-Identifier: Apache-2.0
"""That nothing came: waiting as long as an interrupt could still be under way, and no longer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vfio_ims.device import Device

__all__ = ["settle_time", "silent"]


class Waits(Protocol):
    """What has a ``wait``: an IMS interrupt, a polled slot, an MSI-X vector."""

    def wait(self, timeout: float) -> bool: ...


def settle_time(irq: object) -> float:
    """Seconds after which an interrupt that has not arrived on ``irq``'s mount will not."""
    device: Device = getattr(irq, "device", None) or irq.domain.device  # type: ignore[attr-defined]
    return device.port.settle


def silent(irq: Waits, *, settle: float | None = None) -> bool:
    """Wait for ``irq`` as long as its mount may take, and say whether nothing came. A wake-up that came is taken.

    ``settle``: seconds, where the mount's own time does not do.
    """
    return not irq.wait(settle_time(irq) if settle is None else settle)
