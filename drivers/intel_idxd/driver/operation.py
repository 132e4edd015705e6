# SPDX-License-Identifier: Apache-2.0
"""One operation in flight."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

from vfio_ims.interruption import uninterrupted
from vfio_ims.native.access import load

from ..hardware.completion import Completion
from ..hardware.status import Status
from .operation_error import OperationError

if TYPE_CHECKING:
    from .operations import Request
    from .records import Record
    from .session import Session

__all__ = ["Operation"]


class Operation:
    """``wait()`` it, ``await`` it, or look at ``done``. The memory it uses must stay until it has completed."""

    __slots__ = ("_completion", "_session", "handle", "record", "request")

    def __init__(self, session: Session, request: Request, record: Record) -> None:
        self._session, self.request, self.record = session, request, record
        self.handle = -1
        """The interrupt handle that it was submitted with."""
        self._completion: Completion | None = None

    @property
    def name(self) -> str:
        """What errors call it: "memmove"."""
        return self.request.name

    @property
    def done(self) -> bool:
        """Whether the device has completed it: one look at the record."""
        if self._completion is not None:
            return True
        self._check_process()
        return load(self.record.address, 1) != 0

    def wait(self, timeout: float | None = None, *, check: bool = True) -> Completion:
        """Block until it has completed; its completion. ``timeout``: seconds, None: the session's.

        OperationError where the device could not do it (``check`` False: the completion says so), DeviceTimeout.
        """
        if self._completion is None:
            self._check_process()
            limit = self._session.timeout if timeout is None else timeout
            while True:
                if not load(self.record.address, 1):
                    self._session.notifier.wait(self.record, limit, self.name)
                if not self._again():
                    break
            self._finish()
        return self._result(check)

    def __await__(self) -> Generator[object, None, Completion]:
        if self._completion is None:
            self._check_process()
            while True:
                if not load(self.record.address, 1):
                    yield from self._session.notifier.wait_async(self.record).__await__()
                if not self._again():
                    break
            self._finish()
        return self._result(True)

    def _check_process(self) -> None:
        owner = self._session.resources.owner
        if owner.forked:
            owner.check_open(self.name)

    def _again(self) -> bool:
        """Whether it failed because its interrupt handle was revoked, and was submitted again with another."""
        return load(self.record.address, 1) == Status.INTERRUPT_HANDLE and self._session.again(self)

    def _finish(self) -> None:
        with uninterrupted():
            if self._completion is None:
                self._completion = self._session.retire(self)

    def _result(self, check: bool) -> Completion:
        completion = self._completion
        assert completion is not None
        if check and not completion.ok:
            raise OperationError.of(self.name, self._session.label, completion)
        return completion

    def __repr__(self) -> str:
        if self._completion is None and self._session.resources.owner.forked:
            return f"<Operation {self.name}: of another process>"
        return f"<Operation {self.name}: {self._completion or ('done' if self.done else 'in flight')}>"
