# SPDX-License-Identifier: Apache-2.0
"""Flows of an atomic queue: one that has elements at a port is bound to it until they are completed."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from .items import Item

__all__ = ["Flow", "Flows"]

_PRIORITIES = 8
_FREE = -1


class Flow:
    """``owner``: the port that it is bound to. ``under_way``: elements that were scheduled and not completed."""

    __slots__ = ("number", "owner", "under_way", "waiting")

    def __init__(self, number: int) -> None:
        self.number, self.owner, self.under_way = number, _FREE, 0
        self.waiting: dict[int, deque[Item]] = {}  # by priority; none is empty


class Flows:
    """Every flow that has elements, by who may be given them: the port it is bound to, or any."""

    def __init__(self) -> None:
        self._flows: dict[int, Flow] = {}
        self._ready: dict[int, list[dict[int, Flow]]] = {}  # by owner and priority: flows in order, by number
        self.count = 0
        """Elements that wait."""

    def _of(self, owner: int) -> list[dict[int, Flow]]:
        found = self._ready.get(owner)
        if found is None:
            found = self._ready[owner] = [{} for _ in range(_PRIORITIES)]
        return found

    def add(self, number: int, item: Item) -> None:
        flow = self._flows.get(number)
        if flow is None:
            flow = self._flows[number] = Flow(number)
        flow.waiting.setdefault(item.priority, deque()).append(item)
        self._of(flow.owner)[item.priority][number] = flow
        self.count += 1

    def _choices(self, port: int) -> Iterator[tuple[int, dict[int, Flow]]]:
        bound, free = self._ready.get(port), self._ready.get(_FREE)
        for priority in range(_PRIORITIES):
            for ready in (bound, free):
                if ready is not None and ready[priority]:
                    yield priority, ready[priority]

    def priority_for(self, port: int) -> int | None:
        """The priority of what ``port`` would be given; None: nothing."""
        for priority, _ in self._choices(port):
            return priority
        return None

    def take(self, port: int) -> tuple[Item, Flow]:
        """What ``port`` is given next; its flow is bound to it."""
        priority, ready = next(self._choices(port))
        flow = ready.pop(next(iter(ready)))
        waiting = flow.waiting[priority]
        item = waiting.popleft()
        self.count -= 1
        if waiting:
            ready[flow.number] = flow  # behind the others
        else:
            del flow.waiting[priority]
        if flow.owner != port:
            self._bind(flow, port)
        flow.under_way += 1
        return item, flow

    def _bind(self, flow: Flow, owner: int) -> None:
        before, after = self._of(flow.owner), self._of(owner)
        for priority in flow.waiting:
            after[priority][flow.number] = before[priority].pop(flow.number)
        flow.owner = owner

    def complete(self, flow: Flow) -> None:
        """One element of ``flow`` is done: with the last one the flow is free for any port."""
        flow.under_way -= 1
        if flow.under_way == 0:
            self._bind(flow, _FREE)
            if not flow.waiting:
                del self._flows[flow.number]
