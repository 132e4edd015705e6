# SPDX-License-Identifier: Apache-2.0
"""What the sessions and fires on one device are given: registers, records, handles, and the books that they share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.ims import ImsInterrupt
    from vfio_ims.lifetime import Owner

    from ..hardware.registers import Bar0
    from .capabilities import Capabilities
    from .commander import Commander
    from .handles import Handles
    from .in_flight import InFlight
    from .pasids import Pasids
    from .queue_settings import QueueSettings
    from .records import ListPool, RecordPool

__all__ = ["Resources"]


@dataclass(frozen=True, slots=True)
class Resources:
    """Everything of one device that work on it needs."""

    owner: Owner
    """Says whether work may be submitted: open, and in this process."""
    device: Device
    regs: Bar0
    capabilities: Capabilities
    settings: QueueSettings
    commander: Commander
    handles: Handles
    pasids: Pasids
    in_flight: InFlight
    records: RecordPool
    """Completion records; ``records.size`` is the device's."""
    lists: ListPool
    allocate: Callable[[int | None], ImsInterrupt]
    """A slot of the device's IMS for work that is tagged with a PASID, or with none."""

    @property
    def label(self) -> str:
        """The device as errors name it."""
        return self.owner.label
