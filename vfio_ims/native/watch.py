# SPDX-License-Identifier: Apache-2.0
"""Watchers of this process's looks at memory that devices write, and of its drains of event descriptors.

There is none, as a rule: then each look and each drain costs one test. A recorder notes what had changed; a replay puts
the recorded bytes there first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from vfio_ims.locks import make_lock

__all__ = ["Watch", "Watcher", "watch"]


class Watcher(Protocol):
    """Is called around each look at memory: a load, or a poll as a whole."""

    def before_look(self) -> None: ...
    def after_look(self) -> None: ...

    def drained(self, descriptor: int, count: int) -> None:
        """``count`` was drained from an event descriptor, whose owner is woken after this."""
        ...


class _All:
    """Several as one."""

    def __init__(self, watchers: tuple[Watcher, ...]) -> None:
        self.watchers = watchers

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Around a look."""
        for one in self.watchers:
            one.before_look()
        yield
        for one in self.watchers:
            one.after_look()

    def drained(self, descriptor: int, count: int) -> None:
        for one in self.watchers:
            one.drained(descriptor, count)


class Watch:
    """The process's watchers: ``by`` is all of them as one, None where there is none."""

    def __init__(self) -> None:
        self.by: _All | None = None
        self._lock = make_lock()

    def add(self, watcher: Watcher) -> None:
        with self._lock:
            self.by = _All((*(self.by.watchers if self.by is not None else ()), watcher))

    def remove(self, watcher: Watcher) -> None:
        with self._lock:
            left = () if self.by is None else tuple(one for one in self.by.watchers if one is not watcher)
            self.by = _All(left) if left else None


watch = Watch()
