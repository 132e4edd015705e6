# SPDX-License-Identifier: Apache-2.0
"""How a modelled engine executes a descriptor: checks, the operation, the completion record, the interrupt."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace

from vfio_ims.errors import BusFault
from vfio_ims.messages import FireStatus

from ..hardware.descriptors import RECORD_SIZE, SPECIFIC_SIZE, Descriptor, DsaOpcode, Flag
from ..hardware.events import Event
from ..hardware.status import FAULT_WAS_WRITE, STATUS_CODE, Status
from ..hardware.tables import Permission
from .batch import run_batch
from .dsa_operations import DRAIN_FLAGS, EVERY_FIELD, ModelOperation
from .injected_failures import InjectedFailures
from .interrupt_handles import InterruptHandles
from .memory import Defer, Memory, PageFault
from .reporter import Reporter
from .result import DONE, Result, faulted
from .state import ModelState
from .work import Work

__all__ = ["Executor"]

log = logging.getLogger(__name__)
_NOTHING, _NOP = bytes(SPECIFIC_SIZE), int(DsaOpcode.NOP)
_NOT_IN_BATCHES = (DsaOpcode.BATCH, DsaOpcode.DRAIN)
_ALWAYS_ALLOWED = int(
    Flag.FENCE | Flag.RECORD_VALID | Flag.RECORD_ALWAYS | Flag.INTERRUPT | Flag.RECORD_STEERING | Flag.RECORD_CLASS
)
_INTERRUPT, _RECORD, _ALWAYS = int(Flag.INTERRUPT), int(Flag.RECORD_VALID), int(Flag.RECORD_ALWAYS)
_BLOCK, _STATUS = int(Flag.BLOCK_ON_FAULT), int(STATUS_CODE)
_FINE = (int(Status.SUCCESS), int(Status.FALSE_PREDICATE))
_PAGE_FAULT, _BAD_ALIGN, _BAD_HANDLE = (
    int(Status.PAGE_FAULT),
    int(Status.COMPLETION_ALIGN),
    int(Status.INTERRUPT_HANDLE),
)
_CLASSES = Flag.ADDRESS1_CLASS | Flag.ADDRESS2_CLASS | Flag.ADDRESS3_CLASS | Flag.RECORD_CLASS


class Executor:
    """One descriptor at a time, by the handlers of ``operations``, which has one for each opcode that engines do.

    The state's lock is held for each access of memory and for the end, not throughout.
    """

    def __init__(
        self,
        state: ModelState,
        handles: InterruptHandles,
        reporter: Reporter,
        operations: Mapping[int, ModelOperation],
        failures: InjectedFailures,
    ) -> None:
        self._state, self._handles, self._reporter = state, handles, reporter
        self._operations, self._failures = operations, failures
        self.record_size = RECORD_SIZE[state.characteristics.kind]
        self._done = DONE.head(self.record_size)
        general = state.characteristics.general
        self._missing_flags = (
            (0 if general.cache_control_memory else Flag.CACHE_CONTROL)
            | (0 if general.drain_readback else DRAIN_FLAGS)
            | (0 if general.destination_readback else Flag.READBACK)
            | (0 if general.block_on_fault else Flag.BLOCK_ON_FAULT)
        )

    def run(self, work: Work, descriptor: Descriptor, index: int | None, *, quick: bool = False) -> int:
        """Do a descriptor and complete it: ``work``'s own (``index`` None), or one of its batch. Its status.

        ``quick``: raises Defer, with nothing done, where its memory is not at hand.
        """
        result = self._check(work, descriptor, index)
        if result is None:
            try:
                if descriptor.opcode == _NOP:
                    result = DONE
                else:
                    result = self.operate(Memory(self._state, work.pasid, quick=quick), work, descriptor)
            except PageFault as fault:
                result = faulted(fault, fault.done)
            except Defer:
                raise
            except Exception:
                log.exception("%s: the model failed in operation %#x", self._state.name, descriptor.opcode)
                result = Result(Status.HARDWARE)
            if descriptor.flags & _BLOCK and result.status & _STATUS == _PAGE_FAULT:
                # The device requests the page; no page request is ever granted here.
                result = replace(result, status=result.status & FAULT_WAS_WRITE | Status.PAGE_REQUEST)
            if self._failures.any:
                with self._state.lock:
                    failure = self._failures.status_of(descriptor)
                if failure:
                    result = Result(failure, fault=descriptor.source if failure == Status.TRANSLATION else 0)
        with self._state.lock:
            self._complete(work, descriptor, index, result)
        return result.status

    def operate(self, memory: Memory, work: Work, descriptor: Descriptor) -> Result:
        """Do one operation. Raises PageFault where a handler has no more to say of it."""
        if descriptor.opcode == DsaOpcode.BATCH:
            return run_batch(memory, work, descriptor, self.run)
        operation = self._operations.get(descriptor.opcode)
        if operation is None:
            return Result(Status.OPCODE)
        if operation.sized and not operation.least <= descriptor.size <= work.queue.max_transfer:
            return Result(Status.SIZE)
        return operation.handler(memory, descriptor)

    # --- checks -------------------------------------------------------------------------------------------------------

    def _check(self, work: Work, descriptor: Descriptor, index: int | None) -> Result | None:
        """What is wrong with it before anything is done; None where nothing is."""
        flags, sound = descriptor.flags, work.queue.sound
        form = flags << 9 | descriptor.opcode << 1 | (index is None)
        bare = descriptor.specific == _NOTHING and not (descriptor.extra or descriptor.reserved)
        if form not in sound or descriptor.privileged or not bare:
            wrong = self._check_form(work, descriptor, index)
            if wrong is not None:
                return wrong
            sound.add(form)
        elif flags & _RECORD and descriptor.record % self.record_size:
            return Result(Status.COMPLETION_ALIGN)
        if flags & _INTERRUPT:
            with self._state.lock:
                if not self._may_interrupt(work, descriptor.handle):
                    return Result(Status.INTERRUPT_HANDLE)
        return None

    def _check_form(self, work: Work, descriptor: Descriptor, index: int | None) -> Result | None:
        """As ``_check``, all but the interrupt handle.

        What it says of flags and opcode goes by them and the queue alone: found in order once, they stay so.
        """
        state, flags = self._state, descriptor.flags
        if not work.queue.operations >> descriptor.opcode & 1 or (
            index is not None and descriptor.opcode in _NOT_IN_BATCHES
        ):
            return Result(Status.OPCODE)
        invalid = flags & ~(_ALWAYS_ALLOWED | self._flags_of(descriptor.opcode))
        if flags & Flag.RECORD_ALWAYS and not flags & Flag.RECORD_VALID:
            invalid |= Flag.RECORD_ALWAYS
        if flags & Flag.BLOCK_ON_FAULT and not work.queue.block_on_fault:
            invalid |= Flag.BLOCK_ON_FAULT
        if flags & Flag.FENCE and index is None:
            invalid |= Flag.FENCE
        if invalid:
            return Result(Status.FLAGS, invalid_flags=int(invalid))
        if flags & Flag.RECORD_VALID and descriptor.record % self.record_size:
            return Result(Status.COMPLETION_ALIGN)
        if descriptor.reserved or self._unknown_fields(descriptor):
            return Result(Status.RESERVED)
        classes = work.queue.classes
        used = 1 << classes[0] | (1 << classes[1] if flags & _CLASSES else 0)
        if used & ~state.characteristics.traffic_classes:
            return Result(Status.TRAFFIC_CLASS)
        if descriptor.privileged and not work.queue.dedicated and not work.queue.privileged:
            return Result(Status.PRIVILEGE)
        return None

    def _flags_of(self, opcode: int) -> int:
        """Flags that the operation allows beside those of completion, as far as the device has them."""
        operation = self._operations.get(opcode)
        if operation is None:
            return Flag.ADDRESS1_CLASS | Flag.BLOCK_ON_FAULT if opcode == DsaOpcode.BATCH else 0
        missing = self._missing_flags
        return operation.flags & ~(missing if opcode == DsaOpcode.DRAIN else missing & ~DRAIN_FLAGS)

    def _unknown_fields(self, descriptor: Descriptor) -> bool:
        """Whether a byte that means nothing to the operation is not 0."""
        if _unused(descriptor):
            return False
        operation = self._operations.get(descriptor.opcode)
        if operation is None or operation.fields == EVERY_FIELD:
            return operation is None
        return bool(descriptor.extra) or any(
            byte and not operation.fields >> at & 1 for at, byte in enumerate(descriptor.specific)
        )

    def _may_interrupt(self, work: Work, handle: int) -> bool:
        index = self._handles.index(handle, ims=work.ims)
        if index is None:
            return False
        if work.ims:
            slot = self._state.slots.slot(index)
            return slot.ignore or slot.pasid == work.pasid
        entry = self._state.permissions[index].get(Permission.ENTRY)
        return bool(entry.ignore) or (entry.pasid if entry.pasid_enable else None) == work.pasid

    # --- the end ------------------------------------------------------------------------------------------------------

    def _complete(self, work: Work, descriptor: Descriptor, index: int | None, result: Result) -> None:
        """The record first, the interrupt after it."""
        flags, status = descriptor.flags, result.status
        failed = status not in _FINE
        recorded = flags & _RECORD and status != _BAD_ALIGN
        if recorded and (failed or flags & _ALWAYS or status):
            self._record(work, descriptor, index, result)
        elif failed and not recorded:
            self._report(work, descriptor, index, result, status & ~FAULT_WAS_WRITE)
        if flags & _INTERRUPT and status != _BAD_HANDLE:
            self._interrupt(work, descriptor)

    def _record(self, work: Work, descriptor: Descriptor, index: int | None, result: Result) -> None:
        bus = self._state.bus()
        if bus is None:
            return
        at = descriptor.record
        try:
            if result is DONE:
                bus.write(at, self._done, work.pasid)
            elif result.plain:
                bus.write(at, result.head(self.record_size), work.pasid)
            else:
                whole = result.record(self.record_size)
                bus.write(at + 8, whole[8:], work.pasid)  # the status byte last: its poller may read the rest
                bus.write(at, whole[:8], work.pasid)
        except BusFault:
            self._report(work, descriptor, index, result, Status.COMPLETION_ADDRESS, write=True)

    def _report(
        self, work: Work, descriptor: Descriptor, index: int | None, result: Result, error: int, *, write: bool = False
    ) -> None:
        about_record = error in (Status.COMPLETION_ALIGN, Status.COMPLETION_ADDRESS)
        address = descriptor.record if about_record else result.fault
        self._reporter.software_error(
            Event(
                error,
                work.queue.index,
                descriptor.opcode,
                work.pasid or 0,
                index,
                address,
                write or bool(result.status & FAULT_WAS_WRITE),
                result.invalid_flags,
                descriptor.handle if error == Status.INTERRUPT_HANDLE else None,
                work.ims,
                result.record(self.record_size) if error == Status.COMPLETION_ADDRESS else b"",
            )
        )

    def _interrupt(self, work: Work, descriptor: Descriptor) -> None:
        index = self._handles.index(descriptor.handle, ims=work.ims)
        if index is None:
            return
        if not work.ims:
            self._state.raise_vector(index)
        elif self._state.slots.fire(index, work.pasid) is not FireStatus.REFUSED:
            self._handles.fired()


def _unused(descriptor: Descriptor) -> bool:
    """Whether the operation's own fields are 0, which suits every operation."""
    return descriptor.specific == _NOTHING and not descriptor.extra
