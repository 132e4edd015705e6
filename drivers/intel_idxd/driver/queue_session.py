# SPDX-License-Identifier: Apache-2.0
"""Work on one queue: operations that wait, operations in flight, batches."""

from __future__ import annotations

import contextlib
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

from vfio_ims.errors import ClosedError, DeviceBusy, UsageError, VfioImsError
from vfio_ims.interruption import uninterrupted
from vfio_ims.native.access import store

from ..hardware.completion import Completion
from ..hardware.descriptors import RECORD_SIZE, Flag
from .batch import Batch
from .dsa_operations import DsaOperations
from .iaa_operations import IaaOperations
from .iaa_streams import CompressStream, DecompressStream
from .many import Column, ManyOperations
from .notifier import notifier_for
from .operation import Operation
from .operations import Operations, Request, described

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from vfio_ims.dma import Buffer

    from ..hardware.aecs import CompressState
    from .idxd import Idxd
    from .work_queue import WorkQueue

__all__ = ["DsaQueue", "DsaSubmitter", "IaaQueue", "IaaSubmitter", "QueueSession", "Submitter"]

_COMPLETES = Flag.RECORD_VALID | Flag.RECORD_ALWAYS


class Submitter(Operations[Operation]):
    """The operations, in flight: ``wait()`` or ``await`` what they return."""

    def __init__(self, session: QueueSession) -> None:
        self._session = session
        self.submit_many, self.copied = session.submit_many, session.copied

    def _run(self, request: Request) -> Operation:
        return self._session.start(request)


