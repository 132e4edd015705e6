# SPDX-License-Identifier: Apache-2.0
"""Completion records that are all there: taking the status of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

from tests.benchmarks.pairs import Pairs
from tests.benchmarks.rivals import lone
from tests.benchmarks.rivals.plain_queue import RECORD, plain_queue
from tests.benchmarks.rivals.rows import Contest, Group, Row, run
from tests.benchmarks.rivals.submission import C_LOOP, FIXED, Rivals

COUNT = 1024
JOB = f"wait for {COUNT} that have completed"
PLAN = Row(f"wait for a plan of {COUNT} that has completed", C_LOOP, FIXED)
RIVALS = (C_LOOP, "memoryview", "lone's way")
ROWS = (*(Row(JOB, rival, FIXED if rival == C_LOOP else C_LOOP) for rival in RIVALS), PLAN)


def measure(rounds: int) -> Iterator[tuple[Row, Pairs]]:
    """Each row's figures."""
    with ExitStack() as stack:
        queue = stack.enter_context(plain_queue(COUNT))
        rivals = Rivals(queue, stack)
        posted = [lone.Command() for _ in range(COUNT)]
        view = stack.enter_context(queue.records.view)

        def prepare() -> None:
            queue.give_back()
            queue.submit_many()
            queue.complete()

        def prepare_lone() -> None:
            prepare()
            rivals.forget()
            for command in posted:
                rivals.lone.post(command)

        def by_lone() -> None:
            complete = rivals.lone.complete
            while complete():
                pass

        def by_view() -> list[int]:
            return [view[at] for at in range(0, COUNT * RECORD, RECORD)]

        prepare()
        ways: dict[str, Callable[[], object]] = {
            C_LOOP: rivals.collect_in_c(),
            "memoryview": by_view,
            "lone's way": by_lone,
        }

        def prepare_plan() -> None:
            queue.give_back()
            queue.plan.submit()
            queue.complete()

        for row in ROWS[:-1]:
            before = prepare_lone if row.rival == "lone's way" else prepare
            yield from run([Contest(row, queue.wait, ways[row.rival], before)], rounds)
        queue.give_back()
        yield from run([Contest(PLAN, queue.plan.wait, ways[C_LOOP], prepare_plan)], rounds)


GROUP = Group(
    "Taking completions",
    "Ours takes every status by one compiled call, looks for failures and ends the bookkeeping.",
    ROWS,
    measure,
)
