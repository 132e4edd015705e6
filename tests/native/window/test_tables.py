# SPDX-License-Identifier: Apache-2.0
"""Tables of 32-bit words, however they are given: as single accesses would be, or refused with nothing stored."""

from __future__ import annotations

import os
from array import array
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.native.conftest import PAGE
from tests.native.test_fork import closed_here, in_child
from tests.native.window.below import Other, written
from vfio_ims.errors import ClosedError, DeviceError, UsageError
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.window import MappedWindow, Piece

Steps = st.lists(st.tuples(st.integers(0, 8).map(lambda n: 4 * n), st.integers(0, 6)), min_size=1, max_size=20)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=70),
    Steps,
    st.sampled_from((0, 4, 12, 16, 20, 32, 64)),
    st.sampled_from((tuple, list)),
    st.booleans(),
    st.integers(0, 3),
)
def test_any_table_is_what_single_accesses_would_be(
    rows: list[int],
    steps: list[tuple[int, int]],
    stride: int,
    kind: type[Sequence[Any]],
    in_order: bool,
    misaligned: int,
) -> None:
    """Rows and steps may come again: the last one stays. Strides that are powers of two, and others."""
    if in_order:
        steps = [(at, number) for number, (at, _) in enumerate(steps[:5])]
    per_row = max(source for _, source in steps) + 1
    words = array("I", [n * 0x9E37_79B1 & 0xFFFF_FFFF for n in range(1, per_row * len(rows) + 1)])
    expected = bytearray(PAGE)
    for number, row in enumerate(rows):
        for at, source in steps:
            place = 0x100 + row * stride + at
            expected[place : place + 4] = words[number * per_row + source].to_bytes(4, "little")
    shifted = memoryview(bytes(misaligned) + words.tobytes())[misaligned:]
    with SharedMemory(PAGE) as memory, MappedWindow(PAGE, [Piece(memory.fd, 0, 0, PAGE)]) as window:
        window.write_table(0x100, stride, array("I", rows), kind(steps), shifted)
        with memory.view as view:
            assert view[:PAGE] == expected


ROWS, WORDS, STEPS = array("I", [1, 2]), array("I", [5, 6]), ((0, 0),)
WRONG: list[tuple[Any, ...]] = [
    (-1, 16, ROWS, STEPS, WORDS),
    (1 << 64, 16, ROWS, STEPS, WORDS),
    (0, -16, ROWS, STEPS, WORDS),
    ("0", 16, ROWS, STEPS, WORDS),
    (0, 16, 5, STEPS, WORDS),
    (0, 16, ROWS, STEPS, 5),
    (0, 16, ROWS, STEPS, array("I", [1])),
    (0, 16, ROWS, STEPS, array("I", [1, 2, 3])),
    (0, 16, ROWS, ((0, 1),), WORDS),
    (0, 16, ROWS, ((-4, 0),), WORDS),
    (0, 16, ROWS, ((0, -1),), WORDS),
    (0, 16, ROWS, ((1 << 32, 0),), WORDS),
    (0, 16, ROWS, ((0, 1 << 70),), WORDS),
    (0, 16, ROWS, ((0,),), WORDS),
    (0, 16, ROWS, (("0", 0),), WORDS),
    (0, 16, ROWS, ((2, 0),), WORDS),
    (0, 16, ROWS, 17 * ((0, 0),) + ((2, 0),), WORDS),
    (0, 16, memoryview(array("I", [1, 0, 2, 0]))[::2], STEPS, WORDS),
]


@pytest.mark.parametrize("given", WRONG, ids=[str(number) for number in range(len(WRONG))])
def test_one_thing_that_is_wrong_stores_nothing(window: MappedWindow, memory: int, given: tuple[Any, ...]) -> None:
    with pytest.raises(UsageError):
        window.write_table(*given)
    assert written(memory, 0, 4 * PAGE) == bytes(4 * PAGE)


def test_a_hole_is_left_to_the_trap_and_the_rest_with_it(memory: int) -> None:
    trap: Any = Other()
    with MappedWindow(2 * PAGE, [Piece(memory, 0, 0, PAGE)], trap=trap) as window:
        window.write_table(0, PAGE, array("I", [0, 1]), STEPS, WORDS)
    assert trap.asked == [("write32", PAGE, 6)]
    assert written(memory, 0, 4) == (5).to_bytes(4, "little")


def test_a_diverted_window_is_asked(window: MappedWindow, memory: int) -> None:
    taker: Any = Other()
    window.divert(taker)
    window.write_table(0, 16, ROWS, STEPS, WORDS)
    assert taker.asked == [("write_table", 0, 16, ROWS, STEPS, WORDS)]
    window.undiverted().write_table(0, 16, ROWS, STEPS, WORDS)
    assert written(memory, 16, 4) == (5).to_bytes(4, "little")


def test_memory_that_goes_is_an_error(window: MappedWindow, memory: int) -> None:
    os.ftruncate(memory, 0)
    with pytest.raises(DeviceError, match="SIGBUS"):
        window.write_table(0, 16, ROWS, STEPS, WORDS)


def test_a_closed_window_and_a_forked_child_have_none_of_it(window: MappedWindow) -> None:
    assert in_child(lambda: closed_here(lambda: window.write_table(0, 16, ROWS, STEPS, WORDS))) == 0
    window.close()
    with pytest.raises(ClosedError):
        window.write_table(0, 16, ROWS, STEPS, WORDS)
    assert ROWS.tolist() == [1, 2]
    ROWS.append(3)  # nothing holds it
    ROWS.pop()
