# SPDX-License-Identifier: Apache-2.0
"""What many operations have in common that were given as arrays: waiting for them, and their results."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING
from weakref import ref

from vfio_ims.errors import UsageError
from vfio_ims.native.watch import watch

from ..hardware.completion import Completion
from ..hardware.status import Status

if TYPE_CHECKING:
    from .row_session import RowSession
    from .row_work import RowWork

__all__ = ["Results"]

_SUCCESS = int(Status.SUCCESS)


class Results:
    """Rows of a session, held until ``close`` or until this is gone."""

    __slots__ = ("__weakref__", "_closed", "_ended", "_work")

    _work: RowWork
    _ended: tuple[int, bytes]
    """Their number and statuses, kept when they are closed: the work is others' then."""

    def __init__(self, work: RowWork) -> None:
        """As the compiled ``submit_many`` does it."""
        self._closed = False
        work.owner = ref(self)
        self._work = work

    @property
    def _session(self) -> RowSession:
        return self._work.session

    @property
    def length(self) -> int:
        """How many there are."""
        return self._ended[0] if self._closed else self._work.rows.count

    @property
    def name(self) -> str:
        """What errors call it."""
        return self._work.name

    def __len__(self) -> int:
        return self.length

    def wait(self, timeout: float | None = None, *, check: bool = True) -> bytes:
        """Block until all have completed; the status byte of each, read in one compiled call.

        Where not all could be submitted, of those that were. ``timeout``: seconds, None: the session's. OperationError
        names the first that failed (``check`` False: look at the statuses), DeviceTimeout.
        """
        if self._closed:
            return self._ended[1]
        work = self._work
        if watch.by is None and work.take(work.c, _SUCCESS, 0) == work.rows.count:
            return work.all_good
        return work.wait(timeout, check=check)

    def __await__(self) -> Generator[object, None, bytes]:
        if self._closed:
            return self._ended[1]
        return (yield from self._work.wait_async())

    def completion(self, number: int) -> Completion:
        """The whole record of one of them."""
        self._check()
        return self._work.completion(number)

    def words(self, offset: int = 16) -> list[int]:
        """The 32-bit word at ``offset`` of each record: the CRCs, for example."""
        self._check()
        return self._work.words(offset)

    def _check(self) -> None:
        if self._closed:
            raise UsageError(f"look at {self.name}", device=self._session.label, why="it was closed")
        self._work.check_results()

    def close(self) -> None:
        """Give the records back; they are the next one's. Safe to call again.

        While the device still writes to them nothing happens.
        """
        if not self._closed and not self._work.rows.under_way:
            rows = self._work.rows
            self._ended, self._closed = (rows.count, rows.statuses), True
            self._work.no_longer_owned(self._work)

    def __del__(self) -> None:
        if not getattr(self, "_closed", True) and hasattr(self, "_work"):  # absent where Ctrl-C came first of all
            self.close()
