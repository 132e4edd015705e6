# SPDX-License-Identifier: Apache-2.0
"""Commands of 16 bytes to a portal, four in a store: laid out as columns say, for credits; all of them or none."""

from __future__ import annotations

import os
import threading
from array import array
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.native.conftest import PAGE
from tests.native.test_fork import in_child
from tests.native.window.below import Other, written
from vfio_ims.errors import ClosedError, DeviceError, UnsupportedError, UsageError, VfioImsError
from vfio_ims.native.command_portal import CommandPortal, CreditPool
from vfio_ims.native.cpu import has_store64
from vfio_ims.native.lib import native
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.window import MappedWindow, Piece

CODES = {1: "B", 2: "H", 4: "I"}


def portal(
    window: Any, offset: int = 64, *, pieces: bool = True, column: tuple[int, int] = (12, 2), number_at: int = 12
) -> CommandPortal:
    return CommandPortal(
        window, offset, "BAR 0", pieces=pieces, column=column, acknowledge=1 << 56, number_at=number_at, most=1024
    )


def store(to: CommandPortal, pool: CreditPool, second: int, firsts: Any, column: Any = None) -> int:
    ffi = native().ffi
    held = ffi.NULL if column is None else ffi.from_buffer(column)
    return to.store(to.c, pool.c, second, ffi.from_buffer(firsts), held, len(firsts))


def laid_out(second: int, firsts: Any, column: Any, at: int) -> bytes:
    """The commands as struct would pack them, filled up with zeros to whole stores."""
    words = b""
    for n, first in enumerate(firsts):
        word = second | (column[n] << 8 * (at - 8) if column is not None else 0)
        words += first.to_bytes(8, "little") + word.to_bytes(8, "little")
    return words + bytes(-len(words) % 64)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 21), st.sampled_from((None, 1, 2, 4)), st.integers(0, 7))
def test_each_store_has_four_commands_and_the_last_is_filled_up(
    data: st.DataObject, most: int, width: int | None, misaligned: int
) -> None:
    """Of any alignment. All stores go to one place, where the last of each count is seen."""
    at = data.draw(st.integers(8, 16 - (width or 1)))
    field = (1 << 8 * (width or 1)) - 1 << 8 * (at - 8)
    second = data.draw(st.integers(0, 2**64 - 1)) & (~field if width else -1) & 2**64 - 1
    firsts = array("Q", data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=most, max_size=most)))
    raw = memoryview(bytes(misaligned) + firsts.tobytes())[misaligned:]
    column = None
    if width:
        values = st.lists(st.integers(0, 2 ** (8 * width) - 1), min_size=most, max_size=most)
        column = array(CODES[width], data.draw(values))
    ffi = native().ffi
    with SharedMemory(PAGE) as memory, MappedWindow(PAGE, [Piece(memory.fd, 0, 0, PAGE)]) as window:
        to, pool = portal(window, column=(at, width or 1)), CreditPool(10_000)
        for count in range(1, most + 1):
            held = ffi.NULL if column is None else ffi.from_buffer(column)
            assert to.store(to.c, pool.c, second, ffi.from_buffer(raw), held, count) == 0
            whole = laid_out(second, firsts[:count], column, at)
            with memory.view as view:
                assert view[64:128] == whole[-64:]
                assert not any(view[:64])
                assert not any(view[128:])
        assert pool.left == 10_000 - most * (most + 1) // 2


def test_more_than_fit_one_block_end_with_the_last(window: MappedWindow, memory: int) -> None:
    firsts, flows = array("Q", range(1027)), array("H", range(1027))
    assert store(portal(window), CreditPool(2000), 5, firsts, flows) == 0
    assert written(memory, 64, 64) == laid_out(5, firsts, flows, 12)[-64:]


def test_none_at_all_need_no_portal(window: MappedWindow, memory: int) -> None:
    pool = CreditPool(3)
    assert store(portal(window, 1), pool, 7, array("Q")) == 0
    assert pool.left == 3
    assert written(memory, 0, PAGE) == bytes(PAGE)


