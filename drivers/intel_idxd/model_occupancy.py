# SPDX-License-Identifier: Apache-2.0
"""Occupancy interrupts of the modelled work queues: there is room again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .registers import Cause
from .tables import Permission, QueueConfig

if TYPE_CHECKING:
    from .model import IdxdModel

__all__ = ["Occupancy"]


class Occupancy:
    """Raised once when a queue holds its limit or less, until its status bit is cleared; by MSI-X or IMS as WQCFG says.

    Inferred throughout: public sources have the fields' names only. Called with the model's lock held.
    """

    def __init__(self, model: IdxdModel) -> None:
        self._model = model

    def fell(self, queue: int) -> None:
        """A queue holds one less."""
        limit = self._model.queue_rows[queue].get(QueueConfig.OCCUPANCY_LIMIT)
        if limit.enable:
            self.look(queue)

    def look(self, queue: int) -> None:
        """Raise it if it is due."""
        model = self._model
        row = model.queue_rows[queue]
        limit, status = row.get(QueueConfig.OCCUPANCY_LIMIT), row.get(QueueConfig.STATUS)
        if not limit.enable or status.interrupt or model.queues.backlog[queue] > limit.entries:
            return
        row.update(QueueConfig.STATUS, interrupt=1)
        target = row.get(QueueConfig.OCCUPANCY_INTERRUPT)
        mode = row.get(QueueConfig.MODE)
        pasid = mode.pasid if mode.pasid_enable else None
        index = model.handles.index(target.handle, ims=bool(target.ims))
        if index is None:
            return
        if target.ims:
            model.slots.fire(index, pasid)
            return
        entry = model.permission_rows[index].get(Permission.ENTRY)
        if index == 0:
            model.reporter.cause(Cause.OCCUPANCY)
        elif entry.ignore or (entry.pasid if entry.pasid_enable else None) == pasid:
            model.raise_vector(index)
