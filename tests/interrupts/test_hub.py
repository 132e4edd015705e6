# SPDX-License-Identifier: Apache-2.0
"""The event hub: threads that take turns draining, tasks, and closing under waiters."""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterator

import pytest

import vfio_ims
from vfio_ims.device import Device
from vfio_ims.errors import ClosedError
from vfio_ims.interrupts import EventHub, Wakeup
from vfio_ims.interrupts.wakeup import take_each
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


def test_another_line_is_served_beside_one_that_never_rests(lines: list[Line]) -> None:
    async def main() -> int:
        turns = 0
        other = asyncio.create_task(lines[1].wakeup.wait_async())
        while not other.done():
            lines[0].event.signal()
            await lines[0].wakeup
            turns += 1
            if turns == 50:
                lines[1].event.signal()
        return turns

    assert asyncio.run(asyncio.wait_for(main(), 10)) < 50 + 40


def test_each_of_many_events_is_counted_once(lines: list[Line]) -> None:
    async def main() -> None:
        for turn in range(100):
            for line in lines[: turn % 3 + 1]:
                line.event.signal(turn + 1)
            for line in lines[: turn % 3 + 1]:
                await line.wakeup

    asyncio.run(asyncio.wait_for(main(), 10))
    turns = [[turn + 1 for turn in range(100) if turn % 3 >= number] for number in range(len(lines))]
    assert [line.total for line in lines] == [sum(counts) for counts in turns]


def test_a_loop_is_not_blocked_where_another_process_makes_an_eventfd_blocking(lines: list[Line]) -> None:
    async def main() -> None:
        for _ in range(5):
            lines[0].event.signal()
            await lines[0].wakeup
        os.set_blocking(lines[0].event.fileno(), True)
        lines[1].event.signal()
        await lines[1].wakeup

    asyncio.run(asyncio.wait_for(main(), 10))


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_sink_that_raises_in_a_loop_takes_no_event_from_others(
    device: Device, lines: list[Line], error: type[BaseException]
) -> None:
    """An error is the loop's to report; what Ctrl-C broke off is given to the sink again."""
    hub, event, counts, told = device.interrupts.hub, EventFd(), [], []
    first = [error("once")]

    def sink(count: int) -> None:
        counts.append(count)
        if count == 7 and first:
            raise first.pop()
        lines[0].wakeup.wake()

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: told.append(context["exception"]))
        for count in (1, 2, 3):
            event.signal(count)
            await lines[0].wakeup
        event.signal(7)
        await asyncio.sleep(0)
        lines[1].event.signal()
        await lines[1].wakeup

    hub.add(event, sink)
    with contextlib.closing(asyncio.new_event_loop()) as loop:
        task = loop.create_task(main())
        if error is KeyboardInterrupt:
            with pytest.raises(KeyboardInterrupt):
                loop.run_until_complete(task)
        loop.run_until_complete(asyncio.wait_for(task, 10))
    assert counts == [1, 2, 3, 7] + [7] * (error is KeyboardInterrupt)
    assert [type(one) for one in told] == [ValueError] * (error is ValueError)
    hub.remove(event)
    event.close()


def test_only_the_thread_that_drains_is_in_the_loops_reader(device: Device) -> None:
    """Another thread that raises a flag meanwhile must not resolve futures of that loop on the spot."""
    hub, event, seen, wakeup = device.interrupts.hub, EventFd(), [], device.interrupts.hub.wakeup()

    def sink(count: int) -> None:
        other = threading.Thread(target=lambda: seen.append(hub.draining()))
        other.start()
        other.join(10)
        seen.append(hub.draining())
        wakeup.wake()

    async def main() -> asyncio.AbstractEventLoop:
        event.signal()
        await wakeup
        return asyncio.get_running_loop()

    hub.add(event, sink)
    loop = asyncio.run(main())
    assert seen == [None, loop]
    assert hub.draining() is None
    hub.remove(event)
    event.close()


class _ClosedJustNow(asyncio.SelectorEventLoop):
    """Another thread closes it between a look at it and its use."""

    said = False

    def is_closed(self) -> bool:
        return not self.said and super().is_closed()


def test_a_loop_that_is_closed_just_now_takes_no_event_from_others(lines: list[Line]) -> None:
    loop = _ClosedJustNow()
    task = loop.create_task(lines[0].wakeup.wait_async())
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    loop.said = True
    for line in lines[:2]:
        line.event.signal()
    assert lines[1].wakeup.wait(5)
    assert lines[0].wakeup.raised
    loop.said = False
    task._log_destroy_pending = False  # type: ignore[attr-defined]


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


def test_the_wake_ups_of_many_are_taken_at_once(device: Device) -> None:
    hub = device.interrupts.hub
    made = hub.wakeups(3)
    made[0].wake()
    made[2].wake()
    assert take_each(made) == [True, False, True]
    assert take_each(made) == [False] * 3
    made[1].fail(ClosedError("wait", device="mock:minimal", why="it is over"))
    with pytest.raises(ClosedError, match="it is over"):
        take_each(made)
    hub.fail(ClosedError("wait", device="mock:minimal", why="the server is gone"))
    for one in hub.wakeups(2):
        with pytest.raises(ClosedError, match="the server is gone"):
            one.wait(0)
