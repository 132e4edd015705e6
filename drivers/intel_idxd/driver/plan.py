# SPDX-License-Identifier: Apache-2.0
"""A prepared plan: many operations that are checked and encoded once, and submitted as often as wanted."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Self

from vfio_ims.counted import counted
from vfio_ims.errors import UsageError
from vfio_ims.locks import make_rlock
from vfio_ims.native.lib import calls, native
from vfio_ims.native.outcome import refusal

from .results import Results
from .row_work import not_again

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .columns import Column, Columns
    from .session import Session

__all__ = ["Plan"]

_NONE = 0xFF
"""No column."""
_NOWHERE = 0, 0, object


class Plan(Results):
    """``plan.submit()`` and ``plan.wait()`` (or ``await plan``), again and again: one submission at a time.

    The arrays are the plan's until it is closed: they are read at each ``submit``, so that numbers that were changed in
    place count, and they cannot grow or shrink. Results are those of the last submission.
    """

    __slots__ = (
        "_again",
        "_c",
        "_call",
        "_columns",
        "_count",
        "_encode",
        "_foreign",
        "_lock",
        "_places",
        "_window",
        "_with",
    )

    def __init__(
        self,
        session: Session,
        fields: tuple[Column, Column, Column],
        encode: Callable[[tuple[Column, Column, Column]], Columns],
    ) -> None:
        self._encode, self._columns = encode, (fields, encode(fields))
        self._lock = make_rlock()
        self._foreign = False
        """Whether the rows have, or may have, other addresses than the plan's own."""
        super().__init__(session.works.take(self._columns[1]))
        work = self._work
        self._again, self._window, self._c, self._count = work.submit_again, work.window, work.c, work.rows.count
        self._call, self._with = work.call or _NOWHERE, not_again if work.call is None else calls().submit_plan
        columns = count()
        self._places = bytes(_NONE if isinstance(field, int) else next(columns) for field in fields)
        """Of source, destination and size: which column of the rows it is."""

    def submit(
        self, *, source: Column | None = None, destination: Column | None = None, size: Column | None = None
    ) -> Self:
        """Submit all operations, in one compiled call where the portal is mapped; returns the plan.

        ``source``, ``destination``, ``size``: others than the plan's for this time only, of the same length: an array
        for an array, a number for a number. UsageError where the last submission was not waited for, DeviceTimeout
        where not all could be stored in the session's time: ``wait`` is for those that were.
        """
        answer = 0
        if source is None and destination is None and size is None:
            answer = self._again(self._window, self._c)
        else:
            answer = self._with(self._call, self._places, source, destination, size)
        if answer == self._count:
            return self
        return self._submit((source, destination, size), answer)

    def _submit(self, others: tuple[Column | None, Column | None, Column | None], answer: int) -> Self:
        """Do it where the compiled call did not, or say why that ``answer`` was its last."""
        operation = f"submit {self.name}"
        with self._lock:  # one thread's addresses are not another's
            if self._closed:
                raise UsageError(operation, device=self._session.label, why="the plan was closed")
            self._session.check_open(operation)
            if answer < 0 and answer != native().lib.ACCESS_BUSY and self.in_flight:
                raise refusal(answer, operation, self._session.label)
            if self._foreign or any(other is not None for other in others):
                self._lay_out(others)
            try:
                self._work.submit()
            finally:
                if self._foreign:
                    self._work.rows.release()
        return self

    def _lay_out(self, others: tuple[Column | None, Column | None, Column | None]) -> None:
        (fields, own), work = self._columns, self._work
        if work.rows.under_way and not work.rows.lost:
            raise self._session.queue.still_in_flight()
        foreign = any(other is not None for other in others)
        columns = own
        if foreign:
            source, destination, size = (
                one if other is None else other for one, other in zip(fields, others, strict=True)
            )
            columns = self._encode((source, destination, size))
            if (columns.places, columns.length) != (own.places, own.length):
                why = (
                    f"arrays must be given for its arrays, of {counted(own.length, 'value')} each, "
                    "and numbers for its numbers"
                )
                raise UsageError(f"submit {self.name}", device=self._session.label, why=why, hint="make another plan")
        self._foreign, self._again, self._with = True, not_again, not_again  # also where Ctrl-C comes in between
        work.lay_out(columns, own=not foreign)
        if not foreign:
            self._foreign, self._again = False, work.submit_again
            self._with = not_again if work.call is None else calls().submit_plan

    def close(self) -> None:
        """Give arrays and records back. Safe to call again. While the device still writes to them nothing happens.

        Waits for another thread that submits it.
        """
        with self._lock:
            if not self._work.rows.under_way:
                self._again = self._with = not_again
            super().close()

    @property
    def in_flight(self) -> bool:
        """Whether it was submitted, and not waited for since."""
        return self._work.rows.under_way

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.in_flight and error is None:
            self.wait()
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._closed else "in flight" if self.in_flight else "idle"
        return f"<plan of {counted(len(self), 'operation')}, {self.name}: {state}>"
