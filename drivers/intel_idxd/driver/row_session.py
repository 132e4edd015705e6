# SPDX-License-Identifier: Apache-2.0
"""What work in rows needs of the session that submits it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from .completion_wait import Notifier
    from .operations import Request
    from .resources import Resources
    from .work_queue import WorkQueue

__all__ = ["Drain", "RowSession"]


class Drain(Protocol):
    """The operation behind the rows that raises their one interrupt."""

    def wait(self, timeout: float | None = None) -> object:
        """Block until it has completed, for at most ``timeout`` seconds."""
        ...

    def __await__(self) -> Generator[object, None, object]: ...


class RowSession(Protocol):
    """A session on a work queue, as its rows know it."""

    resources: Resources
    queue: WorkQueue
    notifier: Notifier
    timeout: float
    label: str
    record_size: int
    closed: bool

    def check_open(self, operation: str) -> None:
        """ClosedError where the session or the device was closed."""
        ...

    def start(self, request: Request) -> Drain:
        """Submit one operation of its own."""
        ...