def refused(to: CommandPortal, memory: int, count: int = 5) -> int:
    """The status of a store that is refused: nothing is stored, and the credits are there."""
    pool, before = CreditPool(10), written(memory, 0, 3 * PAGE)
    status = store(to, pool, 9, array("Q", range(1, count + 1)), array("H", range(count)))
    assert status < 0
    assert pool.left == 10
    assert written(memory, 0, 3 * PAGE) == before
    return status


def test_without_credits_for_all_nothing_is_stored(window: MappedWindow, memory: int) -> None:
    lib = native().lib
    to = portal(window)
    assert refused(to, memory, 11) == lib.ACCESS_BUSY
    to.check(lib.ACCESS_BUSY, "enqueue")
    pool = CreditPool(11)
    assert store(to, pool, 9, array("Q", range(11))) == 0
    assert pool.left == 0
    assert store(to, pool, 9, array("Q", [1])) == lib.ACCESS_BUSY
    pool.give(1)
    assert store(to, pool, 9, array("Q", [1])) == 0


@pytest.mark.parametrize(
    ("offset", "status", "words"),
    [
        (4 * PAGE, "ACCESS_BOUNDS", "must lie within"),
        (4 * PAGE - 32, "ACCESS_BOUNDS", "must lie within"),
        (32, "ACCESS_MISALIGNED", "multiple of 64"),
    ],
)
def test_a_place_that_is_none_is_refused(
    window: MappedWindow, memory: int, offset: int, status: str, words: str
) -> None:
    to = portal(window, offset)
    code = refused(to, memory)
    assert code == getattr(native().lib, status)
    with pytest.raises(UsageError, match=words):
        to.check(code, "enqueue")


def test_what_is_not_mapped_is_left_to_the_window(memory: int) -> None:
    pieces = [Piece(memory, 0, 0, PAGE), Piece(memory, PAGE, PAGE, PAGE, writable=False)]
    trap: Any = Other()
    with MappedWindow(4 * PAGE, pieces, guard=(0, 64), trap=trap) as window:
        for offset, status in ((PAGE, "ACCESS_TRAPPED"), (3 * PAGE, "ACCESS_TRAPPED"), (0, "ACCESS_GUARDED")):
            assert refused(portal(window, offset), memory) == getattr(native().lib, status)
        to = portal(window, PAGE)
        to.check(native().lib.ACCESS_TRAPPED, "enqueue")  # raises nothing: the trap may take it
        with pytest.raises(UsageError, match="MSI-X table"):
            to.check(native().lib.ACCESS_GUARDED, "enqueue")
    assert not trap.asked


def test_a_diverted_window_and_others_are_left_alone(window: MappedWindow, memory: int) -> None:
    other: Any = Other()
    to = portal(window)
    window.divert(other)
    assert refused(to, memory) == native().lib.ACCESS_BUSY
    assert refused(portal(window, pieces=False), memory) == native().lib.ACCESS_BUSY, "whatever the processor has"
    window.divert(None)
    assert store(to, CreditPool(1), 0, array("Q", [1])) == 0
    other.size, other.label = PAGE, "other"
    assert refused(portal(other), memory) == native().lib.ACCESS_BUSY
    assert not other.asked


def test_a_closed_window_says_so(window: MappedWindow, memory: int) -> None:
    to = portal(window)
    window.close()
    with pytest.raises(ClosedError, match="enqueue"):
        to.check(refused(to, memory), "enqueue")


def test_a_forked_child_stores_nothing(window: MappedWindow, memory: int) -> None:
    to = portal(window)

    def check() -> None:
        with pytest.raises(ClosedError, match="fork"):
            to.check(refused(to, memory), "enqueue")

    assert in_child(check) == 0


