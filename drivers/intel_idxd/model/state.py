# SPDX-License-Identifier: Apache-2.0
"""What the parts of a modelled DSA or IAA share: its registers, slots, way out to the bus and characteristics."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vfio_ims.models import SlotStore
from vfio_ims.models.register_file import RegisterFile, View
from vfio_ims.ports.model import Bus
from vfio_ims.registers import RegisterValue

from ..hardware.registers import Bar0, State
from ..hardware.tables import LongQueueConfig
from .layout import GROUPS, QUEUES, VECTORS, ModelBar0

__all__ = ["Characteristics", "ModelState"]

_GENSTS = Bar0.GENSTS
_STATE = _GENSTS.fields["state"]


@dataclass(frozen=True, kw_only=True)
class Characteristics:
    """What this device is: fixed by its model's class and options."""

    kind: str
    """"dsa" or "iaa"."""
    version: int
    gencap: int
    operations: int
    """A bit for each opcode, as OPCAP."""
    engines: int
    read_buffers: int
    total_size: int
    """Entries of all work queues together."""
    config_size: int
    """WQCAP's field: WQCFG has ``32 << config_size`` bytes."""
    command_capabilities: int
    """A bit for each command, as CMDCAP."""
    shows_command_capabilities: bool
    traffic_classes: int
    """A bit for each traffic class that works."""
    pasid_enabled: bool
    inline_bytes: int
    """Copies and fills of up to so many bytes are done before the next access."""

    @property
    def general(self) -> RegisterValue:
        """GENCAP."""
        return Bar0.GENCAP.value(self.gencap)


class ModelState:
    """One modelled device. ``lock`` is held while anything here is read or changed.

    ``bus`` gives the bus, or None while bus mastering is off; ``raise_vector`` raises an MSI-X vector; ``after`` runs
    an action once the access under way is answered.
    """

    def __init__(
        self,
        characteristics: Characteristics,
        *,
        name: str,
        lock: threading.RLock,
        registers: RegisterFile,
        block: type[ModelBar0],
        slots: SlotStore,
        bus: Callable[[], Bus | None],
        raise_vector: Callable[[int], None],
        after: Callable[..., Any],
    ) -> None:
        self.characteristics, self.name, self.lock = characteristics, name, lock
        self.registers, self.slots = registers, slots
        self.bus, self.raise_vector, self.after = bus, raise_vector, after
        self.permissions = [registers.row(block.PERMISSIONS, n) for n in range(VECTORS)]
        self.groups = [registers.row(block.GROUPS, n) for n in range(GROUPS)]
        self.queues: list[View] = [registers.row(block.QUEUES, n) for n in range(QUEUES)]
        self.backlog = [0] * QUEUES
        """Entries of each queue that are taken: work that has not begun."""
        self.generation = 0
        """Counts function resets: work of an earlier one must not touch the device."""

    @property
    def device_state(self) -> int:
        """GENSTS: disabled, enabled or halted."""
        return _STATE.get(self.registers.get(_GENSTS))

    @property
    def enabled(self) -> bool:
        return self.device_state == State.ENABLED

    def operations_of(self, queue: int) -> int:
        """The operations that ``queue`` does, a bit each: from version 2 on WQCFG narrows them."""
        operations = self.characteristics.operations
        if self.characteristics.version > 1:
            return operations & int(self.queues[queue].get(LongQueueConfig.OPERATIONS))
        return operations
