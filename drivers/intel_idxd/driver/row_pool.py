# SPDX-License-Identifier: Apache-2.0
"""The row works of one session, used again: laying out records and pattern costs more than submitting them."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vfio_ims.locks import make_lock
from vfio_ims.native.lib import calls

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
        self._last: list[object] = [None]
        self._lock = make_lock()

    def submitter(
        self, results: type, method: Callable[..., object], keywords: dict[str, Any], otherwise: Callable[..., object]
    ) -> Callable[..., Any]:
        """A compiled ``submit_many``: it takes works out of ``ready``, submits them and makes results of them.

        Args:
            results: their type.
            method: submit_many itself, which says what is wrong with arguments.
            keywords: its keywords in their order, with what they are where they are not given.
            otherwise: does what it does not: ``lay_out_and_submit`` for one session.
        """
        names = "owner", "call", "_closed", "_work"
        by_python = method, tuple(keywords), tuple(keywords.values()), otherwise
        return calls().submitter((array, self.ready, self._last, results, *names, *by_python))

    def take(self, columns: Columns) -> RowWork:
        """One for these columns, laid out with them: the caller's, who gives it an ``owner``, until that is gone."""
        size = columns.length * self._session.record_size
        kind = (columns.places, 4096 if size <= 4096 else 1 << (size - 1).bit_length())
        try:
            work = self._idle[kind].pop()
        except (KeyError, IndexError):
            work = self._reclaimed(kind) or RowWork(self._session, kind, columns.places, self.give_back)
        try:
            work.lay_out(columns)
        except BaseException:
            self.give_back(work)
            raise
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
        for works in self.ready.values():
            works.clear()  # the last list is known elsewhere, too
        self.ready.clear()
        for work in self._all():
            work.c.ended = 1
            if not work.rows.under_way:
                self._session.resources.in_flight.end_many(work.rows)
                if work.owner is None or work.owner() is None:
                    work.give_back()
