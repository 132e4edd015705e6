# SPDX-License-Identifier: Apache-2.0
"""Commands to whole work queues: drain, abort, occupancy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError
from vfio_ims.ims import ImsInterrupt
from vfio_ims.interrupts.vector import VectorInterrupt

from ..hardware.commands import Command, queue_operand
from .configuration import queue_entry

if TYPE_CHECKING:
    from .resources import Resources
    from .work_queue import WorkQueue

__all__ = ["QueueControl"]


class QueueControl:
    """Commands to whole queues of the device with ``resources``. ``find`` returns a queue, or raises UsageError."""

    def __init__(self, resources: Resources, find: Callable[[int], WorkQueue]) -> None:
        self._resources, self._find = resources, find

    def drain(self, queue: int | None = None, *, pasid: int | None = None) -> None:
        """Wait until all work, that of one queue, or that of a PASID has completed."""
        self._command(Command.DRAIN_ALL, Command.DRAIN_QUEUE, Command.DRAIN_PASID, queue, pasid)

    def abort(self, queue: int | None = None, *, pasid: int | None = None) -> None:
        """Drop work that has not begun: it never completes. Sessions that wait for it time out."""
        self._command(Command.ABORT_ALL, Command.ABORT_QUEUE, Command.ABORT_PASID, queue, pasid)

    def _command(
        self, of_all: Command, of_queue: Command, of_pasid: Command, queue: int | None, pasid: int | None
    ) -> None:
        commander = self._resources.commander
        self._resources.owner.check_open(of_all.name.lower().replace("_", " "))
        if pasid is not None:
            commander.run(of_pasid, pasid)
        elif queue is not None:
            self._find(queue)
            commander.run(of_queue, queue_operand(queue))
        else:
            commander.run(of_all)

    def occupancy(self, queue: int) -> int:
        """Entries of a queue that are taken: one read."""
        self._find(queue)
        return queue_entry(self._resources.regs, self._resources.capabilities, queue).STATUS.read().occupancy

    def watch_occupancy(
        self, queue: int, limit: int | None, interrupt: ImsInterrupt | VectorInterrupt | None = None
    ) -> None:
        """Raise ``interrupt`` once the queue holds ``limit`` entries or less; asked again for the next. None: never.

        That it is raised at once where the queue is below the limit already is inferred.
        """
        self._find(queue)
        resources = self._resources
        if limit is not None and interrupt is None:
            why = "there must be an interrupt to raise: an ImsInterrupt or a VectorInterrupt"
            raise UsageError(f"watch the occupancy of work queue {queue}", device=resources.label, why=why)
        entry = queue_entry(resources.regs, resources.capabilities, queue)
        entry.OCCUPANCY_LIMIT.write(0)
        entry.STATUS.write(interrupt=1)
        if limit is None or interrupt is None:
            return
        if isinstance(interrupt, ImsInterrupt):
            entry.OCCUPANCY_INTERRUPT.write(handle=resources.handles.slot(interrupt.slot), ims=1)
            resources.in_flight.watch(interrupt.slot)
        else:
            entry.OCCUPANCY_INTERRUPT.write(handle=resources.handles.vector(interrupt.vector))
        entry.OCCUPANCY_LIMIT.write(entries=limit, enable=1)
