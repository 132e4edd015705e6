# SPDX-License-Identifier: Apache-2.0
"""Eventfds and the poller: no count is lost, none is invented, and the cost grows with events."""

from __future__ import annotations

import array
import asyncio
import os
import select
import signal as signals
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from vfio_ims.errors import ClosedError, DeviceError, UsageError
from vfio_ims.native.events import EventFd, Poller, signal, signal_many, signal_merged


@pytest.fixture
def poller() -> Iterator[Poller]:
    with Poller() as made:
        yield made


@pytest.fixture
def event() -> Iterator[EventFd]:
    with EventFd() as made:
        yield made


def test_an_eventfd_counts_and_drains(event: EventFd) -> None:
    assert event.drain() == 0
    event.signal()
    event.signal(41)
    assert event.drain() == 42
    assert event.drain() == 0


def test_a_merged_signal_leaves_one_pending(event: EventFd) -> None:
    assert [signal_merged(event.fileno()) for _ in range(3)] == [True, False, False]
    assert event.drain() == 1
    assert signal_merged(event.fileno())
    assert signal(event.fileno())
    assert event.drain() == 2


def test_merged_signals_of_many_threads_leave_one_pending(event: EventFd) -> None:
    added = []

    def send() -> None:
        for _ in range(200):
            added.append(signal_merged(event.fileno()))

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(added) == 1
    assert event.drain() == 1


@pytest.mark.parametrize("kind", [list, tuple, lambda fds: array.array("i", fds)])
def test_many_are_signalled_in_one_call(kind: Callable[[list[int]], object], closing: ExitStack) -> None:
    events = [closing.enter_context(EventFd()) for _ in range(5)]
    signal_many(kind([event.fileno() for event in events] + [events[0].fileno()]))  # type: ignore[arg-type]
    assert [event.drain() for event in events] == [2, 1, 1, 1, 1]


def test_a_bad_descriptor_is_an_error(event: EventFd) -> None:
    with pytest.raises(DeviceError):
        signal(999_999)
    with pytest.raises(DeviceError):
        signal_merged(-1)
    with pytest.raises(DeviceError):
        signal_many([event.fileno(), -1])
    assert event.drain() == 1, "one bad descriptor does not keep the others from their signal"


def test_closed_is_closed(event: EventFd) -> None:
    event.close()
    event.close()
    for used in (event.fileno, event.drain, event.signal):
        with pytest.raises(ClosedError, match="closed by"):
            used()


def test_wait_names_what_was_signalled_and_drains_it(poller: Poller, closing: ExitStack) -> None:
    events = [closing.enter_context(EventFd()) for _ in range(3)]
    for number, event in enumerate(events):
        poller.add(event.fileno(), key=f"vector {number}")
    assert poller.wait(0) == []
    events[0].signal(3)
    events[2].signal()
    assert sorted(poller.wait(1)) == [("vector 0", 3), ("vector 2", 1)]
    assert poller.wait(0) == []
    assert [event.drain() for event in events] == [0, 0, 0]


def test_without_a_key_the_descriptor_is_the_name(poller: Poller, event: EventFd) -> None:
    poller.add(event.fileno())
    event.signal()
    assert poller.wait(1) == [(event.fileno(), 1)]


def test_more_events_than_one_batch_come_in_one_wait(poller: Poller, closing: ExitStack) -> None:
    events = [closing.enter_context(EventFd()) for _ in range(700)]
    for event in events:
        poller.add(event.fileno())
    for event in events:
        event.signal()
    assert {fd for fd, _ in poller.wait(1)} == {event.fileno() for event in events}
    assert poller.wait(0) == []


def test_wait_keeps_its_time(poller: Poller) -> None:
    began = time.monotonic()
    assert poller.wait(0.05) == []
    assert 0.05 <= time.monotonic() - began < 10


def test_another_thread_can_signal_and_wake(poller: Poller, event: EventFd) -> None:
    poller.add(event.fileno())
    for act, result in ((event.signal, [(event.fileno(), 1)]), (poller.wake, [])):
        timer = threading.Timer(0.02, act)
        timer.start()
        assert poller.wait(10) == result
        timer.join()


