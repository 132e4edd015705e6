# SPDX-License-Identifier: Apache-2.0
"""The queues of the model: elements that wait, by kind and priority."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from .atomic import Flow, Flows
from .items import Item
from .ordering import Window

__all__ = ["DirectedQueueState", "History", "LdbQueueState", "Waiting"]

_PRIORITIES = 8


class Waiting:
    """Elements in order, by priority: 0 is served first."""

    def __init__(self) -> None:
        self._lists: list[deque[Item]] = [deque() for _ in range(_PRIORITIES)]
        self.count = 0

    def add(self, item: Item) -> None:
        self._lists[item.priority].append(item)
        self.count += 1

    @property
    def priority(self) -> int:
        """Of what ``take`` would give; there must be something."""
        return next(number for number, waiting in enumerate(self._lists) if waiting)

    @property
    def first(self) -> Item:
        """What ``take`` would give; there must be something."""
        return self._lists[self.priority][0]

    def take(self) -> Item:
        self.count -= 1
        return self._lists[self.priority].popleft()


class DirectedQueueState(Waiting):
    """A directed queue. ``entered``: elements so far."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number, self.entered, self.deepest = number, 0, 0

    def enter(self, item: Item) -> None:
        self.add(item)
        self.entered += 1
        self.deepest = max(self.deepest, self.count)


class LdbQueueState:
    """A load-balanced queue: atomic elements by flow, as many of them as its storage takes, the others in order.

    ``limit``: how many may be scheduled and not completed; ``storage``: of atomic ones that wait within reach.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.limit, self.storage, self.flow_mask = 0, 0, 0xFFFF
        self.plain, self.unstored, self.flows = Waiting(), Waiting(), Flows()
        self.window = Window(0)
        self.under_way = 0
        self.entered, self.entered_atomic, self.deepest = 0, 0, 0
        self._atomic_turn = False

    @property
    def idle(self) -> bool:
        return not (self.plain.count or self.unstored.count or self.flows.count or self.under_way)

    def enter(self, item: Item) -> None:
        if item.kind == 0:
            self.entered_atomic += 1
            self.unstored.add(item)
            self._store()
        else:
            self.entered += 1
            self.plain.add(item)
            self.deepest = max(self.deepest, self.plain.count)

    def _store(self) -> None:
        while self.unstored.count and self.flows.count < self.storage:
            item = self.unstored.take()
            self.flows.add(item.flow & self.flow_mask, item)

    def take(self, port: int, *, plain: bool, atomic: bool) -> tuple[Item, History] | None:
        """What ``port`` is given next of the kinds that it may have; None: nothing.

        Of equal priority, atomic elements and others take turns.
        """
        if self.under_way >= self.limit:
            return None
        self._store()
        priority = self.flows.priority_for(port) if atomic else None
        other = self.plain.priority if plain and self.plain.count else None
        if other is not None and self.plain.first.kind == 2 and self.window.full:
            other = None
        if priority is None and other is None:
            return None
        first = other is None or (priority is not None and (priority, self._atomic_turn) < (other, True))
        self._atomic_turn = first
        self.under_way += 1
        if first:
            item, flow = self.flows.take(port)
            return item, History(self, flow)
        item = self.plain.take()
        if item.kind == 2:
            return item, History(self, None, self.window, self.window.issue())
        return item, History(self)

    def complete(self, history: History) -> list[Item]:
        """What was scheduled is done: what leaves this queue's order now."""
        self.under_way -= 1
        if history.flow is not None:
            self.flows.complete(history.flow)
        return [] if history.window is None else history.window.complete(history.number)


@dataclass(slots=True)
class History:
    """An entry of a port's history list. ``flow``: an atomic element's; ``window`` and ``number``: an ordered one's."""

    queue: LdbQueueState
    flow: Flow | None = None
    window: Window | None = None
    number: int = 0
