# SPDX-License-Identifier: Apache-2.0
"""Raising interrupts on request: no-ops whose completion interrupt is the slot or vector."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING

from vfio_ims.driver import FireReport
from vfio_ims.errors import DeviceError, VfioImsError, check_index
from vfio_ims.ims import FireStatus
from vfio_ims.interruption import uninterrupted
from vfio_ims.locks import held_together, make_lock
from vfio_ims.native.access import clear_each, load, load_each, store

from ..hardware.commands import Command, queue_operand
from ..hardware.descriptors import DESCRIPTOR, DsaOpcode, Flag
from ..hardware.registers import Bar0
from ..hardware.software_error import acknowledge, describe
from ..hardware.status import STATUS_CODE, Status, status_text
from ..hardware.tables import SLOTS
from .records import Record
from .work_queue import wait_for_record

if TYPE_CHECKING:
    from vfio_ims.registers import RegisterValue

    from ..hardware.events import Event
    from .resources import Resources
    from .work_queue import WorkQueue

__all__ = ["Firing"]

_LOCKS = 64
_AT_ONCE = 64
_WAIT = "wait for a no-op"
_TIMEOUT = 5.0
_PASIDS = 1 << 20
_UNDER_WAY = 0  # the status of a record that is not written yet
_VALID = Bar0.SWERR.fields["valid"].mask
_SENT, _PENDING = FireReport(FireStatus.SENT, code=1), FireReport(FireStatus.PENDING, code=1)
_RECORDED = (Flag.RECORD_VALID | Flag.RECORD_ALWAYS | Flag.INTERRUPT) | DsaOpcode.NOP << 24
_UNRECORDED = (Flag.INTERRUPT) | DsaOpcode.NOP << 24
_NOTHING = bytes(24)
_CONTROL, _MASKED, _HELD = SLOTS.control or 0, 1 << (SLOTS.mask or 0), 1 << (SLOTS.pending or 0)
_SETTLE = 0.001  # seconds in which a masked slot's pending bit follows the completion record [inferred]


@lru_cache(maxsize=32)  # a test provokes the same one over and over
def _refusal(error: RegisterValue) -> FireReport:
    return FireReport(FireStatus.REFUSED, describe(error), error.error)


class Firing:
    """One completion record a slot. Different slots fire at once from several threads; one slot's fires take turns.

    ``queues``: the dedicated ones, as the driver has them after each reset. ``event_about`` takes the event log's
    entries about bad handles, and returns the first.
    """

    def __init__(
        self,
        resources: Resources,
        queues: Sequence[WorkQueue],
        event_about: Callable[[int, Sequence[int]], Event | None],
    ) -> None:
        self._resources, self._queues, self._event_about = resources, queues, event_about
        self._handles, self._in_flight, self._tagged = resources.handles, resources.in_flight, make_lock()
        self._regs = resources.regs
        layout = resources.capabilities.slot_layout
        self._layout, self._slots = layout or SLOTS, 0 if layout is None else layout.count
        self._size = resources.records.size
        vectors = resources.device.interrupts.msix.count
        self._buffer = resources.device.dma.allocate((self._slots + vectors) * self._size)
        self._address = self._buffer.address
        self._memory: memoryview | None = self._buffer.view
        self._known: dict[int, Record] = {}  # by number: made when they are first asked for
        self._late: set[int] = set()  # records of no-ops that no call waits for
        self._locks = [make_lock() for _ in range(_LOCKS)]
        self._bar = resources.device.bar(self._layout.bar)

    def fire(self, slot: int) -> FireReport:
        self._check(slot)
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
            return self._sent(slot)

    def fire_many(self, slots: Sequence[int]) -> list[FireReport]:
        """Each of ``slots`` once, as many at once as the smallest queue has entries."""
        self._check_all(slots)
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
                return self._all_sent(slots)
            for slot, record, status in zip(slots, records, statuses, strict=True):
                if status & STATUS_CODE == Status.INTERRUPT_HANDLE and handles.request:
                    self._revoked()  # or another slot's fire has seen it
                    status = self._run(handles.slot(slot), record, slot, slot=slot)
                if status != Status.SUCCESS:
                    reports[slot] = FireReport(FireStatus.REFUSED, status_text(status), status)
            sent = [slot for slot in slots if slot not in reports]
            reports.update(zip(sent, self._all_sent(sent), strict=True))
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

    def _check_all(self, slots: Sequence[int]) -> None:
        count = self._slots
        for slot in slots:
            if type(slot) is not int or not 0 <= slot < count:  # asked here: it is of every slot
                self._check(slot)

    def _check(self, slot: int) -> None:
        check_index(slot, self._slots, "slot", "fire a slot", self._resources.label)

    def _sent(self, slot: int) -> FireReport:
        """The record says that the interrupt was raised; the slot's control word, whether it was held back."""
        control = self._bar.read32(self._layout.offset + slot * self._layout.stride + _CONTROL)
        return self._judge(slot, control)

    def _all_sent(self, slots: Sequence[int]) -> list[FireReport]:
        """As ``_sent``: the control words are read in one compiled call."""
        at = self._layout.offset + _CONTROL
        words = memoryview(self._bar.read_table(at, self._layout.stride, array("I", slots))).cast("I")
        return [
            self._judge(slot, control) if control & _MASKED else _PENDING if control & _HELD else _SENT
            for slot, control in zip(slots, words, strict=True)
        ]

    def _judge(self, slot: int, control: int) -> FireReport:
        if control & _MASKED and not control & _HELD:
            place = self._layout.offset + slot * self._layout.stride + _CONTROL
            control = self._bar.poll(place, 4, _HELD, _HELD, _SETTLE)
        return _PENDING if control & _HELD else _SENT

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

    # --- with a PASID -------------------------------------------------------------------------------------------------

    def fire_tagged(self, slot: int, pasid: int) -> FireReport:
        """Give one queue ``pasid``, send a no-op without a record, drain the queue, and read the reported error."""
        self._check_all((slot,))
        if type(pasid) is not int or not 0 <= pasid < _PASIDS:  # asked here: it is of every fire
            check_index(pasid, _PASIDS, "pasid", f"fire slot {slot}", self._resources.label)
        with uninterrupted(), self._tagged:
            queue = self._queues[-1]
            self._in_flight.watch(slot)
            try:
                refusal = self._send_tagged(queue, (slot,), pasid)
                if refusal is not None and self._handles.request and self._revoked():
                    refusal = self._send_tagged(queue, (slot,), pasid)
            finally:
                self._in_flight.unwatch(slot, fired=True)
            return self._sent(slot) if refusal is None else refusal

    def fire_many_tagged(self, slots: Sequence[int], pasid: int) -> list[FireReport]:
        """As ``fire_tagged``, the queue drained once for as many as it has entries: a refusal is all of theirs.

        One by one where handles can be revoked: those that were raised before that must not be raised again.
        """
        if len(slots) == 1 or len(set(slots)) < len(slots) or self._handles.request:
            return [self.fire_tagged(slot, pasid) for slot in slots]
        self._check_all(slots)
        check_index(pasid, _PASIDS, "pasid", "fire slots", self._resources.label)
        queue, reports = self._queues[-1], list[FireReport]()
        most = min(_AT_ONCE, queue.size)
        for first in range(0, len(slots), most):
            part = slots[first : first + most]
            with uninterrupted(), self._tagged:
                self._in_flight.watch_all(part)
                try:
                    refusal = self._send_tagged(queue, part, pasid)
                finally:
                    self._in_flight.unwatch_all(part)
                reports += self._all_sent(part) if refusal is None else [refusal] * len(part)
        return reports

    def _send_tagged(self, queue: WorkQueue, slots: Sequence[int], pasid: int) -> FireReport | None:
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

    # --- resets and the end -------------------------------------------------------------------------------------------

    @contextmanager
    def paused(self) -> Iterator[None]:
        """No fire is under way within, and those that come wait: for a reset, which loses what is in flight."""
        with held_together((self._tagged, *self._locks)):
            yield
            self._late.clear()

    def close(self) -> None:
        """Give the memory back, once no fire is under way; those that come later raise ClosedError."""
        with self.paused():
            self._memory = None
            self._known.clear()
        self._buffer.close()
