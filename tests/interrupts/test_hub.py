# SPDX-License-Identifier: Apache-2.0
"""The event hub: threads that take turns draining, tasks, and closing under waiters."""

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

import vfio_ims
from vfio_ims.device import Device
from vfio_ims.errors import ClosedError
from vfio_ims.interrupts import EventHub, Wakeup
from vfio_ims.native.events import EventFd


@pytest.fixture
def device() -> Iterator[Device]:
    with vfio_ims.open("mock:minimal") as device:
        yield device


class Line:
    """An event descriptor on a hub with its flag."""

    def __init__(self, hub: EventHub) -> None:
        self.event, self.wakeup, self.total = EventFd(), hub.wakeup(), 0
        hub.add(self.event, self._sink)

    def _sink(self, count: int) -> None:
        self.total += count
        self.wakeup.wake()


@pytest.fixture
def lines(device: Device) -> Iterator[list[Line]]:
    made = [Line(device.interrupts.hub) for _ in range(8)]
    yield made
    device.close()
    for line in made:
        line.event.close()


def test_a_wake_up_that_came_before_the_wait_is_kept(lines: list[Line]) -> None:
    lines[0].event.signal()
    assert lines[0].wakeup.wait(0)
    assert not lines[0].wakeup.wait(0)


def test_threads_that_wait_for_different_lines_are_all_woken(lines: list[Line]) -> None:
    woken: list[int] = []

    def wait(number: int, wakeup: Wakeup) -> None:
        if wakeup.wait(10):
            woken.append(number)

    threads = [threading.Thread(target=wait, args=(n, line.wakeup)) for n, line in enumerate(lines)]
    for thread in threads:
        thread.start()
    for line in reversed(lines):  # the leader is woken last
        line.event.signal()
        time.sleep(0.002)
    for thread in threads:
        thread.join(10)
    assert sorted(woken) == list(range(8))


def test_no_wake_up_is_lost_between_two_threads_in_a_storm(lines: list[Line]) -> None:
    rounds = 300
    seen = [0, 0]

    def own(number: int) -> None:
        for _ in range(rounds):
            lines[number].event.signal()
            assert lines[number].wakeup.wait(10)
            seen[number] += 1

    threads = [threading.Thread(target=own, args=(n,)) for n in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == [rounds, rounds]


def test_a_timeout_takes_about_its_time(lines: list[Line]) -> None:
    start = time.monotonic()
    assert not lines[0].wakeup.wait(0.05)
    assert 0.045 <= time.monotonic() - start < 10


def test_tasks_and_a_thread_wait_side_by_side(lines: list[Line]) -> None:
    async def main() -> None:
        async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
            for line in lines[1:]:
                tasks.create_task(line.wakeup.wait_async())
            thread = asyncio.create_task(asyncio.to_thread(lines[0].wakeup.wait, 10))
            await asyncio.sleep(0.01)
            for line in lines:
                line.event.signal()
            assert await thread

    asyncio.run(main())


def test_a_second_loop_can_take_over(lines: list[Line]) -> None:
    async def once() -> None:
        lines[0].event.signal()
        async with asyncio.timeout(10):
            await lines[0].wakeup

    asyncio.run(once())
    asyncio.run(once())


def test_a_cancelled_wait_leaves_the_wake_up_for_the_next(lines: list[Line]) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await lines[0].wakeup
        lines[0].event.signal()
        async with asyncio.timeout(10):
            await lines[0].wakeup

    asyncio.run(main())


def test_closing_wakes_a_waiting_thread_with_the_reason(device: Device, lines: list[Line]) -> None:
    failures: list[ClosedError] = []

    def wait() -> None:
        try:
            lines[0].wakeup.wait(10)
        except ClosedError as error:
            failures.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    device.close()
    thread.join(10)
    assert len(failures) == 1
    assert "closed by" in str(failures[0])


def test_drain_serves_a_loop_of_the_users_own(device: Device, lines: list[Line]) -> None:
    import select

    hub = device.interrupts.hub
    lines[3].event.signal(5)
    assert select.select([hub.fileno()], [], [], 10)[0]
    assert hub.drain() == 1
    assert lines[3].total == 5
    assert lines[3].wakeup.take()


def test_a_closed_device_is_named_to_who_adds_an_event(device: Device) -> None:
    hub = device.interrupts.hub
    device.close()
    event = EventFd()
    with pytest.raises(ClosedError, match=r"mock:minimal: add an event: closed by .*test_hub\.py"):
        hub.add(event, lambda count: None)
    event.close()


def test_a_device_that_will_not_interrupt_any_more_fails_later_waits_too(device: Device) -> None:
    hub = device.interrupts.hub
    hub.fail(ClosedError("wait", device="mock:minimal", why="the server is gone"))
    with pytest.raises(ClosedError, match="the server is gone"):
        hub.wakeup().wait(0)
