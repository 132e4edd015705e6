# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C at any instruction of enqueueing, forwarding and releasing: our books stay the device's."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.behaviour.interrupting import sweep
from vfio_ims.drivers.intel_dlb.driver import Dlb, Kind

ENDS = ["one", "many", "released"]


@pytest.mark.parametrize("how", ENDS)
def test_credits_and_what_is_under_way(dlb: Dlb, how: str) -> None:
    with dlb.domain() as domain:
        queue = domain.queue(Kind.UNORDERED)
        worker, target = domain.port([queue], depth=64, interrupt="poll"), domain.directed_port(64, interrupt="poll")
        pools, registers = worker._pools, dlb.regs.LDB[worker.number]
        total = [pool.left for pool in pools]
        done: dict[str, Callable[[], None]] = {
            "one": lambda: worker.forward(target.queue, 3),
            "many": lambda: worker.forward_many(target.queue, [3, 4]),
            "released": worker.release,
        }

        def act() -> None:
            worker.enqueue(queue, 1)
            worker.enqueue_many(queue, [2, 3])
            worker.dequeue_many()
            done[how]()
            target.dequeue_many()

        def check() -> None:
            worker.dequeue_many()
            assert worker.under_way == registers.CQ_INFL_CNT.read()
            if worker.under_way:
                worker.release(worker.under_way)
            target.dequeue_many()
            assert [pool.left for pool in pools] == total
            assert dlb.take_alarm() is None

        assert sweep(act, check)
