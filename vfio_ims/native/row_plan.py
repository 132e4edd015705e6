# SPDX-License-Identifier: Apache-2.0
"""Rows of 64 bytes that are stored to a portal as often as wanted, with the book of what is under way.

The book is kept in C, in the calls that store and that take completions: Ctrl-C comes before or after one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from vfio_ims.errors import UsageError
from vfio_ims.native.lib import native
from vfio_ims.native.rows import RowColumns

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["ROW", "Page", "RowPlan"]

ROW: Final = 64


class Page:
    """A portal's page of ``size`` bytes: where the next row goes, and whether plans may be submitted again unasked."""

    __slots__ = ("c", "size")

    def __init__(self, size: int) -> None:
        self.size, self.c = size, native().ffi.new("struct row_page *")
        self.c.span = size

    def take(self, count: int = 1, *, whole: bool = False) -> int:
        """Where ``count`` rows go that are stored otherwise; ``whole``: without a turn at the page's end."""
        at = int(self.c.walk)
        if whole and at + ROW * count > self.size:
            at = 0
        self.c.walk = (at + ROW * count) % self.size
        return at

    def close(self) -> None:
        """No plan is submitted again until ``open``, without the lock of its queue: for who holds that."""
        native().lib.row_page_close(self.c)

    def open(self, depth: int) -> None:
        """Plans may be submitted again, while they have no more than ``depth`` entries together."""
        self.c.depth, self.c.open = depth, 1


class RowPlan:
    """At most ``most`` rows with columns at ``places`` (offset, width), and where they complete.

    Row i completes in the record at ``records + i * step``, for the device ``iova + i * step``, which it has at
    ``record_at``. One submission at a time is under way.
    """

    __slots__ = ("_statuses", "_tail", "c", "columns", "count", "most", "page", "records", "step")

    def __init__(
        self,
        places: Sequence[tuple[int, int]],
        record_at: int,
        page: Page,
        most: int,
        records: int,
        iova: int,
        step: int,
    ) -> None:
        ffi, lib = native()
        self.columns = RowColumns(places, [(record_at, 8)])
        self.columns.count_up(0, iova, step)
        self.most, self.records, self.step, self.page, self.count = most, records, step, page, 0
        self._statuses = ffi.new("uint8_t[]", most)
        c = self.c = ffi.new("struct row_plan *")
        c.columns, c.column_count, c.statuses = self.columns.table, self.columns.size, self._statuses
        c.page, c.records, c.record_step = page.c, records, step
        lib.row_plan_own(c)

    def lay_out(self, pattern: bytes, count: int, values: Sequence[ReadableBuffer], *, own: bool = True) -> None:
        """Have ``count`` rows of ``pattern`` with ``values`` in the columns, buffers that are held until ``release``.

        UsageError where they do not hold ``count`` values each: then there are no rows. ``own`` False: for one time,
        and not for who submits them again.
        """
        ffi, lib = native()
        lib.row_plan_bare(self.c)
        self.count = self.c.count = 0
        self.columns.release()
        self.columns.fill(count, values)
        ffi.memmove(self.c.pattern, pattern, ROW)
        lib.row_plan_filled(self.c, own)  # before there are rows again
        self.count = self.c.count = count

    def release(self) -> None:
        """Let go of the buffers: they are read when rows are stored, not later. Waits for who stores them now."""
        if self.columns.holds:
            native().lib.row_plan_bare(self.c)
            self.columns.release()

    def place(self, offset: int, *, pieces: bool) -> None:
        """Store them to the page at ``offset``; ``pieces``: each as eight stores."""
        self.c.offset, self.c.pieces = offset, pieces

    @property
    def pattern(self) -> bytes:
        """What all rows have in common."""
        return bytes(native().ffi.buffer(self.c.pattern))

    @property
    def under_way(self) -> bool:
        """Whether its completions were not all taken."""
        return bool(self.c.under_way)

    @property
    def taken(self) -> bool:
        """Whether its rows count as entries of their queue."""
        return bool(self.c.taken)

    @property
    def stored(self) -> int:
        """How many rows of the last submission were stored."""
        return int(self.c.stored)

    @property
    def seen(self) -> int:
        """How many of those were seen to have completed, in their order."""
        return int(self.c.seen)

    def free(self) -> None:
        """All have completed: they are no entries of the queue any more, their completions were not taken."""
        native().lib.row_plan_free(self.c)

    def lose(self) -> None:
        """What is under way never completes; it may be submitted again."""
        native().lib.row_plan_free(self.c)
        self.c.lost = 1

    def begin(self) -> bool:
        """Book a submission whose rows are stored otherwise; False where one is under way."""
        return native().lib.row_plan_begin(self.c) == 0

    def came_to(self, stored: int) -> None:
        """So many rows were stored by that; none: nothing is under way."""
        self.c.stored = stored
        self.page.c.walk = (self.c.start + ROW * stored) % self.page.size
        if not stored:
            native().lib.row_plan_cancel(self.c)

    def store_by(self, store_rows: Callable[..., int], depth: int, timeout: float) -> int:
        """Store the rows of a submission that was begun by a window's ``store_rows``: how many, as ``came_to``."""
        c = self.c
        try:
            stored = store_rows(
                c.offset, self.pattern, self.count, self.columns, self.records, self.step, depth, timeout,
                start=c.start, span=self.page.size, pieces=bool(c.pieces),
            )  # fmt: skip
        except UsageError:
            self.came_to(0)
            raise
        except BaseException:
            self.came_to(self.count)  # some may have been
            raise
        self.came_to(stored)
        return stored

    def rows(self) -> Iterator[bytes]:
        """Each row, for stores that go singly."""
        row, columns = bytearray(self.pattern), self.columns
        for i in range(self.count):
            for at, values in columns.row(i):
                row[at : at + len(values)] = values
            yield bytes(row)

    @property
    def lost(self) -> bool:
        """Whether a reset has ended what is under way."""
        return bool(self.c.lost)

    @property
    def statuses(self) -> bytes:
        """The first byte of each record, of those that were seen."""
        return bytes(native().ffi.buffer(self._statuses, self.seen))
