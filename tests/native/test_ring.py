# SPDX-License-Identifier: Apache-2.0
"""Rings of entries that a device fills: what is new is copied, acknowledged and taken, round the end too."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.native.conftest import PAGE
from tests.native.test_fork import in_child
from tests.native.window.below import written
from vfio_ims.errors import ClosedError, UsageError
from vfio_ims.native.command_portal import CommandPortal, CreditPool
from vfio_ims.native.lib import native
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.ring import EntryRing
from vfio_ims.native.window import MappedWindow


class Filled:
    """A ring as its device sees it: what it writes, and where."""

    def __init__(self, memory: SharedMemory, entries: int, size: int = 16, flag_at: int = 15, mask: int = 1) -> None:
        self.view, self.entries, self.size, self.flag_at, self.mask = memory.view, entries, size, flag_at, mask
        self.ring = EntryRing(memory.view, memory.address, entries, size, flag_at, mask)
        self.written = 0

    def entry(self, number: int) -> bytes:
        """The ``number``-th of all that is ever written."""
        one = bytearray((7 * number + n) & 0xFF for n in range(self.size))
        ones = number // self.entries % 2 == 0
        one[self.flag_at] = one[self.flag_at] & ~self.mask | (self.mask if ones else 0)
        return bytes(one)

    def write(self, count: int) -> None:
        for _ in range(count):
            at = self.written % self.entries * self.size
            self.view[at : at + self.size] = self.entry(self.written)
            self.written += 1

    def take(self, limit: int) -> bytes:
        room = self.ring.room()
        count = self.ring.take(limit, room, lambda _: None)
        return bytes(native().ffi.buffer(room)[: self.size * count])

    def close(self) -> None:
        self.ring.close()
        self.view.release()


@pytest.fixture
def memory_of_ring() -> Iterator[SharedMemory]:
    with SharedMemory(64 * PAGE) as memory:
        yield memory


Steps = st.lists(st.tuples(st.integers(0, 70), st.integers(-1, 80)), max_size=30)


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 65), st.sampled_from((1, 3, 16, 24, 64)), st.sampled_from((1, 0x80, 0x30, 0xFF)), Steps, st.data()
)
def test_each_entry_comes_once_and_in_order(
    entries: int, size: int, mask: int, steps: list[tuple[int, int]], data: st.DataObject
) -> None:
    with SharedMemory(2 * PAGE) as memory:
        filled = Filled(memory, entries, size, data.draw(st.integers(0, size - 1)), mask)
        taken = 0
        for written_now, limit in steps:
            filled.write(min(written_now, entries - (filled.written - taken)))
            expected = range(taken, min(filled.written, taken + max(limit, 0)))
            assert filled.take(limit) == b"".join(filled.entry(number) for number in expected)
            taken += len(expected)
            assert filled.ring.taken == taken
        filled.close()


def test_bits_that_only_some_have_are_not_new(memory_of_ring: SharedMemory) -> None:
    filled = Filled(memory_of_ring, 16, mask=0x30)
    for number in range(12):
        filled.view[16 * number + 15] = 0x30
    filled.view[16 * 9 + 15] = 0x10
    assert len(filled.take(16)) == 9 * 16
    filled.close()


def test_what_raises_while_it_is_acknowledged_is_read_again(memory_of_ring: SharedMemory) -> None:
    filled = Filled(memory_of_ring, 8)
    filled.write(3)
    with pytest.raises(ZeroDivisionError):
        filled.ring.take(8, filled.ring.room(), lambda count: count // 0)
    assert filled.ring.taken == 0
    seen: list[int] = []
    assert filled.ring.take(2, filled.ring.room(), seen.append) == 2
    assert seen == [2]
    assert filled.take(1 << 80) == filled.entry(2)
    assert filled.ring.take(1, filled.ring.room(), seen.append) == 0
    assert seen == [2], "nothing is acknowledged"
    filled.close()


def test_restarting_forgets_the_lap(memory_of_ring: SharedMemory) -> None:
    filled = Filled(memory_of_ring, 8)
    filled.write(8)
    filled.take(8)
    filled.write(2)
    assert filled.take(8) == filled.entry(8) + filled.entry(9)
    filled.ring.restart()
    filled.written = 0
    assert filled.take(8) == b""
    filled.write(1)
    assert filled.take(8) == filled.entry(0)
    filled.close()


def test_a_closed_ring_has_nothing_and_holds_no_memory() -> None:
    memory = SharedMemory(PAGE)
    filled = Filled(memory, 8)
    filled.write(4)
    filled.close()
    memory.close()
    assert filled.take(8) == b""


def test_a_forked_child_takes_nothing(memory_of_ring: SharedMemory) -> None:
    filled = Filled(memory_of_ring, 8)
    filled.write(2)

    def check() -> None:
        with pytest.raises(ClosedError, match="fork"):
            filled.take(1)

    assert in_child(check) == 0
    assert len(filled.take(8)) == 32
    filled.close()


@pytest.mark.parametrize(
    ("entries", "size", "flag_at", "mask"),
    [(0, 16, 15, 1), (PAGE // 16 + 1, 16, 15, 1), (8, 16, 16, 1), (8, 16, -1, 1), (8, 16, 15, 0), (8, 16, 15, 256)],
)
def test_a_ring_that_does_not_fit_is_refused(entries: int, size: int, flag_at: int, mask: int) -> None:
    with SharedMemory(PAGE) as memory, memory.view as view, pytest.raises(UsageError, match="do not fit"):
        EntryRing(view, memory.address, entries, size, flag_at, mask)


# --- taken by one call, which acknowledges at a portal --------------------------------------------------------------


class Bench:
    """A ring whose entries are acknowledged at byte 64 of a window, at most ``most`` by one."""

    def __init__(self, filled: Filled, window: MappedWindow, most: int = 1024) -> None:
        self.filled, self.pool = filled, CreditPool(100)
        self.portal = CommandPortal(
            window, 64, "BAR 0", pieces=True, column=(8, 2), acknowledge=0x11 << 56, number_at=12, most=most
        )
        self.portal.give_to(self.pool)

    def take(self, limit: int) -> tuple[int, bytes]:
        """The compiled call's answer, and what it copied."""
        ring = self.filled.ring
        room = ring.room()
        found = self.portal.take(self.portal.c, ring.c, limit, room)
        return found, bytes(native().ffi.buffer(room)[: 16 * max(found, 0)])


