# SPDX-License-Identifier: Apache-2.0
"""Interrupts as eventfds: finding and draining those that were signalled."""

from __future__ import annotations

import os
import select
import selectors
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from tests.benchmarks import in_c
from tests.benchmarks.pairs import Pairs
from tests.benchmarks.rivals import lone, tinygrad
from tests.benchmarks.rivals.rows import Contest, Group, Row, run
from vfio_ims.native.events import EventFd, Poller, signal_many

WATCHED = 64
C, SELECTORS = "C: epoll_wait and read", "selectors and os.read"
READS, ENTRY = "the kernel: one read of each eventfd", "the kernel's epoll_wait and read, and a lock in Python"
ALL, ONE, ALONE = f"drain {WATCHED} of {WATCHED} eventfds", f"drain 1 of {WATCHED} eventfds", "drain the only eventfd"
ROWS = (
    *(Row(ALL, rival, READS) for rival in (C, SELECTORS, "lone's way")),
    *(Row(ONE, rival, ENTRY) for rival in (C, SELECTORS, "lone's way")),
    *(Row(ALONE, rival, ENTRY) for rival in (C, "tinygrad's way")),
)


def contests(job: str, watched: int, ready: int, module: Any, stack: ExitStack) -> Iterator[Contest]:
    """The rows of ``job``: so many of the eventfds are signalled before each run."""
    events = [stack.enter_context(closing(EventFd())) for _ in range(watched)]
    numbers = [event.fileno() for event in events]
    poller = stack.enter_context(closing(Poller()))
    chooser = stack.enter_context(closing(selectors.EpollSelector()))
    epoll, only = stack.enter_context(select.epoll()), select.poll()
    for number in numbers:
        poller.add(number)
        chooser.register(number, selectors.EVENT_READ)
        epoll.register(number, select.EPOLLIN)
    only.register(numbers[0], select.POLLIN)
    ffi, lib = module.ffi, module.lib
    room, counts = ffi.new("char[]", 16 * watched), ffi.new("uint64_t[]", watched)
    pointer = ffi.cast("struct epoll_event *", room)

    def by_selectors() -> int:
        found = 0
        for key, _ in chooser.select(0):
            found += struct.unpack("<Q", os.read(key.fd, 8)) == (1,)
        return found

    ways: dict[str, Callable[[], int]] = {
        C: lambda: lib.rival_drain(epoll.fileno(), pointer, watched, counts),
        SELECTORS: by_selectors,
        "lone's way": lambda: lone.pending(numbers),
        "tinygrad's way": lambda: tinygrad.sleep(only, numbers[0], 0),
    }
    for row in ROWS:
        if row.job == job:
            yield Contest(
                row,
                lambda: len(poller.wait(0)),
                ways[row.rival],
                lambda: signal_many(numbers[-ready:]),
            )


def measure(rounds: int) -> Iterator[tuple[Row, Pairs]]:
    """Each row's figures."""
    with ExitStack() as stack:
        module = in_c.build(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        for job, watched, ready in ((ALL, WATCHED, WATCHED), (ONE, WATCHED, 1), (ALONE, 1, 1)):
            yield from run(contests(job, watched, ready, module, stack), rounds)


GROUP = Group(
    "Interrupts",
    "Eventfds, as VFIO signals them. Ours names each one and its count.",
    ROWS,
    measure,
)
