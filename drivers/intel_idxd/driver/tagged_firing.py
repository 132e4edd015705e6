# SPDX-License-Identifier: Apache-2.0
"""Raising slots by work that is tagged with a PASID: no-ops without a completion record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from vfio_ims.driver import FireReport
from vfio_ims.errors import check_index
from vfio_ims.ims import FireStatus
from vfio_ims.interruption import uninterrupted
from vfio_ims.locks import make_lock

from ..hardware.commands import Command, queue_operand
from ..hardware.descriptors import DESCRIPTOR, DsaOpcode, Flag
from ..hardware.registers import Bar0
from ..hardware.software_error import acknowledge, describe

if TYPE_CHECKING:
    from vfio_ims.registers import RegisterValue

    from ..hardware.events import Event
    from .fire_reports import FireReports
    from .resources import Resources
    from .work_queue import WorkQueue

__all__ = ["TaggedFiring"]

_AT_ONCE = 64
_PASIDS = 1 << 20
_VALID = Bar0.SWERR.fields["valid"].mask
_UNRECORDED = Flag.INTERRUPT | DsaOpcode.NOP << 24
_NOTHING = bytes(24)


@lru_cache(maxsize=32)  # a test provokes the same one over and over
def _refusal(error: RegisterValue) -> FireReport:
    return FireReport(FireStatus.REFUSED, describe(error), error.error)


class TaggedFiring:
    """One queue is given the PASID, which its memory need not be attached to; the queue is drained and SWERR is read.

    ``queues``: the dedicated ones, as the driver has them after each reset. ``event_about`` takes the event log's
    entries about bad handles, and returns the first.
    """

    def __init__(
        self,
        resources: Resources,
        queues: Sequence[WorkQueue],
        reports: FireReports,
        event_about: Callable[[int, Sequence[int]], Event | None],
    ) -> None:
        self._resources, self._queues, self._reports, self._event_about = resources, queues, reports, event_about
        self._handles, self._in_flight, self._regs = resources.handles, resources.in_flight, resources.regs
        self.lock = make_lock()
        """Held while one is under way."""

    def fire(self, slot: int, pasid: int) -> FireReport:
        """Give one queue ``pasid``, send a no-op without a record, drain the queue, and read the reported error."""
        self._reports.check((slot,))
        if type(pasid) is not int or not 0 <= pasid < _PASIDS:  # asked here: it is of every fire
            check_index(pasid, _PASIDS, "pasid", f"fire slot {slot}", self._resources.label)
        with uninterrupted(), self.lock:
            queue = self._queues[-1]
            self._in_flight.watch(slot)
            try:
                refusal = self._send(queue, (slot,), pasid)
                if refusal is not None and self._handles.request and self._handles.renew(self._regs):
                    refusal = self._send(queue, (slot,), pasid)
            finally:
                self._in_flight.unwatch(slot, fired=True)
            return self._reports.of(slot) if refusal is None else refusal

    def fire_many(self, slots: Sequence[int], pasid: int) -> list[FireReport]:
        """As ``fire``, the queue drained once for as many as it has entries: a refusal is all of theirs.

        One by one where handles can be revoked: those that were raised before that must not be raised again.
        """
        if len(slots) == 1 or len(set(slots)) < len(slots) or self._handles.request:
            return [self.fire(slot, pasid) for slot in slots]
        self._reports.check(slots)
        check_index(pasid, _PASIDS, "pasid", "fire slots", self._resources.label)
        queue, reports = self._queues[-1], list[FireReport]()
        most = min(_AT_ONCE, queue.size)
        for first in range(0, len(slots), most):
            part = slots[first : first + most]
            with uninterrupted(), self.lock:
                self._in_flight.watch_all(part)
                try:
                    refusal = self._send(queue, part, pasid)
                finally:
                    self._in_flight.unwatch_all(part)
                reports += self._reports.of_each(part) if refusal is None else [refusal] * len(part)
        return reports

    def _send(self, queue: WorkQueue, slots: Sequence[int], pasid: int) -> FireReport | None:
        """The device's refusal of any of ``slots``, from SWERR or the event log; None where it has none.

        The queue keeps the PASID until it is wanted for other work: giving it back costs more than the fire.
        """
        regs, settings, pack = self._regs, self._resources.settings, DESCRIPTOR.pack
        handles = self._handles.slots(slots)
        with queue.lock:
            queue.page.close()
            acknowledge(regs)
            if queue.loan is None or queue.loan[0] != pasid:
                settings.set_pasid(queue, pasid)
                queue.loan = pasid, lambda: settings.set_pasid(queue, queue.pasid)
            descriptors = [pack(0, _UNRECORDED, 0, 0, 0, 0, handle, 0, _NOTHING) for handle in handles]
            queue.submit_unrecorded(descriptors, ims=True)
            self._resources.commander.run(Command.DRAIN_QUEUE, queue_operand(queue.index))
            error = regs.SWERR.read()  # one look at all of it: an error of this fire is whole by now
            event = self._event_about(queue.index, handles)
        if event is not None:
            return FireReport(FireStatus.REFUSED, str(event), event.error)
        if not error & _VALID:
            return None
        acknowledge(regs)
        return _refusal(error)
