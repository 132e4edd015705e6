# SPDX-License-Identifier: Apache-2.0
"""Many operations at once: given as arrays, stored and harvested by compiled calls."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, TypeAlias

from vfio_ims.errors import DeviceTimeout, UsageError
from vfio_ims.native.access import collect, fill
from vfio_ims.native.memory import view_of

from .completion import Completion, OperationError
from .descriptors import DESCRIPTOR, Flag
from .software_error import describe
from .status import STATUS_CODE, Status
from .work_queue import Rows

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from .operation import Operation
    from .queue_session import QueueSession

__all__ = ["Column", "ManyOperations"]

Column: TypeAlias = "ReadableBuffer | int"
"""A value for each descriptor (an ``array`` is a buffer), or one for all."""

_RECORD_AT, _SOURCE_AT, _DESTINATION_AT, _SIZE_AT = 0x08, 0x10, 0x18, 0x20
_COMPLETES = Flag.RECORD_VALID | Flag.RECORD_ALWAYS
_GOOD = bytes((Status.SUCCESS, Status.FALSE_PREDICATE))


class ManyOperations:
    """``wait()`` or ``await`` gives each one's status byte. Results stay readable until ``close``.

    Where the session completes by interrupt, a drain behind them raises it: one for all.
    """

    def __init__(
        self,
        session: QueueSession,
        opcode: int,
        source: Column,
        destination: Column,
        size: Column,
        flags: int,
        specific: bytes,
        name: str,
    ) -> None:
        self._statuses: bytearray | None = None
        self._last: Operation | None = None
        self._closed = False
        self._session, self.name = session, name or f"operation {opcode:#x}"
        columns: list[tuple[int, int, ReadableBuffer | range]] = []
        source = self._column(columns, _SOURCE_AT, 8, source)
        destination = self._column(columns, _DESTINATION_AT, 8, destination)
        size = self._column(columns, _SIZE_AT, 4, size)
        count = self.count = self._length(columns)
        step = self._step = session.record_size
        place = self._place = session.driver.lists.take(count * step)
        fill(place.address, 0, count * step)
        columns.append((_RECORD_AT, 8, range(place.iova, place.iova + count * step, step)))
        what = flags | _COMPLETES | opcode << 24
        pattern = DESCRIPTOR.pack(session.pasid or 0, what, 0, source, destination, size, 0, 0, specific)
        self._rows = Rows(pattern, count, columns, place.address, step)
        session.many_in_flight.append(self)
        session.queue.submit_rows(self._rows, ims=session.notifier.ims, timeout=session.timeout)
        if session.notifier.flags:
            self._last = session.submit.drain()

    @staticmethod
    def _column(
        columns: list[tuple[int, int, ReadableBuffer | range]], at: int, width: int, values: ReadableBuffer | int
    ) -> int:
        """A number for the pattern: 0 where there is a column."""
        if isinstance(values, int):
            return values
        columns.append((at, width, values))
        return 0

    def _length(self, columns: list[tuple[int, int, ReadableBuffer | range]]) -> int:
        sizes = [(memoryview(values).nbytes, width) for _, width, values in columns if not isinstance(values, range)]
        lengths = {size // width for size, width in sizes}
        if len(lengths) != 1 or any(size % width for size, width in sizes):
            why = f"the arrays must be of one length, addresses of 8 bytes, sizes of 4, not {sorted(lengths)}"
            raise UsageError(f"submit many: {self.name}", device=self._session.label, why=why)
        (count,) = lengths
        if not count:
            raise UsageError(f"submit many: {self.name}", device=self._session.label, why="the arrays are empty")
        return count

    def __len__(self) -> int:
        return self.count

    def wait(self, timeout: float | None = None, *, check: bool = True) -> bytearray:
        """Block until all have completed; the status byte of each, read in one compiled call.

        OperationError names the first that failed (``check`` False: look at the statuses), DeviceTimeout.
        """
        if self._statuses is None:
            limit = self._session.timeout if timeout is None else timeout
            deadline = time.monotonic() + limit
            if self._last is not None:
                self._last.wait(limit)
            self._harvest(max(0.0, deadline - time.monotonic()))
        return self._result(check)

    def __await__(self) -> Generator[object, None, bytearray]:
        if self._statuses is None:
            if self._last is None:
                self._last = self._session.submit.drain()
            yield from self._last.__await__()
            self._harvest(self._session.timeout)
        return self._result(True)

    def _harvest(self, timeout: float) -> None:
        found = collect(self._rows.records, self._step, self.count, timeout)
        if len(found) < self.count:
            session = self._session
            error = describe(session.driver.regs.SWERR.read())
            why = f"{len(found)} of {self.count} have completed in turn" + (f"; {error}" if error else "")
            raise DeviceTimeout(self.name, device=session.label, why=why)
        self._statuses = found
        self._session.queue.retire_rows(self._rows)
        self._session.many_in_flight.remove(self)

    def _result(self, check: bool) -> bytearray:
        statuses = self._statuses
        assert statuses is not None
        if check and statuses.translate(None, _GOOD):
            number = next(n for n, status in enumerate(statuses) if status & STATUS_CODE not in _GOOD)
            raise OperationError.of(f"{self.name} number {number}", self._session.label, self.completion(number))
        return statuses

    def completion(self, number: int) -> Completion:
        """The whole record of one of them."""
        self._check()
        if not 0 <= number < self.count:
            why = f"number must be below {self.count}, not {number}"
            raise UsageError("look up a completion", device=self._session.label, why=why)
        return Completion(view_of(self._rows.records + number * self._step, self._step).tobytes())

    def words(self, offset: int = 16) -> list[int]:
        """The 32-bit word at ``offset`` of each record: the CRCs, for example."""
        self._check()
        whole = view_of(self._rows.records, self.count * self._step).cast("I")
        return whole[offset // 4 :: self._step // 4].tolist()

    def _check(self) -> None:
        if self._closed or self._statuses is None:
            why = "it was closed" if self._closed else "wait for it first"
            raise UsageError(f"look at {self.name}", device=self._session.label, why=why)

    def close(self) -> None:
        """Give the records back; they are the next one's. Safe to call again."""
        if not self._closed and self._statuses is not None:
            self._closed = True
            self._session.driver.lists.give_back(self._place)

    def __del__(self) -> None:
        self.close()
