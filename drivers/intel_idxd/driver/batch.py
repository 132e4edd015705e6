# SPDX-License-Identifier: Apache-2.0
"""Batches: one descriptor that points at a list of others."""

from __future__ import annotations

from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from vfio_ims.errors import VfioImsError
from vfio_ims.native.memory import view_of

from ..hardware.completion import Completion
from ..hardware.descriptors import DESCRIPTOR_SIZE, DsaOpcode, Flag
from ..hardware.status import Status
from .dsa_operations import DsaOperations
from .operation_error import OperationError
from .operations import Request, described
from .records import Record

if TYPE_CHECKING:
    from .operation import Operation
    from .session import Session

__all__ = ["Batch", "BatchRun", "split"]

_COMPLETES = Flag.RECORD_VALID | Flag.RECORD_ALWAYS


def split(count: int, most: int) -> list[int]:
    """Sizes of batches for ``count`` descriptors: at most ``most`` each, none of 1 beside others.

    The device refuses a batch of one: a remainder of one takes a descriptor from the batch before it.
    """
    if count <= most:
        return [count] if count else []
    sizes = [most] * (count // most)
    rest = count % most
    if rest:
        sizes.append(rest)
    if rest == 1:
        sizes[-1] += 1
        sizes[-2] -= 1
    return sizes


class Batch(DsaOperations[int]):
    """Collects operations: each returns its number. ``Flag.FENCE`` on one: it starts when all before it succeeded."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._requests: list[Request] = []
        self.completions: list[Completion] = []
        """What became of each, once the batch has run; a descriptor that a fence held back has status 0."""

    def _run(self, request: Request) -> int:
        self._requests.append(request)
        return len(self._requests) - 1

    def __len__(self) -> int:
        return len(self._requests)

    def run(self) -> BatchRun:
        """Submit what was collected; ``wait()`` or ``await`` it. The batch is empty then."""
        requests, self._requests = self._requests, []
        return BatchRun(self._session, requests, self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._requests:
            self.run().wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None and self._requests:
            await self.run()


class BatchRun:
    """Batches in flight. More operations than a batch may have go in several; a single one goes without a batch."""

    def __init__(self, session: Session, requests: list[Request], batch: Batch) -> None:
        self._session, self._batch = session, batch
        self._names = [request.name for request in requests]
        self._records: list[Record] = []
        self._parts: list[tuple[Operation, int, int]] = []
        self._completions: list[Completion] | None = None
        self._lists = [session.resources.lists.take(DESCRIPTOR_SIZE * len(requests))] if len(requests) > 1 else []
        try:
            self._start_all(requests)
        except BaseException:
            self._give_up()
            raise

    def _start_all(self, requests: list[Request]) -> None:
        first = 0
        for count in split(len(requests), self._session.resources.capabilities.max_batch):
            if count == 1:
                self._parts.append((self._session.start(requests[first]), first, 1))
            else:
                self._parts.append((self._start(requests[first : first + count], first), first, count))
            first += count

    def _give_up(self) -> None:
        """Not all could be submitted: wait for what was, and give the memory back."""
        for operation, _, _ in self._parts:
            try:
                operation.wait(check=False)
            except VfioImsError:
                return  # the device may still write to it
        self._release()

    def _release(self) -> None:
        for record in self._records:
            self._session.resources.records.give_back(record)
        for place in self._lists:
            self._session.resources.lists.give_back(place)

    def _start(self, requests: list[Request], first: int) -> Operation:
        session = self._session
        place = self._lists[0]
        descriptors = bytearray()
        for request in requests:
            record = session.resources.records.take()
            self._records.append(record)
            descriptors += described(request, session.label, _COMPLETES, record.iova)
        at = DESCRIPTOR_SIZE * first
        view_of(place.address + at, len(descriptors))[:] = descriptors
        return session.start(Request(DsaOpcode.BATCH, 0, place.iova + at, 0, len(requests), name="batch"))

    def wait(self, timeout: float | None = None, *, check: bool = True) -> list[Completion]:
        """Block until all have completed; each one's completion. OperationError names the first that failed."""
        if self._completions is None:
            self._check_process()
            self._collect([operation.wait(timeout, check=False) for operation, _, _ in self._parts])
        return self._result(check)

    def __await__(self) -> Generator[object, None, list[Completion]]:
        if self._completions is None:
            self._check_process()
            whole = []
            for operation, _, _ in self._parts:
                try:
                    whole.append((yield from operation.__await__()))
                except OperationError as error:
                    whole.append(error.completion)
            self._collect(whole)
        return self._result(True)

    def _check_process(self) -> None:
        owner = self._session.resources.owner
        if owner.forked:
            owner.check_open("batch")

    def _collect(self, whole: list[Completion]) -> None:
        session, records = self._session, iter(self._records)
        found: list[Completion] = []
        for (_, _, count), completion in zip(self._parts, whole, strict=True):
            if count == 1:
                found.append(completion)
                continue
            for _ in range(count):
                found.append(Completion.read(next(records).address, session.record_size))
        self._release()
        self._whole, self._completions = whole, found
        self._batch.completions = found

    def _result(self, check: bool) -> list[Completion]:
        found = self._completions
        assert found is not None
        if check:
            for number, completion in enumerate(found):
                if completion.status != Status.NONE and not completion.ok:
                    name = f"{self._names[number]} (descriptor {number} of a batch of {len(found)})"
                    raise OperationError.of(name, self._session.label, completion)
            for completion in self._whole:
                if not completion.ok:
                    raise OperationError.of("batch", self._session.label, completion)
        return found