def test_memory_that_goes_is_an_error_and_keeps_the_credits(window: MappedWindow, memory: int) -> None:
    to, pool = portal(window), CreditPool(10)
    os.ftruncate(memory, 0)  # as a device whose memory decoding is off: SIGBUS
    status = store(to, pool, 9, array("Q", range(5)))
    assert status == native().lib.ACCESS_GONE
    assert pool.left == 5, "some may have been stored"
    with pytest.raises(DeviceError, match="SIGBUS"):
        to.check(status, "enqueue")


def test_one_store_of_64_bytes_needs_the_instruction(window: MappedWindow, memory: int) -> None:
    to = portal(window, pieces=False)
    firsts, flows = array("Q", range(1, 600)), array("H", range(1, 600))
    if has_store64():
        assert store(to, CreditPool(1000), 5, firsts, flows) == 0
        assert written(memory, 64, 64) == laid_out(5, firsts, flows, 12)[-64:]
        return
    with pytest.raises(UnsupportedError, match="64 bytes as one write"):
        to.check(refused(to, memory), "enqueue")


@pytest.mark.parametrize(
    ("column", "number_at"), [((7, 1), 12), ((15, 2), 12), ((8, 3), 12), ((8, 8), 12), ((12, 2), 7), ((12, 2), 16)]
)
def test_a_layout_that_no_command_has_is_refused(window: MappedWindow, column: tuple[int, int], number_at: int) -> None:
    with pytest.raises(UsageError, match="bytes 8 to 15"):
        portal(window, column=column, number_at=number_at)
    with pytest.raises(UsageError, match="1 or more"):
        CommandPortal(window, 0, "it", pieces=True, column=(12, 2), acknowledge=0, number_at=12, most=0)


def test_a_column_that_c_does_not_know_stores_nothing(window: MappedWindow, memory: int) -> None:
    for width, shift in ((0, 0), (3, 0), (8, 0), (2, 49)):
        to = portal(window)
        to.c.column_width, to.c.column_shift = width, shift
        assert refused(to, memory) == native().lib.ACCESS_INVALID


def test_threads_take_no_more_credits_than_there_are(window: MappedWindow) -> None:
    pool, taken = CreditPool(20_001), []
    to = portal(window)

    def send() -> None:
        mine = 0
        while store(to, pool, 0, array("Q", [1, 2, 3])) == 0:
            mine += 3
        taken.append(mine)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == 20_001
    assert pool.left == 0
    assert not pool.take(1)
    pool.give(2)
    assert pool.take(2)


def test_closing_while_commands_are_stored() -> None:
    firsts, found = array("Q", range(5000)), list[VfioImsError]()

    def send(to: CommandPortal, pool: CreditPool) -> None:
        try:
            while (status := store(to, pool, 0, firsts)) == 0:
                pass
            to.check(status, "enqueue")
        except VfioImsError as refusal:
            found.append(refusal)

    for _ in range(20):
        with SharedMemory(PAGE) as memory:
            window, pool = MappedWindow(PAGE, [Piece(memory.fd, 0, 0, PAGE)]), CreditPool(1 << 40)
            thread = threading.Thread(target=send, args=(portal(window), pool))
            thread.start()
            while not any(memory.view[64:128]):
                pass
            window.close()
            thread.join()
            assert ((1 << 40) - pool.left) % 5000 == 0
    assert [type(error) for error in found] == 20 * [ClosedError]


def test_a_close_waits_for_those_that_have_begun_and_refuses_the_others(window: MappedWindow, memory: int) -> None:
    to, pool = portal(window), CreditPool(8)
    assert to.enter()
    assert not to.close(timeout=0.02), "it has not ended"
    assert not to.enter()
    to.leave()
    assert to.close()
    assert store(to, pool, 0, array("Q", [1])) == native().lib.ACCESS_CLOSED
    assert pool.left == 8
    assert not any(os.pread(memory, PAGE, 0)[64:128])


def test_a_forked_child_closes_without_the_threads_of_its_parent(window: MappedWindow) -> None:
    to = portal(window)
    assert to.enter()

    def check() -> None:
        assert to.close(timeout=20)

    assert in_child(check) == 0
    to.leave()