@pytest.fixture
def bench(memory_of_ring: SharedMemory, window: MappedWindow) -> Iterator[Bench]:
    with ExitStack() as stack:
        filled = Filled(memory_of_ring, 32)
        stack.callback(filled.close)
        yield Bench(filled, window)


def acknowledged(memory: int) -> bytes:
    return written(memory, 64, 64)


def the_acknowledgement_of(count: int) -> bytes:
    return bytes(8) + (0x11 << 56 | count - 1 << 32).to_bytes(8, "little") + bytes(48)


def test_one_call_takes_acknowledges_and_gives_credits(bench: Bench, memory: int) -> None:
    filled = bench.filled
    assert bench.take(32) == (0, b"")
    assert acknowledged(memory) == bytes(64), "none for nothing"
    filled.write(20)
    assert bench.take(5) == (5, b"".join(map(filled.entry, range(5))))
    assert acknowledged(memory) == the_acknowledgement_of(5)
    assert bench.pool.left == 105
    filled.write(17)
    assert bench.take(1000) == (32, b"".join(map(filled.entry, range(5, 37)))), "round the end, in one"
    assert acknowledged(memory) == the_acknowledgement_of(32)
    assert bench.pool.left == 137
    assert (filled.ring.taken, bench.take(32)) == (37, (0, b""))


def test_an_acknowledgement_has_no_more_than_it_can(bench: Bench, window: MappedWindow, memory: int) -> None:
    filled = bench.filled
    few = Bench(filled, window, most=7)
    filled.write(23)
    assert few.take(32)[0] == 23
    assert acknowledged(memory) == the_acknowledgement_of(23 % 7)
    filled.write(7)
    few.take(32)
    assert acknowledged(memory) == the_acknowledgement_of(7)


