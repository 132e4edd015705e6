# SPDX-License-Identifier: Apache-2.0
"""Many descriptors on one queue as rows of a compiled plan: stored by one call, their statuses taken by another."""

from __future__ import annotations

import contextlib
import time
import weakref
from array import array
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceTimeout, UsageError
from vfio_ims.interruption import uninterrupted
from vfio_ims.native.lib import CData, native
from vfio_ims.native.memory import view_of
from vfio_ims.native.row_plan import RowPlan
from vfio_ims.native.watch import watch

from ..hardware.completion import Completion
from ..hardware.descriptors import DsaOpcode
from ..hardware.software_error import describe
from ..hardware.status import STATUS_CODE, Status
from .columns import RECORD_AT
from .operation_error import OperationError
from .operations import Request

if TYPE_CHECKING:
    from .columns import Columns
    from .row_session import Drain, RowSession

__all__ = ["RowWork", "not_again"]

_GOOD = bytes((Status.SUCCESS, Status.FALSE_PREDICATE))
_SUCCESS = int(Status.SUCCESS)
_DRAIN = Request(DsaOpcode.DRAIN, name="drain")
_SLICE = 0.1  # seconds of waiting in one compiled call; between them Python sees Ctrl-C


def not_again(*_: CData) -> int:
    """In the place of the compiled calls, where they must not be called."""
    return 0


