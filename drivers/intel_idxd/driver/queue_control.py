# SPDX-License-Identifier: Apache-2.0
"""What a driver does with whole queues: drain, abort, occupancy, PASID."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError
from vfio_ims.ims import ImsInterrupt
from vfio_ims.interrupts.vector import VectorInterrupt

from ..hardware.commands import Command, queue_operand
from .configuration import queue_entry

if TYPE_CHECKING:
    from ..hardware.registers import Bar0
    from .capabilities import Capabilities
    from .commander import Commander
    from .handles import Handles
    from .in_flight import InFlight
    from .work_queue import WorkQueue

__all__ = ["QueueControl"]


class QueueControl:
    """The part of the driver that commands queues."""

    regs: Bar0
    capabilities: Capabilities
    label: str

    if TYPE_CHECKING:

        @property
        def commander(self) -> Commander: ...
        @property
        def handles(self) -> Handles: ...
        @property
        def in_flight(self) -> InFlight: ...
        def check_open(self, operation: str) -> None: ...
        def _queue(self, index: int) -> WorkQueue: ...

    def drain(self, queue: int | None = None, *, pasid: int | None = None) -> None:
        """Wait until all work, that of one queue, or that of a PASID has completed."""
        self._command(Command.DRAIN_ALL, Command.DRAIN_QUEUE, Command.DRAIN_PASID, queue, pasid)

    def abort(self, queue: int | None = None, *, pasid: int | None = None) -> None:
        """Drop work that has not begun: it never completes. Sessions that wait for it time out."""
        self._command(Command.ABORT_ALL, Command.ABORT_QUEUE, Command.ABORT_PASID, queue, pasid)

    def _command(
        self, of_all: Command, of_queue: Command, of_pasid: Command, queue: int | None, pasid: int | None
    ) -> None:
        self.check_open(of_all.name.lower().replace("_", " "))
        if pasid is not None:
            self.commander.run(of_pasid, pasid)
        elif queue is not None:
            self._queue(queue)
            self.commander.run(of_queue, queue_operand(queue))
        else:
            self.commander.run(of_all)

    def occupancy(self, queue: int) -> int:
        """Entries of a queue that are taken: one read."""
        self._queue(queue)
        return queue_entry(self.regs, self.capabilities, queue).STATUS.read().occupancy

    def watch_occupancy(
        self, queue: int, limit: int | None, interrupt: ImsInterrupt | VectorInterrupt | None = None
    ) -> None:
        """Raise ``interrupt`` once the queue holds ``limit`` entries or less; asked again for the next. None: never.

        That it is raised at once where the queue is below the limit already is inferred.
        """
        self._queue(queue)
        if limit is not None and interrupt is None:
            why = "there must be an interrupt to raise: an ImsInterrupt or a VectorInterrupt"
            raise UsageError(f"watch the occupancy of work queue {queue}", device=self.label, why=why)
        entry = queue_entry(self.regs, self.capabilities, queue)
        entry.OCCUPANCY_LIMIT.write(0)
        entry.STATUS.write(interrupt=1)
        if limit is None or interrupt is None:
            return
        if isinstance(interrupt, ImsInterrupt):
            entry.OCCUPANCY_INTERRUPT.write(handle=self.handles.slot(interrupt.slot), ims=1)
            self.in_flight.watch(interrupt.slot)
        else:
            entry.OCCUPANCY_INTERRUPT.write(handle=self.handles.vector(interrupt.vector))
        entry.OCCUPANCY_LIMIT.write(entries=limit, enable=1)
