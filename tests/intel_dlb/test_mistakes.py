# SPDX-License-Identifier: Apache-2.0
"""What software can do wrong: refused before it reaches the device, or recorded by the device and reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.intel_dlb.conftest import model_of
from vfio_ims.drivers.intel_dlb.driver import DirectedPort, Dlb, Domain, Kind, LdbPort, Queue
from vfio_ims.drivers.intel_dlb.hardware.elements import Command, pack
from vfio_ims.errors import ClosedError, DeviceBusy, DeviceTimeout, UsageError


@pytest.fixture
def domain(dlb: Dlb) -> Domain:
    return dlb.domain(16)


@pytest.fixture
def directed(domain: Domain) -> DirectedPort:
    return domain.directed_port(interrupt="poll")


@pytest.fixture
def worker(domain: Domain) -> LdbPort:
    return domain.port([domain.queue(Kind.UNORDERED)], interrupt="poll")


CASES: list[tuple[str, Callable[[DirectedPort, LdbPort], tuple[DirectedPort | LdbPort, bytes]]]] = [
    ("a queue that does not exist", lambda d, w: (d, pack(Command.NEW, 0, 77, Kind.DIRECTED))),
    ("a queue that does not exist", lambda d, w: (d, pack(Command.NEW, 0, 200, Kind.UNORDERED))),
    ("a queue that does not exist", lambda d, w: (w, pack(Command.NEW, 0, 0, Kind.ATOMIC))),
    ("may not enqueue to", lambda d, w: (d, pack(Command.NEW, 0, 95, Kind.DIRECTED))),
    ("an illegal command", lambda d, w: (w, pack(4))),
    ("an illegal command", lambda d, w: (d, pack(Command.COMPLETE))),
    ("an illegal command", lambda d, w: (d, pack(Command.FORWARD, 0, d.number, Kind.DIRECTED))),
    ("a completion too many", lambda d, w: (w, pack(Command.COMPLETE))),
    ("a completion too many", lambda d, w: (w, pack(Command.FRAGMENT, 0, 0, Kind.UNORDERED))),
    ("more tokens returned", lambda d, w: (w, pack(Command.POP, flow=0))),
    ("more tokens returned", lambda d, w: (d, pack(Command.POP, flow=5))),
]


@pytest.mark.parametrize(("words", "mistake"), CASES, ids=[str(number) for number in range(len(CASES))])
def test_a_mistake_is_an_alarm_that_names_its_port(
    dlb: Dlb, directed: DirectedPort, worker: LdbPort, words: str, mistake: object
) -> None:
    with dlb.device.interrupts.open_msix(0) as alarms:
        port, command = mistake(directed, worker)  # type: ignore[operator]
        port.producer.send(command)
        assert alarms.wait(1)
        assert words in dlb.status()
        alarm = dlb.take_alarm()
        assert alarm is not None
        assert (alarm.port, alarm.load_balanced) == (port.number, port.load_balanced)
        assert words in alarm.what
        assert not alarm.more
        assert dlb.take_alarm() is None
        assert not dlb.status()
        for _ in range(2):  # it interrupts again once it was taken; the second of two is only counted
            port.producer.send(command)
        assert alarms.wait(1)
        again = dlb.take_alarm()
        assert again is not None
        assert again.more


def test_the_device_counts_credits_too(dlb: Dlb, domain: Domain, directed: DirectedPort) -> None:
    """One that sends more than it has gets an alarm, and loses what it sent."""
    waiting = domain.queue(Kind.UNORDERED)  # no port takes from it
    for number in range(17):
        directed.producer.send(pack(Command.NEW, number, waiting.number, Kind.UNORDERED))
    alarm = dlb.take_alarm()
    assert alarm is not None
    assert "no credit left" in alarm.what
    assert dlb.regs.LDB_QUEUE[waiting.number].QID_LDB_ENQUEUE_CNT.read() == 16


def test_credits_are_refused_before_the_device_is_asked(dlb: Dlb, domain: Domain, directed: DirectedPort) -> None:
    directed.enqueue_many(directed.queue, range(10))
    with pytest.raises(DeviceBusy, match=r"6 credits of 16 are left"):
        directed.enqueue_many(directed.queue, range(7))
    directed.enqueue_many(directed.queue, range(6))
    with pytest.raises(DeviceBusy, match="enqueue 1 element"):
        directed.enqueue(directed.queue, 0)
    found = 0
    while found < 16:
        found += len(directed.dequeue_many())
    directed.enqueue(directed.queue, 0)
    assert dlb.take_alarm() is None


def test_what_was_not_dequeued_cannot_be_released(worker: LdbPort, domain: Domain) -> None:
    with pytest.raises(UsageError, match="0 elements that are dequeued and not done, not 1"):
        worker.release()
    worker.enqueue(domain.queues[0], 1)
    assert worker.dequeue_wait(1).data == 1
    with pytest.raises(UsageError, match="1 element that"):
        worker.forward_many(domain.queues[0], [1, 2])
    worker.release()


def test_an_illegal_number_never_reaches_the_device(dlb: Dlb, directed: DirectedPort) -> None:
    for wrong in ({"data": -1}, {"data": 1 << 64}, {"data": 0, "flow": 1 << 16}, {"data": 0, "priority": 8}):
        with pytest.raises(UsageError, match="data has 64 bits"):
            directed.enqueue(directed.queue, **wrong)
    with pytest.raises(UsageError, match="flows must be one for each of 3 elements, not 2"):
        directed.enqueue_many(directed.queue, [1, 2, 3], [1, 2])
    with pytest.raises(UsageError, match="data must be numbers of 64 bits"):
        directed.enqueue_many(directed.queue, [-1])
    assert dlb.take_alarm() is None


def test_ports_of_a_closed_domain_and_of_a_reset_device_say_so(dlb: Dlb) -> None:
    with dlb.domain(16) as domain:
        port = domain.directed_port(interrupt="poll")
    with pytest.raises(ClosedError, match="domain 0 was closed"):
        port.enqueue(port.queue, 1)
    with dlb.domain(16) as domain:
        port = domain.directed_port(interrupt="poll")
        port.enqueue(port.queue, 1)
        dlb.reset()
        with pytest.raises(ClosedError, match="the device was stopped"):
            port.dequeue_many()
        assert model_of(dlb).core.scheduler.waiting == 0
    with dlb.domain(16) as domain:
        port = domain.directed_port(interrupt="poll")
        port.enqueue(port.queue, 3)
        assert port.dequeue_wait(1).data == 3
        with pytest.raises(DeviceTimeout, match="nothing was scheduled"):
            port.dequeue_wait(0.01)


def test_the_device_has_so_many_of_each(dlb: Dlb) -> None:
    with dlb.domain(16) as domain:
        for _ in range(32):
            domain.queue(Kind.UNORDERED)
        with pytest.raises(DeviceBusy, match="the device has 32 of them"):
            domain.queue()
        for _ in range(64):
            domain.port(interrupt="poll", history=32)
        with pytest.raises(DeviceBusy, match="load-balanced port"):
            domain.port(interrupt="poll")
        for _ in range(95):
            domain.directed_port(interrupt="poll")
        with pytest.raises(DeviceBusy, match="directed port"):
            domain.directed_port(interrupt="poll")
        with pytest.raises(DeviceBusy, match="credits"):
            dlb.domain(17000)
    with dlb.domain(16000) as domain:
        domain.queue(Kind.ORDERED, sequences=1024)
        domain.queue(Kind.ORDERED, sequences=512)
        domain.queue(Kind.ORDERED, sequences=512)
        with pytest.raises(DeviceBusy, match="no group has a slot of 64"):
            domain.queue(Kind.ORDERED)


def test_what_could_not_be_made_takes_nothing(dlb: Dlb) -> None:
    with dlb.domain(16) as domain:
        queue = domain.queue()
        for make in (
            lambda: domain.port([queue], history=3000, interrupt="poll"),
            lambda: domain.port([queue], interrupt="irq"),
            lambda: domain.directed_port(interrupt="irq"),
            lambda: domain.queue(Kind.ATOMIC, storage=5000),
        ):
            with pytest.raises((DeviceBusy, UsageError)):
                make()
        with pytest.raises(UsageError, match="load-balanced queues of its own domain, not from directed queue 5"):
            domain.port([Queue(5, Kind.DIRECTED)])
        assert dlb.ims.allocated == []
        assert (domain.queue().number, domain.port(interrupt="poll").number) == (1, 0)
        assert domain.directed_port(interrupt="poll").number == 0
        free = dlb.resources.credits.left
        with pytest.raises(DeviceBusy):
            dlb.domain(1 << 20)
        assert (dlb.resources.credits.left, dlb.domain(16).number) == (free, domain.number + 1)


def test_without_a_function_reset_a_domains_elements_are_not_the_next_ones() -> None:
    with Dlb.open("mock:intel-dlb,flr=no") as dlb:
        domain = dlb.domain(16)
        port, queue = domain.directed_port(interrupt="poll"), domain.queue()
        domain.port([queue], depth=1, interrupt="poll")
        port.enqueue_many(queue, range(8))
        port.enqueue_many(port.queue, range(8))
        dlb.reset()
        assert model_of(dlb).core.scheduler.waiting == 0
        domain.close()
        with dlb.domain(16) as again:
            port, queue = again.directed_port(interrupt="poll"), again.queue()
            worker = again.port([queue], interrupt="poll")
            port.enqueue(queue, 77)
            assert worker.dequeue_wait(1).data == 77
            assert not port.dequeue_many()
        assert dlb.take_alarm() is None


@pytest.mark.parametrize("count", [-1, 3, 2.0, None])
def test_no_more_is_released_than_is_under_way_and_no_less_than_nothing(
    dlb: Dlb, domain: Domain, worker: LdbPort, count: Any
) -> None:
    queue = domain.queues[0]
    worker.enqueue_many(queue, [1, 2])
    worker.dequeue_many()
    with pytest.raises(UsageError, match="release elements"):
        worker.release(count)
    assert worker.under_way == 2
    worker.release(2)
    assert dlb.take_alarm() is None