class QueueSession(Operations[Completion]):
    """Made by ``Idxd.wq``. Its own methods wait and return the completion; those of ``submit`` do not wait.

    Closing waits for what is in flight.
    """

    def __init__(
        self, driver: Idxd, queue: WorkQueue, completion: object, timeout: float, pasid: int | None = None
    ) -> None:
        self.driver, self.queue, self.timeout, self.label = driver, queue, timeout, driver.label
        try:
            fine = timeout >= 0
        except TypeError:
            fine = False
        if not fine:  # NaN too
            why = f"timeout must be seconds, not {timeout!r}"
            raise UsageError(f"use work queue {queue.index}", device=driver.label, why=why)
        if pasid is not None and not isinstance(pasid, int):
            why = f"pasid must be None or a number, not {pasid!r}"
            raise UsageError(f"use work queue {queue.index}", device=driver.label, why=why)
        self.pasid = pasid
        if pasid is not None:
            driver.pasids.take(queue, pasid)
        elif queue.pasid is not None:
            why = f"a session uses it for PASID {queue.pasid}"
            raise DeviceBusy(f"use work queue {queue.index}", device=driver.label, why=why)
        elif not queue.dedicated and driver.active.queue(queue.index).pasid is not None:
            why = "the shared queue was configured with PASIDs: each of its requests needs one"
            raise UsageError(f"use work queue {queue.index}", device=driver.label, why=why, hint="wq(..., pasid=N)")
        try:
            self.notifier = notifier_for(driver, completion, pasid)
        except BaseException:
            self._give_queue_back()
            raise
        queue.sessions += 1
        self.record_size = RECORD_SIZE[driver.kind]
        self._in_flight: dict[int, Operation] = {}
        self.many_in_flight: list[ManyOperations] = []
        self._copies: list[Buffer] = []
        self._closed = False

    @cached_property
    def submit(self) -> Submitter:
        """The same operations, each returning an ``Operation`` in flight."""
        return Submitter(self)

    def _run(self, request: Request) -> Completion:
        return self.start(request).wait()

    def submit_many(
        self,
        opcode: int,
        *,
        source: Column = 0,
        destination: Column = 0,
        size: Column = 0,
        flags: int = 0,
        specific: bytes = b"",
        name: str = "",
    ) -> ManyOperations:
        """Submit as many descriptors as the arrays have values: prepared and stored in one compiled call.

        Addresses are arrays of 64-bit numbers (``array("Q")``), sizes of 32-bit ones (``array("I")``), all of one
        length; what is alike for all is one number. The queue's size is kept to: it waits for completions where it
        must. An interrupting session interrupts once, by a drain behind the last.
        """
        self._check_open(name or "submit many")
        return ManyOperations(self, opcode, source, destination, size, flags, specific, name)

    def _check_open(self, operation: str) -> None:
        if self._closed:
            raise ClosedError(operation, device=self.label, why="the session on the work queue was closed")
        self.driver.check_open(operation)

    def start(self, request: Request) -> Operation:
        """Submit one request. UsageError where a value does not fit its field."""
        self._check_open(request.name)
        with uninterrupted():
            record = self.driver.records.take()
            operation = Operation(self, request, record)
            try:
                self._submit(operation)
            except BaseException:
                self._in_flight.pop(record.address, None)
                self.driver.tracker.forget(record)
                self.driver.records.give_back(record)
                raise
            return operation

    def _submit(self, operation: Operation) -> None:
        request, record, notifier = operation.request, operation.record, self.notifier
        handle = operation.handle = notifier.handle()
        flags = _COMPLETES | notifier.flags
        descriptor = described(request, self.label, flags, record.iova, handle=handle, pasid=self.pasid or 0)
        if notifier.slot is not None:
            self.driver.tracker.begin(notifier.slot, record)
        self._in_flight[record.address] = operation
        self.queue.submit(descriptor, record, ims=notifier.ims, timeout=self.timeout)

    def again(self, operation: Operation) -> bool:
        """Submit it with another interrupt handle, where the device has revoked the one that it had."""
        driver, record = self.driver, operation.record
        if not driver.handles.request or record.address not in self._in_flight:
            return False
        with uninterrupted():
            driver.handles.renew(driver.regs)
            if self.notifier.handle() == operation.handle:
                return False
            self.queue.retire(record)
            if self.notifier.slot is not None:
                driver.tracker.settle(record)
            store(record.address, 8, 0)
            self._submit(operation)
            return True

    def copied(self, data: ReadableBuffer) -> Buffer:
        """A buffer with a copy of ``data``, for the device to read: kept until the session closes."""
        self._check_open("copy data for a device")
        try:
            source = memoryview(data).cast("B")
        except TypeError:
            why = f"it must be bytes, or a contiguous array of numbers, not {type(data).__name__}"
            raise UsageError("copy data for a device", device=self.label, why=why) from None
        if not source.nbytes:
            raise UsageError("copy data for a device", device=self.label, why="there is none: 0 bytes")
        buffer = self.driver.device.dma.allocate(source.nbytes)
        buffer.view[:] = source
        self._copies.append(buffer)
        return buffer

    def retire(self, operation: Operation) -> Completion:
        """Take the completion out of the record and give that back; called once the device has written it."""
        record = operation.record
        with uninterrupted():
            completion = Completion.read(record.address, self.record_size)
            if self._in_flight.pop(record.address, None) is not None:
                self.queue.retire(record)
                if self.notifier.slot is not None:
                    self.driver.tracker.settle(record)
                self.driver.records.give_back(record)
        return completion

    def close(self) -> None:
        """Wait for what is in flight, then give the interrupt back. Safe to call again."""
        with uninterrupted():
            if self._closed:
                return
            self._closed = True
            if self.driver.forked:
                return
            try:
                under_way: list[ManyOperations | Operation] = [*self.many_in_flight, *self._in_flight.values()]
                for one in under_way:
                    with contextlib.suppress(VfioImsError):
                        one.wait(check=False)  # Ctrl-C ends the waiting, not the closing
            finally:
                self.queue.sessions -= 1
                try:
                    self.notifier.close()
                finally:
                    self._give_queue_back()
                    for buffer in self._copies:
                        buffer.close()

    def _give_queue_back(self) -> None:
        if self.pasid is not None:
            self.driver.pasids.give_back(self.queue, self.pasid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<work queue {self.queue.index} of {self.label}, {len(self._in_flight)} in flight>"


class DsaSubmitter(Submitter, DsaOperations[Operation]):
    """DSA's operations, in flight."""

    def batch(self) -> Batch:
        """A batch to fill, then ``await batch.run()``."""
        return Batch(self._session)


class DsaQueue(QueueSession, DsaOperations[Completion]):
    """Work for DSA."""

    @cached_property
    def submit(self) -> DsaSubmitter:
        """The same operations, each returning an ``Operation`` in flight."""
        return DsaSubmitter(self)

    def batch(self) -> Batch:
        """``with wq.batch() as batch: batch.fill(...); batch.memmove(...)``: runs when the block ends."""
        return Batch(self)

    async def __aenter__(self) -> DsaSubmitter:
        return self.submit


class IaaSubmitter(Submitter, IaaOperations[Operation]):
    """IAA's operations, in flight."""


class IaaQueue(QueueSession, IaaOperations[Completion]):
    """Work for IAA, which has no batches."""

    @cached_property
    def submit(self) -> IaaSubmitter:
        """The same operations, each returning an ``Operation`` in flight."""
        return IaaSubmitter(self)

    def compress_stream(self, states: Buffer, start: CompressState | None = None) -> CompressStream:
        """``stream.feed(dst, most, src, size)``, the last with ``last=True``: one block in pieces."""
        return CompressStream(self, states, start)

    def decompress_stream(self, states: Buffer) -> DecompressStream:
        """Likewise for decompressing."""
        return DecompressStream(self, states)

    async def __aenter__(self) -> IaaSubmitter:
        return self.submit
