# SPDX-License-Identifier: Apache-2.0
"""Blocks, columns and tables: as single accesses would be, and refused whole."""

from __future__ import annotations

import array

import pytest

from tests.native.conftest import PAGE
from tests.native.window.below import written
from vfio_ims.errors import UsageError
from vfio_ims.native.window import MappedWindow


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_a_block_is_what_single_accesses_would_be(window: MappedWindow, width: int) -> None:
    data = bytes(range(64))
    window.write_block(PAGE - 32, data, width)
    assert window.read_block(PAGE - 32, 64 // width, width) == data
    assert window.read8(PAGE) == 32
    assert window.read_block(0, 0, width) == b""


def test_a_column_is_what_single_accesses_would_be(window: MappedWindow) -> None:
    window.write_block(PAGE - 32, bytes(range(64)), 4)
    words = window.read_table(PAGE - 32, 16, array.array("I", [3, 0, 1]))
    assert words == b"".join(window.read32(PAGE - 32 + 16 * row).to_bytes(4, "little") for row in (3, 0, 1))
    assert window.read_table(0, 16, array.array("I")) == b""
    for refused in (
        lambda: window.read_table(2, 16, array.array("I", [0])),
        lambda: window.read_table(0, 16, array.array("I", [1 << 20])),
        lambda: window.read_table(0, -16, array.array("I", [0])),
        lambda: window.read_table(1 << 70, 16, array.array("I", [0])),
        lambda: window.read_table(0, 16, b"abc"),
    ):
        with pytest.raises(UsageError):
            refused()


def test_a_block_is_refused_whole(window: MappedWindow, memory: int) -> None:
    for refused in (
        lambda: window.write_block(2 * PAGE - 4, b"\xff" * 8),
        lambda: window.write_block(4 * PAGE - 4, b"\xff" * 8),
        lambda: window.write_block(2, b"\xff" * 4),
        lambda: window.write_block(0, b"\xff" * 3),
        lambda: window.write_block(0, b"\xff" * 4, 3),
        lambda: window.write_block(-4, b"\xff" * 4),
        lambda: window.read_block(0, -1),
        lambda: window.read_block(0, 1 << 20),
    ):
        with pytest.raises(UsageError):
            refused()
    assert written(memory, 0, 4 * PAGE) == bytes(4 * PAGE)


def test_a_table_is_written_row_by_row_in_the_order_of_the_steps(window: MappedWindow, memory: int) -> None:
    # Address low, high, data, control: masked first, unmasked last, as an IMS entry is written.
    steps = [(12, 4), (0, 0), (4, 1), (8, 2), (12, 3)]
    rows = array.array("I", [3, 1])
    words = array.array("I", [0xFEE0_0000, 0, 0x21, 0, 1, 0xFEE0_1000, 0, 0x22, 2, 1])
    window.write_table(0x100, 16, rows, steps, words)
    table = memoryview(written(memory, 0x100, 64)).cast("I").tolist()
    assert table[4:8] == [0xFEE0_1000, 0, 0x22, 2]
    assert table[12:16] == [0xFEE0_0000, 0, 0x21, 0]
    assert table[:4] == table[8:12] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("offset", "stride", "rows", "steps", "words"),
    [
        (0x100, 16, [0, 0xFFFF_FFFF], [(0, 0)], [1, 2]),
        (0x100, 16, [0, PAGE], [(0, 0)], [1, 2]),
        (0x102, 16, [0], [(0, 0)], [1]),
        (0x100, 18, [0, 1], [(0, 0)], [1, 2]),
        (0x100, 16, [0], [(2, 0)], [1]),
        (0x100, 16, [0], [(0, 1)], [1]),
        (0x100, 16, [0, 1], [(0, 0)], [1, 2, 3]),
        (0x100, 16, [0], [(-4, 0)], [1]),
        (2 * PAGE - 16, 16, [0, 1], [(0, 0)], [1, 2]),
        (1 << 62, 16, [0], [(0, 0)], [1]),
        (0, 1 << 62, [0, 4], [(0, 0)], [1, 1]),
    ],
)
def test_a_table_that_does_not_fit_is_not_started(
    window: MappedWindow,
    memory: int,
    offset: int,
    stride: int,
    rows: list[int],
    steps: list[tuple[int, int]],
    words: list[int],
) -> None:
    for some in (steps, tuple(steps)):
        with pytest.raises(UsageError):
            window.write_table(offset, stride, array.array("I", rows), some, array.array("I", words))
    assert written(memory, 0, 4 * PAGE) == bytes(4 * PAGE)


def test_an_empty_table_is_nothing(window: MappedWindow) -> None:
    window.write_table(0, 16, b"", [(0, 0)], b"")
