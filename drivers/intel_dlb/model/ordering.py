# SPDX-License-Identifier: Apache-2.0
"""Sequence numbers of one ordered queue: what is forwarded leaves in the order in which it was scheduled."""

from __future__ import annotations

from collections import deque

from .items import Item

__all__ = ["Window"]


class Window:
    """At most ``capacity`` elements are under way; each holds back what comes after it until it is completed."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._first = 0
        self._held: deque[tuple[list[Item], list[bool]]] = deque()  # what replaces it; whether it is completed

    @property
    def full(self) -> bool:
        return len(self._held) >= self.capacity

    def issue(self) -> int:
        """The number of one more that is scheduled."""
        self._held.append(([], [False]))
        return self._first + len(self._held) - 1

    def add(self, number: int, item: Item) -> None:
        """``item`` takes the place of element ``number``, behind what did so before."""
        self._held[number - self._first][0].append(item)

    def complete(self, number: int) -> list[Item]:
        """Element ``number`` is done: what may leave now, in order."""
        self._held[number - self._first][1][0] = True
        leaving: list[Item] = []
        while self._held and self._held[0][1][0]:
            leaving += self._held.popleft()[0]
            self._first += 1
        return leaving
