# SPDX-License-Identifier: Apache-2.0
"""Many operations at once: given as arrays, stored and harvested by compiled calls."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, TypeAlias

from vfio_ims.counted import counted
from vfio_ims.errors import DeviceTimeout, UsageError
from vfio_ims.interruption import uninterrupted
from vfio_ims.native.access import collect
from vfio_ims.native.memory import view_of

from ..hardware.completion import Completion
from ..hardware.descriptors import DsaOpcode, Flag
from ..hardware.software_error import describe
from ..hardware.status import STATUS_CODE, Status
from .operation_error import OperationError
from .operations import Request, described
from .rows import Rows

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from .operation import Operation
    from .session import Session

__all__ = ["Column", "ManyOperations"]

Column: TypeAlias = "ReadableBuffer | int"
"""A value for each descriptor (an ``array`` is a buffer), or one for all."""

_COLUMNS = ((0x10, 8), (0x18, 8), (0x20, 4))
_PLACES = tuple(tuple(column for bit, column in enumerate(_COLUMNS) if shape >> bit & 1) for shape in range(8))
"""By which of source, destination and size are arrays: offset and width of each in a descriptor."""
_COMPLETES = Flag.RECORD_VALID | Flag.RECORD_ALWAYS
_GOOD = bytes((Status.SUCCESS, Status.FALSE_PREDICATE))
_SUCCESS = bytes((Status.SUCCESS,))
_DRAIN = Request(DsaOpcode.DRAIN, name="drain")


class ManyOperations(Rows):
    """``wait()`` or ``await`` gives each one's status byte. Results stay readable until ``close``.

    Where the session completes by interrupt, a drain behind them raises it: one for all.
    """

    __slots__ = ("_closed", "_last", "_place", "_session", "_statuses", "name")

    def __init__(
        self,
        session: Session,
        opcode: int,
        source: Column,
        destination: Column,
        size: Column,
        flags: int,
        specific: bytes,
        name: str,
    ) -> None:
        self._closed = True
        self._statuses: bytearray | None = None
        self._last: Operation | None = None
        for number in (opcode, flags):
            if not isinstance(number, int):
                why = f"opcode and flags must be numbers, not {number!r}"
                raise UsageError("submit many", device=session.label, why=why)
        self._session, self.name = session, name or f"operation {opcode:#x}"
        shape, values = 0, []
        if not isinstance(source, int):
            values.append(source)
            shape, source = 1, 0
        if not isinstance(destination, int):
            values.append(destination)
            shape, destination = shape | 2, 0
        if not isinstance(size, int):
            values.append(size)
            shape, size = shape | 4, 0
        self.places, self.values = _PLACES[shape], values
        if not values:
            why = "at least one of source, destination and size must be an array"
            raise UsageError(f"submit many: {self.name}", device=session.label, why=why)
        for (_, width), column in zip(self.places, values, strict=True):
            self._check_column(column, width)
        count = self.count = memoryview(values[0]).nbytes // self.places[0][1]
        if not count:
            raise UsageError(f"submit many: {self.name}", device=session.label, why="the arrays are empty")
        step = self.step = session.record_size
        request = Request(opcode, flags, source, destination, size, specific=specific, name=self.name)
        self.pattern = described(request, session.label, _COMPLETES, 0, pasid=session.pasid or 0)
        lists, notifier = session.resources.lists, session.notifier
        with uninterrupted():
            place = self._place = lists.take(count * step)
            self.records, self.iova = place.address, place.iova
            self._closed = False
            try:
                session.queue.submit_rows(self, ims=notifier.ims, timeout=session.timeout, session=session, work=self)
            except BaseException as error:
                if isinstance(error, UsageError) or not self.count:  # nothing was stored
                    session.resources.in_flight.end_many(self)
                    self._closed = True
                    lists.give_back(place)
                raise
            if notifier.flags:
                self._last = session.start(_DRAIN)

    def _check_column(self, column: Any, width: int) -> None:
        """UsageError unless it is a buffer of whole numbers of ``width`` bytes, or of bytes."""
        try:
            view = memoryview(column)
        except TypeError:
            what = type(column).__name__
        else:
            if view.itemsize in (1, width) and view.format[-1] not in "efd":
                return
            what = f"one of {view.itemsize} bytes each, format {view.format!r}"
        why = f"a column must be one number or an array of numbers of {counted(width, 'byte')}, not {what}"
        hint = f'array("{"Q" if width == 8 else "I"}", [...]), of addresses: buffer.iova'
        raise UsageError(f"submit many: {self.name}", device=self._session.label, why=why, hint=hint)

    def __len__(self) -> int:
        return self.count

    def wait(self, timeout: float | None = None, *, check: bool = True) -> bytearray:
        """Block until all have completed; the status byte of each, read in one compiled call.

        OperationError names the first that failed (``check`` False: look at the statuses), DeviceTimeout.
        """
        self._check_process()
        if self._statuses is None:
            limit = self._session.timeout if timeout is None else timeout
            deadline = time.monotonic() + limit
            if self._last is not None:
                self._last.wait(limit)
            self._harvest(max(0.0, deadline - time.monotonic()))
        return self._result(check)

    def __await__(self) -> Generator[object, None, bytearray]:
        self._check_process()
        if self._statuses is None:
            if self._last is None:
                self._last = self._session.start(_DRAIN)
            yield from self._last.__await__()
            self._harvest(self._session.timeout)
        return self._result(True)

    def _harvest(self, timeout: float) -> None:
        found = collect(self.records, self.step, self.count, timeout)
        if len(found) < self.count:
            session = self._session
            error = describe(session.resources.regs.SWERR.read())
            why = f"{len(found)} of {self.count} have completed in turn" + (f"; {error}" if error else "")
            raise DeviceTimeout(self.name, device=session.label, why=why)
        with uninterrupted():
            if self._statuses is None:
                self._statuses = found
                self._session.resources.in_flight.end_many(self)

    def _result(self, check: bool) -> bytearray:
        statuses = self._statuses
        assert statuses is not None
        if check and statuses != _SUCCESS * self.count and statuses.translate(None, _GOOD):
            number = next(n for n, status in enumerate(statuses) if status & STATUS_CODE not in _GOOD)
            raise OperationError.of(f"{self.name} number {number}", self._session.label, self.completion(number))
        return statuses

    def completion(self, number: int) -> Completion:
        """The whole record of one of them."""
        self._check()
        if not 0 <= number < self.count:
            why = f"number must be below {self.count}, not {number}"
            raise UsageError("look up a completion", device=self._session.label, why=why)
        return Completion(view_of(self.records + number * self.step, self.step).tobytes())

    def words(self, offset: int = 16) -> list[int]:
        """The 32-bit word at ``offset`` of each record: the CRCs, for example."""
        self._check()
        whole = view_of(self.records, self.count * self.step).cast("I")
        return whole[offset // 4 :: self.step // 4].tolist()

    def _check_process(self) -> None:
        owner = self._session.resources.owner
        if owner.forked:
            owner.check_open(self.name)

    def _check(self) -> None:
        self._check_process()
        if self._closed or self._statuses is None:
            why = "it was closed" if self._closed else "wait for it first"
            raise UsageError(f"look at {self.name}", device=self._session.label, why=why)

    def close(self) -> None:
        """Give the records back; they are the next one's. Safe to call again."""
        if not self._closed and self._statuses is not None:
            self._closed = True
            self._session.resources.lists.give_back(self._place)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True):  # absent where Ctrl-C came first of all
            self.close()
