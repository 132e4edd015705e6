# SPDX-License-Identifier: Apache-2.0
"""One user's work on a queue: submitting, retrying, taking completions, and waiting for all at the end."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from vfio_ims.errors import ClosedError, DeviceBusy, UsageError, VfioImsError
from vfio_ims.interruption import uninterrupted
from vfio_ims.native.access import store

from ..hardware.completion import Completion
from ..hardware.descriptors import Flag
from .completion_wait import notifier_for
from .operation import Operation
from .operations import Request, described
from .row_pool import RowPool

if TYPE_CHECKING:
    from vfio_ims.dma import Buffer

    from .resources import Resources
    from .work_queue import WorkQueue

__all__ = ["Session"]

_COMPLETES = Flag.RECORD_VALID | Flag.RECORD_ALWAYS


class Session:
    """The work of one user of a queue. Closing waits for what is in flight."""

    def __init__(
        self, resources: Resources, queue: WorkQueue, completion: object, timeout: float, pasid: int | None = None
    ) -> None:
        self.resources, self.queue, self.timeout, self.label = resources, queue, timeout, resources.label
        try:
            fine = timeout >= 0
        except TypeError:
            fine = False
        if not fine:  # NaN too
            why = f"timeout must be seconds, not {timeout!r}"
            raise UsageError(f"use work queue {queue.index}", device=resources.label, why=why)
        if pasid is not None and not isinstance(pasid, int):
            why = f"pasid must be None or a number, not {pasid!r}"
            raise UsageError(f"use work queue {queue.index}", device=resources.label, why=why)
        self.pasid = pasid
        if pasid is not None:
            resources.pasids.take(queue, pasid)
        elif queue.pasid is not None:
            why = f"a session uses it for PASID {queue.pasid}"
            raise DeviceBusy(f"use work queue {queue.index}", device=resources.label, why=why)
        elif not queue.dedicated and resources.settings.active.queue(queue.index).pasid is not None:
            why = "the shared queue was configured with PASIDs: each of its requests needs one"
            raise UsageError(f"use work queue {queue.index}", device=resources.label, why=why, hint="wq(..., pasid=N)")
        try:
            self.notifier = notifier_for(resources, completion, pasid)
        except BaseException:
            self._give_queue_back()
            raise
        queue.sessions += 1
        self.record_size = resources.records.size
        self.works = RowPool(self)
        """Its operations that were given as arrays."""
        self._copies: list[Buffer] = []
        self.closed = False

    def check_open(self, operation: str) -> None:
        """ClosedError where the session or the device was closed, or belongs to the parent of this forked process."""
        if self.closed:
            raise ClosedError(operation, device=self.label, why="the session on the work queue was closed")
        self.resources.owner.check_open(operation)

    @property
    def unusable(self) -> bool:
        """Whether ``check_open`` would raise."""
        return self.closed or not self.resources.owner.usable

    def start(self, request: Request) -> Operation:
        """Submit one request. UsageError where a value does not fit its field."""
        self.check_open(request.name)
        with uninterrupted():
            record = self.resources.records.take()
            operation = Operation(self, request, record)
            try:
                self._submit(operation)
            except BaseException:
                self.resources.records.give_back(record)
                raise
            return operation

    def _submit(self, operation: Operation) -> None:
        request, record, notifier = operation.request, operation.record, self.notifier
        handle = operation.handle = notifier.handle()
        flags = _COMPLETES | notifier.flags
        descriptor = described(request, self.label, flags, record.iova, handle=handle, pasid=self.pasid or 0)
        self.queue.submit(
            descriptor,
            record,
            ims=notifier.ims,
            timeout=self.timeout,
            slot=notifier.slot,
            session=self,
            work=operation,
        )

    def again(self, operation: Operation) -> bool:
        """Submit it with another interrupt handle, where the device has revoked the one that it had."""
        resources, record = self.resources, operation.record
        if not resources.handles.request or not resources.in_flight.has(record, operation):
            return False
        with uninterrupted():
            resources.handles.renew(resources.regs)
            if self.notifier.handle() == operation.handle:
                return False
            resources.in_flight.end(record, operation)
            store(record.address, 8, 0)
            self._submit(operation)
            return True

    def retire(self, operation: Operation) -> Completion:
        """Take the completion out of the record and give that back; called once the device has written it.

        To be called in an ``uninterrupted`` section.
        """
        record = operation.record
        completion = Completion.read(record.address, self.record_size)
        if self.resources.in_flight.end(record, operation):
            self.resources.records.give_back(record)
        return completion

    def close(self) -> None:
        """Wait for what is in flight, then give the interrupt back. Safe to call again."""
        with uninterrupted():
            if self.closed:
                return
            self.closed = True
            if self.resources.owner.forked:
                return
            try:
                for one in self.resources.in_flight.of_session(self):
                    with contextlib.suppress(VfioImsError):
                        one.wait(check=False)  # Ctrl-C ends the waiting, not the closing
            finally:
                self.queue.sessions -= 1
                self.works.close()
                try:
                    self.notifier.close()
                finally:
                    self._give_queue_back()
                    for buffer in self._copies:
                        buffer.close()

    def _give_queue_back(self) -> None:
        if self.pasid is not None:
            self.resources.pasids.give_back(self.queue, self.pasid)