def test_a_wake_before_the_sleep_counts(poller: Poller, event: EventFd) -> None:
    """Who looks, then sleeps, does not miss what was said in between."""
    epoch = poller.epoch
    poller.wake()
    began = time.monotonic()
    assert not poller.sleep(epoch, 10)
    assert time.monotonic() - began < 5
    poller.add(event.fileno())
    event.signal()
    assert poller.sleep(poller.epoch, 10), "and events are seen without draining them"
    assert poller.wait(0) == [(event.fileno(), 1)]


def test_what_was_taken_comes_again_until_it_is_acknowledged(poller: Poller, event: EventFd) -> None:
    """Ctrl-C between the two loses nothing."""
    poller.add(event.fileno())
    event.signal(3)
    assert poller.take() == poller.take() == [(event.fileno(), 3)]
    assert poller.sleep(poller.epoch, 10), "no thread sleeps over it"
    poller.acknowledge()
    assert poller.take() == []


def test_a_nudge_makes_it_readable_once(poller: Poller) -> None:
    poller.nudge()
    assert select.select([poller], [], [], 0)[0]
    assert poller.take() == []
    assert not select.select([poller], [], [], 0)[0]


def test_the_next_sleeper_leads_when_one_leaves(poller: Poller, event: EventFd) -> None:
    """Three sleep; one waits for the descriptors. Whichever leaves, an event still ends another's sleep."""
    poller.add(event.fileno())
    epoch, woken = poller.epoch, threading.Semaphore(0)

    def sleep(seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if poller.sleep(poller.epoch, left):
                woken.release()
                return

    threads = [threading.Thread(target=sleep, args=(seconds,)) for seconds in (0.05, 20, 20)]
    for thread in threads:
        thread.start()
    threads[0].join()
    event.signal()
    assert woken.acquire(timeout=10)
    assert woken.acquire(timeout=10)
    assert poller.epoch != epoch
    for thread in threads:
        thread.join()


def test_closing_ends_a_wait(poller: Poller) -> None:
    timer = threading.Timer(0.02, poller.close)
    timer.start()
    with pytest.raises(ClosedError):
        while not poller.wait(10):
            pass
    timer.join()


def test_a_signal_handler_runs_during_a_wait(poller: Poller) -> None:
    ran = []
    old = signals.signal(signals.SIGALRM, lambda *_: ran.append(time.monotonic()))
    try:
        signals.setitimer(signals.ITIMER_REAL, 0.02)
        began = time.monotonic()
        assert poller.wait(0.2) == []
        assert ran
        assert ran[0] - began < 0.15
        assert time.monotonic() - began >= 0.2, "the wait goes on for the rest of its time"
    finally:
        signals.signal(signals.SIGALRM, old)


def test_a_removed_descriptor_is_silent(poller: Poller, event: EventFd) -> None:
    poller.add(event.fileno())
    event.signal()
    poller.remove(event.fileno())
    assert poller.wait(0) == []
    assert event.drain() == 1, "and keeps its count"
    poller.add(event.fileno())
    event.signal()
    assert poller.wait(1) == [(event.fileno(), 1)]


def test_misuse_is_refused(poller: Poller, event: EventFd) -> None:
    poller.add(event.fileno())
    with pytest.raises(UsageError, match="watched already"):
        poller.add(event.fileno())
    with pytest.raises(UsageError, match="not watched"):
        poller.remove(event.fileno() + 1)
    blocking = os.eventfd(0)
    with pytest.raises(UsageError, match="non-blocking"):
        poller.add(blocking)
    os.close(blocking)
    with pytest.raises(DeviceError):
        poller.add(999_999)


def test_it_serves_asyncio(poller: Poller, event: EventFd) -> None:
    poller.add(event.fileno(), key="irq")

    async def main() -> list[tuple[object, int]]:
        loop = asyncio.get_running_loop()
        got: asyncio.Future[list[tuple[object, int]]] = loop.create_future()
        loop.add_reader(poller.fileno(), lambda: got.set_result(poller.wait(0)))
        loop.call_later(0.01, event.signal)
        try:
            return await asyncio.wait_for(got, 5)
        finally:
            loop.remove_reader(poller.fileno())

    assert asyncio.run(main()) == [("irq", 1)]
    assert select.select([poller], [], [], 0) == ([], [], [])


def test_a_storm_loses_nothing(poller: Poller, closing: ExitStack) -> None:
    """Two threads signal, two wait, one takes descriptors out and back: every count arrives once."""
    events = [closing.enter_context(EventFd()) for _ in range(32)]
    for event in events:
        poller.add(event.fileno())
    sent, got, lock, done = 3000, [0], threading.Lock(), threading.Event()

    def send(part: list[EventFd]) -> None:
        for i in range(sent):
            part[i % len(part)].signal()

    def take() -> None:
        while not done.is_set():
            counts = sum(count for _, count in poller.wait(0.05))
            with lock:
                got[0] += counts

    def shuffle() -> None:
        while not done.is_set():
            for event in events[:4]:
                poller.remove(event.fileno())
                poller.add(event.fileno())

    senders = [threading.Thread(target=send, args=(events[i::2],)) for i in range(2)]
    others = [threading.Thread(target=work) for work in (take, take, shuffle)]
    for thread in senders + others:
        thread.start()
    for thread in senders:
        thread.join()
    deadline = time.monotonic() + 10
    while got[0] < 2 * sent and time.monotonic() < deadline:
        time.sleep(0.01)
    done.set()
    for thread in others:
        thread.join()
    assert got[0] == 2 * sent


def test_the_cost_is_that_of_the_events(poller: Poller, closing: ExitStack) -> None:
    def one_event() -> float:
        best = 1.0
        for _ in range(200):
            event.signal()
            began = time.perf_counter()
            assert len(poller.wait(0)) == 1
            best = min(best, time.perf_counter() - began)
        return best

    event = closing.enter_context(EventFd())
    poller.add(event.fileno())
    alone = one_event()
    for _ in range(800):
        poller.add(closing.enter_context(EventFd()).fileno())
    assert one_event() < 5 * alone + 20e-6


def test_nothing_is_left_behind(held: Callable[[], tuple[int, int]]) -> None:
    def cycle() -> None:
        with Poller() as poller, EventFd() as event:
            poller.add(event.fileno())
            event.signal()
            poller.wait(0)

    cycle()
    before = held()[0]
    for _ in range(50):
        cycle()
    assert held()[0] <= before


class PollerMachine(RuleBasedStateMachine):
    """A poller and some eventfds against plain counters."""

    def __init__(self) -> None:
        super().__init__()
        self.poller = Poller()  # here, so that teardown finds it also where hypothesis ends an example at once
        self.events = [EventFd() for _ in range(6)]
        self.counts = [0] * 6
        self.watched: set[int] = set()

    @rule(i=st.integers(0, 5), n=st.integers(1, 1 << 40))
    def signal(self, i: int, n: int) -> None:
        self.events[i].signal(n)
        self.counts[i] += n

    @rule(i=st.integers(0, 5))
    def merge(self, i: int) -> None:
        assert signal_merged(self.events[i].fileno()) == (self.counts[i] == 0)
        self.counts[i] = self.counts[i] or 1

    @rule(i=st.integers(0, 5))
    def drain(self, i: int) -> None:
        assert self.events[i].drain() == self.counts[i]
        self.counts[i] = 0

    @rule(i=st.integers(0, 5))
    def toggle(self, i: int) -> None:
        if i in self.watched:
            self.poller.remove(self.events[i].fileno())
            self.watched.discard(i)
        else:
            self.poller.add(self.events[i].fileno(), key=i)
            self.watched.add(i)

    @rule(i=st.integers(0, 5))
    def replace(self, i: int) -> None:
        """A new eventfd, most likely of the same number."""
        if i in self.watched:
            self.poller.remove(self.events[i].fileno())
            self.watched.discard(i)
        self.events[i].close()
        self.events[i], self.counts[i] = EventFd(), 0

    @rule()
    @precondition(lambda self: self.watched)
    def wait(self) -> None:
        expected = {(i, self.counts[i]) for i in self.watched if self.counts[i]}
        assert set(self.poller.wait(0)) == expected
        for i, _ in expected:
            self.counts[i] = 0

    @rule()
    def wake(self) -> None:
        self.poller.wake()

    @rule()
    def nudge(self) -> None:
        self.poller.nudge()

    @invariant()
    def ready_when_something_waits(self) -> None:
        if any(self.counts[i] for i in self.watched):
            assert select.select([self.poller], [], [], 0)[0]

    def teardown(self) -> None:
        self.poller.close()
        for event in self.events:
            event.close()


TestPollerMachine = PollerMachine.TestCase
TestPollerMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
