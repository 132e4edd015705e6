# SPDX-License-Identifier: Apache-2.0
"""Locks that a forked child finds free, and properties that several threads make once."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Generic, TypeVar, overload

from vfio_ims.interruption import enter_section, leave_section, uninterrupted

__all__ = ["Guard", "held_together", "made", "made_once", "make_lock", "make_rlock"]

_T = TypeVar("_T")
_LOCKS: weakref.WeakSet[Any] = weakref.WeakSet()
_MAKING = "_making"


def make_lock() -> threading.Lock:
    """Return a ``threading.Lock`` that is free in a forked child, whichever thread of the parent held it."""
    lock = threading.Lock()
    _LOCKS.add(lock)
    return lock


def make_rlock() -> threading.RLock:
    """Return a ``threading.RLock`` that is free in a forked child, whichever thread of the parent held it."""
    lock = threading.RLock()
    _LOCKS.add(lock)
    return lock


def _after_fork_in_child() -> None:
    # The threads that held them are not in the child. It is what threading and logging do with their own locks.
    for lock in list(_LOCKS):
        lock._at_fork_reinit()


os.register_at_fork(after_in_child=_after_fork_in_child)


class Guard:
    """A re-entrant lock under which Ctrl-C waits: for books that are kept beside a device's own state.

    As ``make_rlock``'s, it is free in a forked child.
    """

    def __init__(self) -> None:
        self._lock = make_rlock()
        self._sections: list[bool] = []  # of the thread that holds it: whether each entry has begun a section

    def __enter__(self) -> None:
        section = enter_section()
        try:
            self._lock.acquire()
        except BaseException:
            if section:
                leave_section()
            raise
        self._sections.append(section)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        section = self._sections.pop()
        self._lock.release()
        if section:
            leave_section()


class held_together:  # noqa: N801 - used as a verb, as uninterrupted is
    """``with held_together(locks):`` holds each of ``locks``, taken in their order: who takes several keeps to one."""

    __slots__ = ("_held", "_locks")

    def __init__(self, locks: Iterable[threading.Lock]) -> None:
        self._locks = locks
        self._held: list[threading.Lock] = []

    def __enter__(self) -> None:
        try:
            for lock in self._locks:
                lock.acquire()
                self._held.append(lock)
        except BaseException:
            self._release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _release(self) -> None:
        for lock in self._held:
            lock.release()


class made_once(Generic[_T]):  # noqa: N801 - used as a decorator, as functools.cached_property is
    """A property whose value is made once for each object, by one thread while the others wait for it.

    For what is shared or acts on the device. ``functools.cached_property`` has had no lock since Python 3.12: several
    threads make several values there, which only a pure decoding can bear. Once made, reading it costs what reading
    an attribute does. Ctrl-C waits until the value is made.
    """

    def __init__(self, make: Callable[[Any], _T]) -> None:
        self._make, self._name = make, make.__name__
        self.__doc__ = make.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> made_once[_T]: ...
    @overload
    def __get__(self, instance: object, owner: type | None = None) -> _T: ...
    def __get__(self, instance: object | None, owner: type | None = None) -> made_once[_T] | _T:
        if instance is None:
            return self
        values = instance.__dict__
        with uninterrupted(), _making(instance):
            if self._name not in values:
                values[self._name] = self._make(instance)
            value: _T = values[self._name]
            return value


def _making(instance: object) -> threading.RLock:
    lock: threading.RLock = instance.__dict__.get(_MAKING) or instance.__dict__.setdefault(_MAKING, make_rlock())
    return lock


def made(instance: object, name: str) -> Any:
    """Return the value of the ``made_once`` property ``name``, or None where nothing has made it.

    Waits for a thread that is making it.
    """
    with _making(instance):
        return instance.__dict__.get(name)
