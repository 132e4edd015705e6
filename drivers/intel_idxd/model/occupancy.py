# SPDX-License-Identifier: Apache-2.0
"""Occupancy interrupts of the modelled work queues: there is room again."""

from __future__ import annotations

from ..hardware.registers import Cause
from ..hardware.tables import Permission, QueueConfig
from .interrupt_handles import InterruptHandles
from .reporter import Reporter
from .state import ModelState

__all__ = ["Occupancy"]


class Occupancy:
    """Raised once when a queue holds its limit or less, until its status bit is cleared; by MSI-X or IMS as WQCFG says.

    Inferred throughout: public sources have the fields' names only. Called with the state's lock held.
    """

    def __init__(self, state: ModelState, handles: InterruptHandles, reporter: Reporter) -> None:
        self._state, self._handles, self._reporter = state, handles, reporter

    def fell(self, queue: int) -> None:
        """A queue holds one less."""
        limit = self._state.queues[queue].get(QueueConfig.OCCUPANCY_LIMIT)
        if limit.enable:
            self.check(queue)

    def check(self, queue: int) -> None:
        """Raise it if it is due."""
        state = self._state
        row = state.queues[queue]
        limit, status = row.get(QueueConfig.OCCUPANCY_LIMIT), row.get(QueueConfig.STATUS)
        if not limit.enable or status.interrupt or state.backlog[queue] > limit.entries:
            return
        row.update(QueueConfig.STATUS, interrupt=1)
        target = row.get(QueueConfig.OCCUPANCY_INTERRUPT)
        mode = row.get(QueueConfig.MODE)
        pasid = mode.pasid if mode.pasid_enable else None
        index = self._handles.index(target.handle, ims=bool(target.ims))
        if index is None:
            return
        if target.ims:
            state.slots.fire(index, pasid)
            return
        entry = state.permissions[index].get(Permission.ENTRY)
        if index == 0:
            self._reporter.cause(Cause.OCCUPANCY)
        elif entry.ignore or (entry.pasid if entry.pasid_enable else None) == pasid:
            state.raise_vector(index)
