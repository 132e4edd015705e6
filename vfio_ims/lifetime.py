# SPDX-License-Identifier: Apache-2.0
"""Who owns what, and in which order it is closed: children first, each once, never by a forked child."""

from __future__ import annotations

import atexit
import contextlib
import functools
import itertools
import os
import sys
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self, TypeVar

from vfio_ims.errors import ClosedError, RemovedError, UsageError
from vfio_ims.interruption import uninterrupted
from vfio_ims.locks import make_lock

__all__ = ["LEAVING", "Owner", "close_at_exit", "closing_because", "leaving"]

_PACKAGE = str(Path(__file__).parent)
_PLUMBING = (functools.__file__, contextlib.__file__)  # called by us, and calling us, on another function's behalf
_closing = make_lock()
_reason: ContextVar[str | None] = ContextVar("_reason", default=None)


LEAVING: list[Callable[[BaseException], None]] = []
"""Called with an error that ends a ``with`` block, before the device or part of one is closed; none, as a rule."""


def leaving(error: BaseException | None) -> None:
    """A ``with`` block ends by ``error``; None: it does not."""
    if error is not None:
        for notify in list(LEAVING):
            notify(error)


@contextmanager
def closing_because(reason: str) -> Iterator[None]:
    """What is closed within is said to have been closed by ``reason``, instead of by a line of code."""
    token = _reason.set(reason)
    try:
        yield
    finally:
        _reason.reset(token)


def _caller() -> str:
    """The nearest frame outside the package, as ``file:line``."""
    frame = sys._getframe(1)
    while frame.f_back is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_PACKAGE) and file not in _PLUMBING:
            break
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


class _Process:
    """Which process this is: asking the kernel costs more than a register access."""

    pid = os.getpid()


def _forked() -> None:
    _Process.pid = os.getpid()


os.register_at_fork(after_in_child=_forked)


_Child = TypeVar("_Child", bound="Owner")


class Owner:
    """Something that holds a resource of a device. A subclass releases it in ``_release``, once.

    ``close`` is idempotent and closes children first, newest first. Use after it raises ClosedError naming who closed
    it. In a forked child every use raises, and nothing is released there: it is the parent's device. Ctrl-C waits until
    a close is done; a second one breaks it off. It cannot be copied or pickled: each resource has one owner.
    """

    def __init__(self, label: str, parent: Owner | None = None) -> None:
        self.label = label
        self._pid = _Process.pid
        self._made_by = _caller()
        self._children: list[weakref.ref[Owner]] = []
        self._closed_by: str | None = None  # last: one that Ctrl-C broke off before this was never made
        if parent is not None:
            parent._children = [child for child in parent._children if child() is not None]
            parent._children.append(weakref.ref(self))

    def closes_with(self, other: Owner) -> None:
        """Close this before ``other``, too: what it uses of that one's goes with it."""
        other._children = [child for child in other._children if child() is not None]
        other._children.append(weakref.ref(self))

    @property
    def closed(self) -> bool:
        return self._closed_by is not None

    @property
    def usable(self) -> bool:
        """Whether ``check_open`` would be silent: for callers whose operation takes time to word."""
        return self._closed_by is None and self._pid == _Process.pid

    @property
    def forked(self) -> bool:
        """Whether it belongs to the process that this one was forked from: its memory is not mapped here."""
        return self._pid != _Process.pid

    def check_open(self, operation: str) -> None:
        """Raise ClosedError where this is closed, or belongs to the process that this one was forked from."""
        if self._closed_by is not None:
            raise ClosedError(operation, device=self.label, why=f"closed by {self._closed_by}")
        if self._pid != _Process.pid:
            raise ClosedError(
                operation,
                device=self.label,
                why=f"it belongs to process {self._pid}, this one is a fork of it",
                hint="open the device in the child, or start workers with the spawn method",
            )

    def close(self) -> None:
        """Release everything; safe to call again and from several threads.

        Everything is tried, whatever fails; then the first failure is raised. That the device is gone is none.
        """
        with uninterrupted():
            with _closing:
                if self._closed_by is not None:
                    return
                self._closed_by = _reason.get() or _caller()
            if self._pid != _Process.pid:
                return
            failures = self._end_children()
            try:
                self._release()
            except RemovedError:
                pass
            except Exception as failure:  # noqa: BLE001
                failures.append(failure)
            if failures:
                raise failures[0]

    def open_children(self, kind: type[_Child]) -> list[_Child]:
        """What was made from this, is of ``kind`` and is open: oldest first."""
        children = (child() for child in list(self._children))
        return [child for child in children if isinstance(child, kind) and not child.closed]

    def close_children(self) -> None:
        """Close what was made from this, newest first, and stay open; failures as in ``close``."""
        self.check_open("close what is open of it")
        with uninterrupted():
            failures = self._end_children()
            if failures:
                raise failures[0]

    def _end_children(self) -> list[Exception]:
        failures: list[Exception] = []
        for reference in reversed(self._children):
            child = reference()
            if child is not None:
                try:
                    child.close()
                except RemovedError:
                    continue
                except Exception as failure:  # noqa: BLE001 - the others are closed all the same; the caller raises it
                    failures.append(failure)
        self._children.clear()
        return failures

    def _release(self) -> None:
        """Give the resource back; called once, with every child closed."""

    def __enter__(self) -> Self:
        self.check_open("use")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leaving(error)
        self.close()

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise UsageError(
            "copy or pickle",
            device=self.label,
            why="it owns a resource, which one of two copies would take from the other",
            hint="hand on the object itself; another process opens the device by its name",
        )

    def __del__(self) -> None:
        if getattr(self, "_closed_by", "never made") is not None or self._pid != _Process.pid or sys.is_finalizing():
            return  # when the interpreter ends, its other threads are frozen: what they hold is never given back
        self._warn()
        try:
            self.close()
        except Exception:  # noqa: BLE001 - a finaliser has no caller to raise to
            return

    def _warn(self) -> None:
        warnings.warn(f"{self.label} was not closed (opened at {self._made_by})", ResourceWarning, 3, self)


_AT_EXIT: weakref.WeakKeyDictionary[Owner, int] = weakref.WeakKeyDictionary()
_order = itertools.count()


def close_at_exit(owner: Owner) -> None:
    """Close ``owner`` when the interpreter ends, if it is still open, before what was named to this earlier.

    Threads still run then. Later, when module globals are dropped, they are frozen, and a close that joined one would
    never return. A function registered with ``atexit`` after the import of this package runs before that.
    """
    _AT_EXIT[owner] = next(_order)


def _at_exit() -> None:
    for owner, _ in sorted(_AT_EXIT.items(), key=lambda item: -item[1]):
        if owner.usable:
            with contextlib.suppress(Exception), closing_because("the interpreter's end"):
                owner._warn()
                owner.close()


atexit.register(_at_exit)
