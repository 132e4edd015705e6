# SPDX-License-Identifier: Apache-2.0
"""What is measured: rows in groups. They are declared apart from their measuring, so that all are known anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tests.benchmarks.pairs import Pairs, Run, paired

__all__ = ["Contest", "Group", "LeftOut", "Row", "run"]


@dataclass(frozen=True)
class Row:
    """Ours against one other way of the same job."""

    job: str
    rival: str
    limit: str
    """What takes ours its time, and would if nothing else did."""
    note: str = ""
    rate: bool = False
    """Whether it is shown as so many a second, too."""


class LeftOut(Exception):
    """Why rows cannot be measured on this machine, and how they can."""


@dataclass(frozen=True)
class Group:
    """Rows that need the same things. ``measure(rounds)`` gives each row's figures.

    It raises ``LeftOut`` where this machine lacks something.
    """

    title: str
    text: str
    rows: tuple[Row, ...]
    measure: Callable[[int], Iterable[tuple[Row, Pairs]]]


@dataclass(frozen=True)
class Contest:
    """Two callables that do the job ``count`` times; ``prepare`` comes before each and is not timed."""

    row: Row
    ours: Run
    rival: Run
    prepare: Run | None = None
    count: int = 1


def run(
    contests: Iterable[Contest], rounds: int, clock: Callable[[], float] = time.thread_time
) -> Iterator[tuple[Row, Pairs]]:
    """The figures of each, for one of ``count``: CPU time, where no other ``clock`` is given."""
    for one in contests:
        found = paired(one.ours, one.rival, one.prepare, rounds, clock)
        yield (
            one.row,
            Pairs(found.ratio, found.low, found.high, found.ours / one.count, found.theirs / one.count, found.rounds),
        )
