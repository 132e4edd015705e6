# SPDX-License-Identifier: Apache-2.0
"""Work on one queue: operations that wait, operations in flight, batches."""

from __future__ import annotations

from functools import cached_property, partial
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from vfio_ims.errors import UsageError
from vfio_ims.interruption import break_off, uninterrupted
from vfio_ims.lifetime import leaving

from ..hardware.completion import Completion
from .batch import Batch
from .columns import Column, Columns, columns_of
from .dsa_operations import DsaOperations
from .iaa_operations import IaaOperations
from .iaa_streams import CompressStream, DecompressStream
from .many import ManyOperations, lay_out_and_submit
from .operation import Operation
from .operations import Operations, Request
from .plan import Plan
from .session import Session

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import ReadableBuffer

    from vfio_ims.dma import Buffer

    from ..hardware.aecs import CompressState
    from .resources import Resources
    from .work_queue import WorkQueue

__all__ = ["DsaQueue", "DsaSubmitter", "IaaQueue", "IaaSubmitter", "QueueSession", "Submitter", "whole"]


class Submitter(Operations[Operation]):
    """The operations, in flight: ``wait()`` or ``await`` what they return."""

    def __init__(self, session: QueueSession) -> None:
        self._session = session
        self.submit_many, self.plan, self.copied = session.submit_many, session.plan, session.copied

    def _run(self, request: Request) -> Operation:
        return self._session.start(request)


class QueueSession(Session, Operations[Completion]):
    """Made by ``Idxd.wq``. Its own methods wait and return the completion; those of ``submit`` do not wait.

    Closing waits for what is in flight.
    """

    def __init__(
        self, resources: Resources, queue: WorkQueue, completion: object, timeout: float, pasid: int | None = None
    ) -> None:
        super().__init__(resources, queue, completion, timeout, pasid)
        self._submitter: Callable[..., ManyOperations] = self.works.submitter(
            ManyOperations,
            partial(QueueSession.submit_many, self),
            QueueSession.submit_many.__kwdefaults__ or {},
            partial(lay_out_and_submit, self),
        )
        if type(self).submit_many is QueueSession.submit_many:
            self.__dict__["submit_many"] = self._submitter  # without a frame for its keywords

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

        The queue's size is kept to: it waits for completions where it must. An interrupting session interrupts once, by
        a drain behind the last. UsageError where arrays have different lengths.

        Args:
            opcode: of all of them, ``DsaOpcode`` or ``IaaOpcode``.
            source: addresses, an array of 64-bit numbers (``array("Q")``), or one for all.
            destination: likewise.
            size: bytes, an array of 32-bit numbers (``array("I")``), or one for all.
            flags: descriptor flags of all, beside those of the completion.
            specific: the operation's own fields of all, as the descriptor has them from byte 40 on.
            name: what errors call it.
        """
        return self._submitter(
            opcode, source=source, destination=destination, size=size, flags=flags, specific=specific, name=name
        )

    def plan(
        self,
        opcode: int,
        *,
        source: Column = 0,
        destination: Column = 0,
        size: Column = 0,
        flags: int = 0,
        specific: bytes = b"",
        name: str = "",
    ) -> Plan:
        """Prepare what ``submit_many`` would submit: ``plan.submit()`` does so as often as wanted.

        Nothing is submitted yet. UsageError as there; the arguments are the same, too. A plan lives no longer than its
        session.

        Args:
            opcode: of all of them, ``DsaOpcode`` or ``IaaOpcode``.
            source: addresses, an array of 64-bit numbers (``array("Q")``), or one for all.
            destination: likewise.
            size: bytes, an array of 32-bit numbers (``array("I")``), or one for all.
            flags: descriptor flags of all, beside those of the completion.
            specific: the operation's own fields of all, as the descriptor has them from byte 40 on.
            name: what errors call it.
        """
        self.check_open(name or "plan operations")
        label, pasid = self.label, self.pasid or 0

        def encode(fields: tuple[Column, Column, Column]) -> Columns:
            return columns_of(label, opcode, fields, flags, specific, pasid=pasid, name=name, operation="plan")

        return Plan(self, (source, destination, size), encode)

    def copied(self, data: ReadableBuffer) -> Buffer:
        """A buffer with a copy of ``data``, for the device to read: kept until the session closes."""
        self.check_open("copy data for a device")
        try:
            source = memoryview(data).cast("B")
        except TypeError:
            why = f"it must be bytes, or a contiguous array of numbers, not {type(data).__name__}"
            raise UsageError("copy data for a device", device=self.label, why=why) from None
        if not source.nbytes:
            raise UsageError("copy data for a device", device=self.label, why="there is none: 0 bytes")
        buffer = self.resources.device.dma.allocate(source.nbytes)
        buffer.view[:] = source
        self._copies.append(buffer)
        return buffer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leaving(error)
        self.close()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leaving(error)
        self.close()

    def __repr__(self) -> str:
        count = len(self.resources.in_flight.of_session(self))
        return f"<work queue {self.queue.index} of {self.label}, {count} in flight>"


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
        return DecompressStream(self.submit, states)

    async def __aenter__(self) -> IaaSubmitter:
        return self.submit


_Kind = TypeVar("_Kind", bound=QueueSession)


def whole(
    kind: type[_Kind], resources: Resources, queue: WorkQueue, completion: object, timeout: float, pasid: int | None
) -> _Kind:
    """A session of that kind; closed again where Ctrl-C was pressed meanwhile, since no other code has it.

    Args:
        kind: DsaQueue or IaaQueue.
        resources: the device's.
        queue: where it submits.
        completion: how completions are noticed, as ``Dsa.wq`` has it.
        timeout: seconds that one operation may take.
        pasid: its requests' tag, or None.
    """
    with uninterrupted():
        session = kind(resources, queue, completion, timeout, pasid)
        try:
            break_off()
        except BaseException:
            session.close()
            raise
    return session
