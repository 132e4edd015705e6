# SPDX-License-Identifier: Apache-2.0
"""What the steps of a table's writer come to in a model's table: a driver writes in the same ones over and over."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["RowPlan", "RowPlans"]

RowPlan = tuple[tuple[int, int, int, int], ...]
"""For each word of an entry that is written: its number there, its place in the row, the bits kept, its ones."""

_MOST = 64


class RowPlans:
    """For entries of ``stride`` bytes. ``rules``: by a word's byte offset the bits that it keeps, and its ones."""

    def __init__(self, rules: Mapping[int, tuple[int, int]], stride: int) -> None:
        self._rules, self._stride = rules, stride
        self._known: dict[tuple[tuple[int, int], ...], RowPlan] = {}

    def of(self, steps: tuple[tuple[int, int], ...]) -> RowPlan | None:
        """The last write of each word: nothing looks at a row before. None where a step leaves the entry."""
        plan = self._known.get(steps)
        if plan is None:
            if any(at % 4 or not 0 <= at < self._stride for at, _ in steps):
                return None
            last = {at: source for at, source in steps if at in self._rules}
            plan = tuple((at // 4, source, *self._rules[at]) for at, source in last.items())
            if len(self._known) < _MOST:
                self._known[steps] = plan
        return plan
