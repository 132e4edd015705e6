# SPDX-License-Identifier: Apache-2.0
"""The row works of one session, used again: laying out records and pattern costs more than submitting them."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from vfio_ims.locks import make_lock

from .row_work import RowWork

if TYPE_CHECKING:
    from .columns import Columns
    from .row_session import RowSession

__all__ = ["RowPool"]

_MOST_READY = 32


class RowPool:
    """The row works of one session: idle ones are used again."""

    def __init__(self, session: RowSession) -> None:
        self._session = session
        self._idle: dict[tuple[object, int], list[RowWork]] = {}
        self.ready: dict[tuple[object, ...], list[RowWork]] = {}
        """Idle ones by what they are laid out for: opcode, flags, and so on."""
        self._lock = make_lock()

    def state(self, results: type) -> tuple[object, ...]:
        """What the compiled ``submit_like`` is given: it takes works out of ``ready`` and makes ``results`` of them."""
        return array, self.ready, results, "owner", "call", "_closed", "_work"

    def take(self, columns: Columns) -> RowWork:
        """One for these columns, laid out with them: the caller's, who gives it an ``owner``, until that is gone."""
        size = columns.length * self._session.record_size
        kind = (columns.places, 4096 if size <= 4096 else 1 << (size - 1).bit_length())
        try:
            work = self._idle[kind].pop()
        except (KeyError, IndexError):
            work = self._reclaimed(kind) or RowWork(self._session, kind, columns.places, self.give_back)
        work.lay_out(columns)
        return work

    def _reclaimed(self, kind: tuple[object, int]) -> RowWork | None:
        """One whose owner went while it was under way, and which has completed since."""
        with self._lock:
            for work in self._all():
                if work.kind == kind and work.owner is not None and work.owner() is None and work.ended:
                    work.owner = None
                    return work
        return None

    def _all(self) -> list[RowWork]:
        rows = self._session.resources.in_flight.rows_of(self._session)
        return [work for work in rows if isinstance(work, RowWork)]

    def give_back(self, work: RowWork) -> None:
        """Its owner looks at it no more. Without a lock: also called where an owner is freed."""
        work.rows.release()
        if work.rows.under_way:
            return  # the device still writes its records
        work.owner = None
        if self._session.closed:
            work.give_back()
        elif work.ready is None or (work.ready not in self.ready and len(self.ready) >= _MOST_READY):
            self._idle.setdefault(work.kind, []).append(work)
        else:
            self.ready.setdefault(work.ready, []).append(work)

    def close(self) -> None:
        """Give all records back that the device will not write and no result uses."""
        self._idle.clear()
        self.ready.clear()
        for work in self._all():
            work.c.ended = 1
            if not work.rows.under_way:
                self._session.resources.in_flight.end_many(work.rows)
                if work.owner is None or work.owner() is None:
                    work.give_back()