def untouched(bench: Bench, memory: int, status: int) -> None:
    """A call that is refused with ``status`` takes, gives and acknowledges nothing."""
    before = acknowledged(memory)
    assert bench.take(32) == (status, b"")
    assert (bench.filled.ring.taken, bench.pool.left) == (0, 100)
    assert acknowledged(memory) == before


def test_what_cannot_be_acknowledged_is_not_taken(bench: Bench, window: MappedWindow, memory: int) -> None:
    lib, portal = native().lib, bench.portal
    bench.filled.write(3)
    window.divert(_Taker())
    untouched(bench, memory, lib.ACCESS_BUSY)
    window.divert(None)
    for offset, status in ((2 * PAGE, lib.ACCESS_TRAPPED), (65, lib.ACCESS_MISALIGNED), (4 * PAGE, lib.ACCESS_BOUNDS)):
        portal.c.offset = offset
        untouched(bench, memory, status)
    portal.c.offset, portal.c.most = 64, 0
    untouched(bench, memory, lib.ACCESS_INVALID)
    portal.c.most, portal.c.pool = 1024, native().ffi.NULL
    untouched(bench, memory, lib.ACCESS_INVALID)
    portal.give_to(bench.pool)
    assert lib.entry_ring_begin(bench.filled.ring.c) == 0, "another thread takes some"
    untouched(bench, memory, lib.ACCESS_BUSY)
    lib.entry_ring_end(bench.filled.ring.c, 0)
    assert bench.take(32)[0] == 3


class _Taker:
    def __getattr__(self, verb: str) -> Any:
        def answer(*_: object) -> int:
            raise AssertionError(verb)

        return answer


def test_a_window_that_is_closed_or_gone_leaves_the_entries(bench: Bench, window: MappedWindow, memory: int) -> None:
    lib = native().lib
    bench.filled.write(3)
    os.ftruncate(memory, 0)
    assert bench.take(32)[0] == lib.ACCESS_GONE
    assert (bench.filled.ring.taken, bench.pool.left) == (0, 100)
    os.ftruncate(memory, 4 * PAGE)
    window.close()
    untouched(bench, memory, lib.ACCESS_CLOSED)


def test_a_forked_child_acknowledges_nothing(bench: Bench, memory: int) -> None:
    bench.filled.write(3)
    assert in_child(lambda: untouched(bench, memory, native().lib.ACCESS_FORKED)) == 0
    assert bench.take(32)[0] == 3


def test_threads_take_each_entry_once(bench: Bench) -> None:
    filled, total = bench.filled, 3000
    found: list[bytes] = []
    done = threading.Event()

    def take() -> None:
        mine: list[bytes] = []
        while not done.is_set():
            count, raw = bench.take(9)
            if count == native().lib.ACCESS_BUSY:
                room = filled.ring.room()
                count = filled.ring.take(9, room, bench.pool.give)
                raw = bytes(native().ffi.buffer(room)[: 16 * count])
            mine += [raw[at : at + 16] for at in range(0, len(raw), 16)]
        found.extend(mine)

    threads = [threading.Thread(target=take) for _ in range(3)]
    for thread in threads:
        thread.start()
    while filled.written < total:
        filled.write(min(5, filled.entries - (filled.written - filled.ring.taken), total - filled.written))
    while filled.ring.taken < total:
        pass
    done.set()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(map(filled.entry, range(total)))
    assert bench.pool.left == 100 + total


def test_closing_waits_for_who_takes(bench: Bench) -> None:
    ring, lib = bench.filled.ring, native().lib
    assert lib.entry_ring_begin(ring.c) == 0
    thread = threading.Thread(target=ring.close)
    thread.start()
    thread.join(0.05)
    assert thread.is_alive()
    lib.entry_ring_end(ring.c, 0)
    thread.join(5)
    assert not thread.is_alive()
