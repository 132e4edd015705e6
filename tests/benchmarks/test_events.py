# SPDX-License-Identifier: Apache-2.0
"""Draining ready eventfds: one compiled call against Python's selectors and against C."""

from __future__ import annotations

import asyncio
import os
import selectors
import struct
from contextlib import closing
from typing import Any

import pytest

import vfio_ims
from vfio_ims.native.events import EventFd, Poller, signal_many


@pytest.mark.parametrize("ready", [1, 64, 2048])
def test_draining(race: Any, rival: Any, ready: int) -> None:
    events = [EventFd() for _ in range(ready)]
    numbers = [event.fileno() for event in events]
    poller, chooser = Poller(), selectors.EpollSelector()
    for number in numbers:
        poller.add(number)
        chooser.register(number, selectors.EVENT_READ)
    signal = lambda: signal_many(numbers)  # noqa: E731 - both sides raise the events in the same way

    def ours() -> None:
        assert len(poller.wait(0)) == ready

    def by_selectors() -> None:
        found = 0
        while found < ready:
            for key, _ in chooser.select(0):
                struct.unpack("<Q", os.read(key.fd, 8))
                found += 1

    ffi, lib = rival.ffi, rival.lib
    room, counts = ffi.new("char[]", 16 * ready), ffi.new("uint64_t[]", ready)
    pointer = ffi.cast("struct epoll_event *", room)
    import select

    epoll = select.epoll()
    for number in numbers:
        epoll.register(number, select.EPOLLIN)

    def in_c() -> None:
        assert lib.rival_drain(epoll.fileno(), pointer, ready, counts) == ready

    race(f"drain {ready} ready eventfds", ours, by_selectors, against="Python's selectors", prepare=signal)
    race(f"drain {ready} ready eventfds", ours, in_c, against="C: epoll_wait and read", prepare=signal)
    chooser.close()
    epoll.close()
    poller.close()
    for event in events:
        event.close()


_TURNS = 50


def test_the_way_to_the_coroutine(race: Any) -> None:
    """From the eventfd that the kernel signals to the coroutine that awaits the slot.

    What is more than asyncio's, when that took 9.4 us: 0.5 for the loop's look through our epoll, 0.8 for the hub's
    lock and a read that cannot block, 0.6 for the donor's and the flag's Python, 0.65 for the await, of which 0.25 are
    asyncio's getpid before Python 3.12.
    """
    bare = EventFd()
    waiting: list[asyncio.Future[None]] = []

    def ready() -> None:
        os.read(bare.fileno(), 8)
        waiting.pop().set_result(None)

    with closing(asyncio.new_event_loop()) as loop, vfio_ims.open_driver("mock:intel-dsa,slots=256") as dsa:
        interrupt = dsa.ims.allocate(exclusive=True)
        event = dsa.ims.donor_of(interrupt.slot).attached.event

        async def by_add_reader() -> None:
            for _ in range(_TURNS):
                bare.signal()
                future = loop.create_future()
                waiting.append(future)
                await future

        async def ours() -> None:
            for _ in range(_TURNS):
                event.signal()
                await interrupt

        loop.add_reader(bare.fileno(), ready)
        try:
            race(
                f"{_TURNS} times from an eventfd to a coroutine",
                lambda: loop.run_until_complete(ours()),
                lambda: loop.run_until_complete(by_add_reader()),
                against="asyncio's bare add_reader",
                at_most=1.3,
                missed="1.04 to 1.26, up to 1.45 on a busy machine: a nested epoll, a lock, three Python calls",
            )
        finally:
            loop.remove_reader(bare.fileno())
            bare.close()
