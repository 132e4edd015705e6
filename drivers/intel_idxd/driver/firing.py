# SPDX-License-Identifier: Apache-2.0
"""Raising interrupts on request: no-ops whose completion interrupt is the slot or vector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from vfio_ims.driver import FireReport
from vfio_ims.errors import DeviceError, VfioImsError
from vfio_ims.ims import FireStatus
from vfio_ims.interruption import uninterrupted
from vfio_ims.locks import held_together, make_lock
from vfio_ims.native.access import clear_each, load, load_each, store

from ..hardware.descriptors import DESCRIPTOR, DsaOpcode, Flag
from ..hardware.status import STATUS_CODE, Status, status_text
from .fire_reports import FireReports
from .records import Record
from .tagged_firing import TaggedFiring
from .work_queue import wait_for_record

if TYPE_CHECKING:
    from ..hardware.events import Event
    from .resources import Resources
    from .work_queue import WorkQueue

__all__ = ["Firing"]

_LOCKS = 64
_AT_ONCE = 64
_WAIT = "wait for a no-op"
_TIMEOUT = 5.0
_UNDER_WAY = 0  # the status of a record that is not written yet
_RECORDED = (Flag.RECORD_VALID | Flag.RECORD_ALWAYS | Flag.INTERRUPT) | DsaOpcode.NOP << 24
_NOTHING = bytes(24)


class Firing:
    """One completion record a slot. Different slots fire at once from several threads; one slot's fires take turns.

    ``queues``: the dedicated ones, as the driver has them after each reset.
    """

    def __init__(
        self,
        resources: Resources,
        queues: Sequence[WorkQueue],
        event_about: Callable[[int, Sequence[int]], Event | None],
    ) -> None:
        self._resources, self._queues = resources, queues
        self._handles, self._in_flight, self._regs = resources.handles, resources.in_flight, resources.regs
        self._reports = reports = FireReports(resources)
        self.tagged = TaggedFiring(resources, queues, reports, event_about)
        """Fires of work with a PASID."""
        self._slots, self._size = reports.slots, resources.records.size
        vectors = resources.device.interrupts.msix.count
        self._buffer = resources.device.dma.allocate((self._slots + vectors) * self._size)
        self._address = self._buffer.address
        self._memory: memoryview | None = self._buffer.view
        self._known: dict[int, Record] = {}  # by number: made when they are first asked for
        self._late: set[int] = set()  # records of no-ops that no call waits for
        self._locks = [make_lock() for _ in range(_LOCKS)]

    def fire(self, slot: int) -> FireReport:
        self._reports.check((slot,))
        handles = self._handles
        with uninterrupted(), self._locks[slot % _LOCKS]:
            record = self._record(slot)
            if self._late:
                self._await_late(record)
            status = self._run(handles.slot(slot), record, slot, slot=slot)
            if status & STATUS_CODE == Status.INTERRUPT_HANDLE and handles.request and self._revoked():
                status = self._run(handles.slot(slot), record, slot, slot=slot)
            if status != Status.SUCCESS:
                return FireReport(FireStatus.REFUSED, status_text(status), status)
            return self._reports.of(slot)

    def fire_many(self, slots: Sequence[int]) -> list[FireReport]:
        """Each of ``slots`` once, as many at once as the smallest queue has entries."""
        self._reports.check(slots)
        if len(slots) == 1 or len(set(slots)) < len(slots):  # a slot has one record
            return [self.fire(slot) for slot in slots]
        most = min([_AT_ONCE, *[queue.size for queue in self._queues]])
        if 0 < len(slots) <= most:
            return self._fire_together(slots)
        reports: list[FireReport] = []
        for first in range(0, len(slots), most):
            reports += self._fire_together(slots[first : first + most])
        return reports

    def _fire_together(self, slots: Sequence[int]) -> list[FireReport]:
        handles, reports = self._handles, dict[int, FireReport]()
        locks = [self._locks[number] for number in sorted({slot % _LOCKS for slot in slots})]
        with uninterrupted(), held_together(locks):  # in order: two calls never wait for each other
            records = self._all_records(slots)
            if self._late:
                for record in records:
                    self._await_late(record)
            statuses = self._run_all(handles.slots(slots), records, slots)
            if statuses.count(Status.SUCCESS) == len(statuses):
                return self._reports.of_each(slots)
            for slot, record, status in zip(slots, records, statuses, strict=True):
                if status & STATUS_CODE == Status.INTERRUPT_HANDLE and handles.request:
                    self._revoked()  # or another slot's fire has seen it
                    status = self._run(handles.slot(slot), record, slot, slot=slot)
                if status != Status.SUCCESS:
                    reports[slot] = FireReport(FireStatus.REFUSED, status_text(status), status)
            sent = [slot for slot in slots if slot not in reports]
            reports.update(zip(sent, self._reports.of_each(sent), strict=True))
        return [reports[slot] for slot in slots]

    def _run_all(self, handles: Sequence[int], records: Sequence[Record], slots: Sequence[int]) -> list[int]:
        """No-ops in one store that complete into ``records``; the status byte of each."""
        queue, pack = self._queues[slots[0] % len(self._queues)], DESCRIPTOR.pack
        places = [record.address for record in records]
        clear_each(places, 8)
        descriptors = [
            pack(0, _RECORDED, record.iova, 0, 0, 0, handle, 0, _NOTHING)
            for handle, record in zip(handles, records, strict=True)
        ]
        queue.submit_all(b"".join(descriptors), records, slots, ims=True)
        statuses = [_UNDER_WAY] * len(records)
        try:
            statuses = load_each(places, 1)
            while _UNDER_WAY in statuses:
                first = statuses.index(_UNDER_WAY)
                wait_for_record(self._regs, records[first], _TIMEOUT, _WAIT)
                statuses[first:] = load_each(places[first:], 1)
        except VfioImsError:
            for record in records[statuses.index(_UNDER_WAY) :]:
                self._in_flight.free(record)
            raise
        except BaseException:  # Ctrl-C: the device has these no-ops still, and will write the records
            if _UNDER_WAY in statuses:
                self._late.update(places[statuses.index(_UNDER_WAY) :])
            raise
        finally:
            ended = statuses.index(_UNDER_WAY) if _UNDER_WAY in statuses else len(statuses)
            self._all_done(records[:ended], statuses[:ended])
        return statuses

    def _all_done(self, records: Sequence[Record], statuses: Sequence[int]) -> None:
        """``_done`` of each."""
        if statuses.count(Status.SUCCESS) == len(statuses):
            self._in_flight.end_all(records)
            return
        for record, status in zip(records, statuses, strict=True):
            self._done(record, status)

    def _done(self, record: Record, status: int) -> None:
        if status == Status.SUCCESS:
            self._in_flight.end(record)
        else:
            self._in_flight.cancel(record)  # it has raised nothing

    def _record(self, number: int) -> Record:
        """The record of a slot, or of a vector behind the slots; one of the locks is held."""
        found = self._known.get(number)
        if found is not None:
            return found
        at = number * self._size
        if self._memory is None:
            self._resources.owner.check_open("fire")
            raise AssertionError("closed with its driver")
        record = self._known[number] = Record(self._address + at, self._buffer.iova + at, self._memory)
        return record

    def _all_records(self, slots: Sequence[int]) -> list[Record]:
        """``_record`` of each of ``slots``."""
        known = self._known
        return [known.get(slot) or self._record(slot) for slot in slots]

    def _run(self, handle: int, record: Record, number: int, *, slot: int | None) -> int:
        """A no-op that completes into ``record``; its status byte."""
        queue = self._queues[number % len(self._queues)]
        store(record.address, 8, 0)
        descriptor = DESCRIPTOR.pack(0, _RECORDED, record.iova, 0, 0, 0, handle, 0, _NOTHING)
        queue.submit(descriptor, record, ims=slot is not None, slot=slot)
        try:
            status = load(record.address, 1) or wait_for_record(self._regs, record, _TIMEOUT, _WAIT)
        except VfioImsError:
            self._in_flight.free(record)
            raise
        except BaseException:  # Ctrl-C: the device has the no-op still, and will write the record
            self._late.add(record.address)
            raise
        self._done(record, status)
        return status

    def _await_late(self, record: Record) -> None:
        """What an earlier fire did not wait for has to complete before its record can be used again."""
        if record.address in self._late:
            wait_for_record(self._regs, record, _TIMEOUT, "wait for an earlier no-op")
            self._in_flight.end(record)
            self._late.discard(record.address)

    def _revoked(self) -> bool:
        """Whether the device has taken all interrupt handles back; then they are requested anew."""
        return self._handles.renew(self._regs)

    def fire_vector(self, vector: int) -> None:
        with uninterrupted(), self._locks[vector % _LOCKS]:
            record = self._record(self._slots + vector)
            self._await_late(record)
            status = self._run(self._handles.vector(vector), record, vector, slot=None)
        if status != Status.SUCCESS:
            raise DeviceError(f"fire vector {vector}", device=self._resources.label, why=status_text(status))

    # --- resets and the end -------------------------------------------------------------------------------------------

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No fire is under way within, and those that come wait: for a reset, which loses what is in flight."""
        with held_together((self.tagged.lock, *self._locks)):
            yield
            self._late.clear()

    def close(self) -> None:
        """Give the memory back, once no fire is under way; those that come later raise ClosedError."""
        with self.paused():
            self._memory = None
            self._known.clear()
        self._buffer.close()
