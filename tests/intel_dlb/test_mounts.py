# SPDX-License-Identifier: Apache-2.0
"""The same on every mount: in process, over a socket to a model in another process, on what ``--vfio-device`` names."""

from __future__ import annotations

import asyncio

import pytest

from vfio_ims.driver import Driver
from vfio_ims.drivers.intel_dlb.driver import Dlb, Kind
from vfio_ims.selftest import Options, run

pytestmark = pytest.mark.vfio(
    model=("intel-dlb", "intel-dlb2"), mount=("mock", "vfio-user"), match=("8086:2714", "8086:2710")
)
TIMEOUT = 30.0


@pytest.fixture
def dlb(ims_driver: Driver) -> Dlb:
    assert isinstance(ims_driver, Dlb)
    return ims_driver


def test_the_self_test(dlb: Dlb) -> None:
    report = run(dlb, options=Options(timeout=10, slots=16))
    assert report.passed, report


def test_directed_elements_come_in_order_with_an_interrupt_of_the_slot(dlb: Dlb) -> None:
    with dlb.domain() as domain:
        port = domain.directed_port(depth=8)
        for number in range(3):
            port.enqueue(port.queue, number, flow=7)
            found = port.dequeue_wait(TIMEOUT)
            assert (found.data, found.flow, found.queue, found.kind) == (number, 7, port.number, Kind.DIRECTED)
        port.enqueue_many(port.queue, range(100))  # more than its consumer queue has: it goes round
        assert [port.dequeue_wait(TIMEOUT).data for _ in range(100)] == list(range(100))


def test_tasks_share_a_queue(dlb: Dlb) -> None:
    """A pipeline: a producer, workers on an atomic queue that forward to a directed one, whose port collects."""
    with dlb.domain() as domain:
        queue = domain.queue(Kind.ATOMIC)
        workers = [domain.port([queue]) for _ in range(2)]
        collector = domain.directed_port(depth=64)

        async def work(index: int) -> None:
            while True:
                element = await workers[index].dequeue()
                workers[index].forward(collector.queue, element.data, flow=element.flow)

        async def main() -> list[tuple[int, int]]:
            tasks = [asyncio.create_task(work(index)) for index in range(2)]
            collector.enqueue_many(queue, range(40), [number % 4 for number in range(40)])
            found = [await collector.dequeue() for _ in range(40)]
            for task in tasks:
                task.cancel()
            return [(one.flow, one.data) for one in found]

        found = asyncio.run(asyncio.wait_for(main(), TIMEOUT))
    for flow in range(4):
        assert [data for one, data in found if one == flow] == list(range(flow, 40, 4))


def test_a_domain_that_is_full_can_be_closed_and_made_again(dlb: Dlb) -> None:
    for kind in (Kind.ATOMIC, Kind.UNORDERED, Kind.ORDERED):
        with dlb.domain(credits=200) as domain:
            queue = domain.queue(kind)
            other = domain.queue(Kind.UNORDERED)  # no port takes from it
            domain.port([queue], depth=4, interrupt="poll")
            port = domain.directed_port(depth=8, interrupt="poll")
            port.enqueue_many(queue, range(50), [number % 5 for number in range(50)])
            port.enqueue_many(other, range(9))
            port.enqueue_many(port.queue, range(20))
        assert dlb.take_alarm() is None
    with dlb.domain(credits=8) as domain:
        port = domain.directed_port()
        port.enqueue(port.queue, 5)
        assert port.dequeue_wait(TIMEOUT).data == 5
