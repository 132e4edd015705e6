# SPDX-License-Identifier: Apache-2.0
"""Two ways of one job, timed in turns in one process: what disturbs a shared machine disturbs both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

__all__ = ["Pairs", "Run", "from_rounds", "paired"]

Run = Callable[[], object]


@dataclass(frozen=True)
class Pairs:
    """What paired rounds found: the median of ours/theirs with its quartiles, and the median seconds of each."""

    ratio: float
    low: float
    high: float
    ours: float
    theirs: float
    rounds: int


def paired(
    ours: Run, rival: Run, prepare: Run | None, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> Pairs:
    """So many rounds of both. Who comes first changes by turns; ``prepare`` runs before each and is not timed.

    ``clock``: ``time.thread_time`` for what one thread computes, whatever else the machine does.
    """
    mine, theirs = _repeat(ours, prepare, clock), _repeat(rival, prepare, clock)
    times = []
    for turn in range(rounds):
        if turn % 2:
            other, one = _time(rival, prepare, theirs, clock), _time(ours, prepare, mine, clock)
        else:
            one, other = _time(ours, prepare, mine, clock), _time(rival, prepare, theirs, clock)
        times.append((one, other))
    return from_rounds(times)


def from_rounds(times: list[tuple[float, float]]) -> Pairs:
    """Of the seconds (ours, theirs) of each round."""
    ratios = [one / other for one, other in times]
    low, _, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else 3 * ratios
    ours, theirs = (statistics.median(side) for side in zip(*times, strict=True))
    return Pairs(statistics.median(ratios), low, high, ours, theirs, len(times))


def _repeat(run: Run, prepare: Run | None, clock: Callable[[], float], seconds: float = 0.002) -> int:
    """How often ``run`` fits in a few milliseconds."""
    count = 1
    while _time(run, prepare, count, clock) * count < seconds:
        count *= 2
    return count


def _time(run: Run, prepare: Run | None, count: int, clock: Callable[[], float]) -> float:
    """Seconds of one ``run``; those of ``prepare`` are left out."""
    if prepare is None:
        began = clock()
        for _ in range(count):
            run()
        return (clock() - began) / count
    spent = 0.0
    for _ in range(count):
        prepare()
        began = clock()
        run()
        spent += clock() - began
    return max(spent / count - _cost(clock), 1e-9)


@cache
def _cost(clock: Callable[[], float]) -> float:
    """Seconds that reading ``clock`` adds to a run: it is a system call, but for ``perf_counter``."""
    if clock is time.perf_counter:
        return 0.0
    return statistics.median(-clock() + clock() for _ in range(1000))