class RowWork:
    """Rows for one session with columns at ``places``, at most as many as their records have room for.

    Where the session completes by interrupt, a drain behind them raises it: one for all.
    """

    __slots__ = (
        "_interrupts",
        "_last",
        "_place",
        "all_good",
        "c",
        "call",
        "finish",
        "kind",
        "name",
        "no_longer_owned",
        "owner",
        "ready",
        "rows",
        "session",
        "submit_again",
        "take",
        "window",
    )

    def __init__(
        self,
        session: RowSession,
        kind: tuple[object, int],
        places: Sequence[tuple[int, int]],
        no_longer_owned: Callable[[RowWork], None],
    ) -> None:
        self.session, self.kind, self.name = session, kind, ""
        self.no_longer_owned = no_longer_owned
        """Called where its owner looks at it no more."""
        self.owner: weakref.ref[object] | None = None
        """The owner of the results; None: idle. It stays while the rows are under way, also where the owner is gone."""
        self.ready: tuple[object, ...] | None = None
        """What they are laid out for but for the arrays, as ``RowPool.ready`` has it."""
        self._last: Drain | None = None
        self._interrupts, self.all_good = session.notifier.flags != 0, b""
        ffi, lib = native()
        self.finish: Callable[[CData, int, int], int] = lib.row_plan_finish
        self.take: Callable[..., int] = not_again if self._interrupts else lib.row_plan_finish
        """The compiled call that takes the statuses of what has completed, where that is all that there is to do."""
        self.window = session.queue.handle
        self.submit_again: Callable[..., int] = lib.row_plan_again
        """The compiled call that submits them another time, given the window and them."""
        self.call: tuple[int, int, type] | None = None
        """Where both are, for the compiled call that submits them with other arrays; None: there is none."""
        if self._interrupts or self.window is None:
            self.submit_again = not_again
        resources, step, queue = session.resources, session.record_size, session.queue
        with uninterrupted():
            place = resources.lists.take(kind[1])
            self._place = [place]
            self.rows = RowPlan(places, RECORD_AT, queue.page, kind[1] // step, place.address, place.iova, step)
            self.rows.place(queue.portal(ims=session.notifier.ims), pieces=queue.in_pieces)
            self.c = self.rows.c
            if self.submit_again is not not_again:
                window, plan = (int(ffi.cast("uintptr_t", one)) for one in (self.window, self.c))
                self.call = window, plan, array
            resources.in_flight.begin_many(self.rows, queue.index, session, self)

    def lay_out(self, columns: Columns, *, own: bool = True) -> None:
        """Have these descriptors; the arrays are held until the rows are released."""
        self.ready = None
        self.rows.lay_out(columns.pattern, columns.length, columns.values, own=own)
        self.name = columns.name
        if len(self.all_good) != columns.length:
            self.all_good = bytes((_SUCCESS,)) * columns.length

    def submit(self) -> None:
        """Store them; with interrupts, a drain behind them."""
        session = self.session
        if not self._interrupts:
            session.queue.submit_rows(self.rows, ims=False, timeout=session.timeout)
            return
        with uninterrupted():
            self._last = None
            session.queue.submit_rows(self.rows, ims=session.notifier.ims, timeout=session.timeout)
            self._last = session.start(_DRAIN)

    def wait(self, timeout: float | None = None, *, check: bool = True) -> bytes:
        """Block until those under way have completed, and take their statuses; those of the last time where none are.

        OperationError names the first that failed (``check`` False: look at the statuses), DeviceTimeout.
        """
        self.check_process()
        limit = self.session.timeout if timeout is None else timeout
        deadline = time.monotonic() + limit
        if self._last is not None and self.rows.under_way:
            self._last.wait(limit)
        return self._take(max(0.0, deadline - time.monotonic()), check)

    def wait_async(self) -> Generator[object, None, bytes]:
        """Likewise in a task."""
        self.check_process()
        if self.rows.under_way:
            if self._last is None:
                self._last = self.session.start(_DRAIN)
            yield from self._last.__await__()
        return self._take(self.session.timeout, True)

    def _take(self, timeout: float, check: bool) -> bytes:
        if watch.by is None:
            found = self._taken(timeout)
        else:
            with watch.by.looking():
                found = self._taken(timeout)
        if found == self.rows.count:
            return self.all_good
        lib, session, rows = native().lib, self.session, self.rows
        if found == lib.ACCESS_INVALID:
            raise UsageError(f"wait for {self.name}", device=session.label, why="nothing was submitted")
        if found < 0:
            error = describe(session.resources.regs.SWERR.read())
            why = f"{rows.seen} of {rows.stored} have completed in turn" + (f"; {error}" if error else "")
            raise DeviceTimeout(self.name, device=session.label, why=why)
        statuses = rows.statuses
        if check and statuses.translate(None, _GOOD):
            number = next(n for n, status in enumerate(statuses) if status & STATUS_CODE not in _GOOD)
            raise OperationError.of(f"{self.name} number {number}", session.label, self.completion(number))
        return statuses

    def _taken(self, timeout: float) -> int:
        """The compiled call's answer once it is not that some have not completed, or after ``timeout`` seconds."""
        busy = native().lib.ACCESS_BUSY
        found = self.finish(self.c, _SUCCESS, 0)
        deadline = time.monotonic() + timeout
        while found == busy and (left := deadline - time.monotonic()) > 0:
            found = self.finish(self.c, _SUCCESS, int(min(left, _SLICE) * 1e9))
        return found

    def completion(self, number: int) -> Completion:
        """The whole record of one of them."""
        rows = self.rows
        if not 0 <= number < rows.stored:
            why = f"number must be below {rows.stored}, not {number}"
            raise UsageError("look up a completion", device=self.session.label, why=why)
        return Completion(view_of(rows.records + number * rows.step, rows.step).tobytes())

    def words(self, offset: int) -> list[int]:
        """The 32-bit word at ``offset`` of each record."""
        rows = self.rows
        whole = view_of(rows.records, rows.stored * rows.step).cast("I")
        return whole[offset // 4 :: rows.step // 4].tolist()

    @property
    def ended(self) -> bool:
        """Whether nothing is under way: their completions were taken, or are now."""
        return not self.rows.under_way or self.finish(self.c, _SUCCESS, 0) >= 0

    def check_process(self) -> None:
        """ClosedError in a fork of the process that owns the device."""
        owner = self.session.resources.owner
        if owner.forked:
            owner.check_open(self.name)

    def check_results(self) -> None:
        """UsageError unless the last submission's statuses were taken."""
        self.check_process()
        if self.rows.under_way or not self.rows.stored:
            raise UsageError(f"look at {self.name}", device=self.session.label, why="wait for it first")

    def give_back(self) -> None:
        """Give the records back: the device has written them all, and no result uses them."""
        with contextlib.suppress(IndexError):  # they were
            self.session.resources.lists.give_back(self._place.pop())
