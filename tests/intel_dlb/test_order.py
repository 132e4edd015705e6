# SPDX-License-Identifier: Apache-2.0
"""Order, atomicity and once-only delivery, by oracles that know nothing of the scheduler: what each test checks is said

of the elements' numbers alone. ``VFIO_IMS_DLB_ELEMENTS=100000`` makes the runs long.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vfio_ims.drivers.intel_dlb.driver import DirectedPort, Dlb, Domain, Element, Kind, LdbPort

COUNT = int(os.environ.get("VFIO_IMS_DLB_ELEMENTS", "4000"))
CREDITS = 512
SCALED = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def shared() -> Iterator[Dlb]:
    with Dlb.open("mock:intel-dlb") as driver:
        yield driver


class Locks:
    """An oracle of atomicity: which port has elements of which flow that are not done."""

    def __init__(self) -> None:
        self.holders: dict[int, Counter[int]] = defaultdict(Counter)

    def taken(self, port: int, flow: int) -> None:
        others = [one for one, count in self.holders[flow].items() if count and one != port]
        assert not others, f"flow {flow} is at port {port} while port {others} has not released it"
        self.holders[flow][port] += 1

    def done(self, port: int, flow: int) -> None:
        self.holders[flow][port] -= 1


class Stage:
    """A producer and a collector with a queue between them, whose workers are stepped at random."""

    def __init__(self, domain: Domain, kind: Kind, workers: int, depth: int, random: Random) -> None:
        self.random, self.kind = random, kind
        self.queue = domain.queue(kind, sequences=128)
        self.workers: list[LdbPort] = [domain.port([self.queue], depth=depth, interrupt="poll") for _ in range(workers)]
        self.collector: DirectedPort = domain.directed_port(depth=32, interrupt="poll")
        self.domain = domain
        self.held: list[deque[Element]] = [deque() for _ in self.workers]
        self.locks, self.seen = Locks(), Counter[int]()
        self.out: list[Element] = []

    def feed(self, numbers: list[int], flows: list[int]) -> None:
        self.collector.enqueue_many(self.queue, numbers, flows)

    def step(self) -> None:
        """One worker takes some, or is done with some; or the collector takes what there is."""
        index = self.random.randrange(len(self.workers) + 1)
        if index == len(self.workers):
            self.out += self.collector.dequeue_many(self.random.randrange(1, 40))
            return
        worker, held = self.workers[index], self.held[index]
        if self.random.random() < 0.5:
            for element in worker.dequeue_many(self.random.randrange(1, 9)):
                self.seen[element.data] += 1
                if self.kind is Kind.ATOMIC:
                    self.locks.taken(index, element.flow)
                held.append(element)
        elif held:
            done = self.random.randrange(1, len(held) + 1)
            some = [held.popleft() for _ in range(done)]
            for element in some:
                self.locks.done(index, element.flow)
            done = min(done, self.collector._pools[1].left)
            for element in some[done:][::-1]:
                held.appendleft(element)
                self.locks.holders[element.flow][index] += 1
            if done:
                worker.forward_many(self.collector.queue, [e.data for e in some[:done]], [e.flow for e in some[:done]])

    def run(self, count: int, flows: int) -> None:
        given = 0
        while len(self.out) < count:
            room = min(self.domain.credits.left - 64, count - given)
            if room > 0:
                some = self.random.randrange(1, room + 1)
                self.feed(list(range(given, given + some)), [self.random.randrange(flows) for _ in range(some)])
                given += some
            for _ in range(8):
                self.step()
        assert self.seen == Counter(range(count)), "each element is scheduled once"
        assert Counter(one.data for one in self.out) == Counter(range(count)), "and collected once"
        assert self.domain.credits.left == self.domain.credits.total, "and every credit is back"


def test_atomic_flows_keep_their_order_and_are_at_one_port_at_a_time(shared: Dlb) -> None:
    with shared.domain(CREDITS) as domain:
        stage = Stage(domain, Kind.ATOMIC, 4, 16, Random(1))
        stage.run(COUNT, flows=23)
    by_flow: dict[int, list[int]] = defaultdict(list)
    for one in stage.out:
        by_flow[one.flow].append(one.data)
    assert len(by_flow) == 23
    for flow, numbers in by_flow.items():
        assert numbers == sorted(numbers), f"flow {flow} was reordered"
    assert shared.take_alarm() is None


def test_ordered_elements_leave_in_the_order_in_which_they_entered(shared: Dlb) -> None:
    with shared.domain(CREDITS) as domain:
        stage = Stage(domain, Kind.ORDERED, 4, 16, Random(2))
        stage.run(COUNT, flows=3)
    assert [one.data for one in stage.out] == list(range(COUNT))
    assert shared.take_alarm() is None


def test_unordered_elements_are_shared_and_each_comes_once(shared: Dlb) -> None:
    with shared.domain(CREDITS) as domain:
        stage = Stage(domain, Kind.UNORDERED, 4, 8, Random(3))
        stage.run(COUNT, flows=1)
    assert shared.take_alarm() is None


def test_a_model_that_reorders_is_found() -> None:
    """The oracle of order can fail."""
    with Dlb.open("mock:intel-dlb,defect=reorders") as driver, driver.domain(CREDITS) as domain:
        stage = Stage(domain, Kind.ORDERED, 4, 16, Random(2))
        stage.run(500, flows=3)
    assert [one.data for one in stage.out] != list(range(500))


def test_fragments_take_the_place_of_the_element_that_they_are_of(shared: Dlb) -> None:
    """Two workers; the one with the second element is done first."""
    with shared.domain(CREDITS) as domain:
        queue = domain.queue(Kind.ORDERED)
        first, second = (domain.port([queue], depth=1, interrupt="poll") for _ in range(2))
        collector = domain.directed_port(interrupt="poll")
        collector.enqueue_many(queue, [1, 2])
        assert [first.dequeue_wait(1).data, second.dequeue_wait(1).data] == [1, 2]
        second.fragment(collector.queue, 20)
        second.fragment(collector.queue, 21)
        second.forward(collector.queue, 22)
        assert not collector.dequeue_many()
        first.fragment(collector.queue, 10)
        assert not collector.dequeue_many()
        first.release()
        assert list(collector.dequeue_many().data) == [10, 20, 21, 22]
    assert shared.take_alarm() is None


@SCALED
@given(
    kind=st.sampled_from([Kind.ATOMIC, Kind.UNORDERED, Kind.ORDERED]),
    workers=st.integers(1, 5),
    depth=st.sampled_from([1, 2, 4, 8, 32]),
    flows=st.integers(1, 40),
    seed=st.integers(0, 1 << 30),
)
def test_any_shape_delivers_once_and_in_order(
    shared: Dlb, kind: Kind, workers: int, depth: int, flows: int, seed: int
) -> None:
    with shared.domain(200) as domain:
        stage = Stage(domain, kind, workers, depth, Random(seed))
        stage.run(150, flows)
    if kind is Kind.ORDERED:
        assert [one.data for one in stage.out] == list(range(150))
    if kind is Kind.ATOMIC:
        last: dict[int, int] = {}
        for one in stage.out:
            assert last.get(one.flow, -1) < one.data
            last[one.flow] = one.data
    assert shared.take_alarm() is None


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 64, 1024])
def test_a_consumer_queue_goes_round(shared: Dlb, depth: int) -> None:
    """More than twice round, in batches that do not divide it: the generation is read right on every lap."""
    with shared.domain(1024) as domain:
        port = domain.directed_port(depth=depth, interrupt="poll")
        count, given, found = 5 * max(depth, 8) + 3, 0, list[int]()
        while len(found) < count:
            some = min(count - given, 37, domain.credits.left)
            port.enqueue_many(port.queue, range(given, given + some))
            given += some
            found += list(port.dequeue_many(11).data)
        assert found == list(range(count))


def test_the_first_queues_of_a_port_are_served_first(shared: Dlb) -> None:
    with shared.domain(100) as domain:
        first, second = domain.queue(Kind.UNORDERED), domain.queue(Kind.UNORDERED)
        blocker = domain.directed_port(interrupt="poll")
        worker = domain.port([first, second], depth=1, interrupt="poll")
        for number in range(5):
            blocker.enqueue(second, 100 + number)
            blocker.enqueue(first, number)
        found = []
        while len(found) < 10:
            found += list(worker.dequeue_many(1).data)
            worker.release(worker.under_way)
        assert found == [100, 0, 1, 2, 3, 4, 101, 102, 103, 104]


def test_of_one_queue_the_lowest_priority_number_comes_first(shared: Dlb) -> None:
    with shared.domain(100) as domain:
        queue = domain.queue(Kind.UNORDERED)
        source, worker = domain.directed_port(interrupt="poll"), domain.port([queue], depth=1, interrupt="poll")
        for number, priority in enumerate((0, 7, 3, 0, 5)):
            source.enqueue(queue, number, priority=priority)
        found = []
        while len(found) < 5:
            found += [(one.priority, one.data) for one in worker.dequeue_many(1)]
            worker.release(worker.under_way)
        assert found == [(0, 0), (0, 3), (3, 2), (5, 4), (7, 1)]
