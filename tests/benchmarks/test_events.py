# SPDX-License-Identifier: Apache-2.0
"""Draining ready eventfds: one compiled call against Python's selectors and against C."""

from __future__ import annotations

import os
import selectors
import struct
from typing import Any

import pytest

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
