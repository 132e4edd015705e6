# SPDX-License-Identifier: Apache-2.0
"""Rows for portals made of a pattern and columns, in one compiled call; completion bytes collected in another."""

from __future__ import annotations

import threading
import time
from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vfio_ims.errors import ClosedError, UsageError, VfioImsError
from vfio_ims.native.access import collect, fill
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.rows import RowColumns
from vfio_ims.native.window import MappedWindow, Piece

PAGE = 4096  # of a portal: the device's, whatever this machine's pages are
Column = tuple[int, int, bytes | range]


@st.composite
def columns_of(draw: st.DrawFn, count: int) -> list[Column]:
    """Columns that do not overlap, some of them narrow neighbours in one word, some counted."""
    taken: set[int] = set()
    found: list[Column] = []
    for _ in range(draw(st.integers(0, 8))):
        width = draw(st.sampled_from((1, 2, 4, 8)))
        at = width * draw(st.integers(0, 64 // width - 1))
        if taken.intersection(range(at, at + width)):
            continue
        taken.update(range(at, at + width))
        if draw(st.booleans()):
            step = draw(st.integers(1, 300))
            first = draw(st.integers(0, 2**40))
            found.append((at, width, range(first, first + count * step, step)))
        else:
            found.append((at, width, bytes((7 * n + at) & 0xFF for n in range(width * count))))
    return found


def field(values: bytes | range, width: int, i: int) -> bytes:
    if isinstance(values, range):
        return (values[i] & (1 << 8 * width) - 1).to_bytes(width, "little")
    return values[i * width : (i + 1) * width]


@settings(max_examples=80, deadline=None)
@given(st.data(), st.integers(1, 200), st.integers(0, 63), st.binary(min_size=64, max_size=64))
def test_each_row_has_the_pattern_with_its_values(data: st.DataObject, count: int, start: int, pattern: bytes) -> None:
    columns = data.draw(columns_of(count))
    expected = bytearray(PAGE)
    for i in range(count):
        row = bytearray(pattern)
        for at, width, values in columns:
            row[at : at + width] = field(values, width, i)
        at = (64 * start + 64 * i) % PAGE
        expected[at : at + 64] = row
    with SharedMemory(PAGE) as memory, MappedWindow(PAGE, [Piece(memory.fd, 0, 0, memory.size)]) as window:
        given = [column for column in columns if not isinstance(column[2], range)]
        counted = [column for column in columns if isinstance(column[2], range)]
        table = RowColumns([column[:2] for column in given], [column[:2] for column in counted])
        table.fill(count, [values for _, _, values in given if not isinstance(values, range)])
        for number, (_, _, values) in enumerate(counted):
            assert isinstance(values, range)
            table.count_up(number, values.start, values.step)
        assert window.store_rows(0, pattern, count, table, start=64 * start, pieces=True) == count
        with memory.view as view:
            assert view[: len(expected)] == expected


COUNTER, SIZES, PLACES = (8, 8), (32, 4), (16, 8)


@pytest.mark.parametrize("counted", [[], [COUNTER], [(8, 4)], [COUNTER, (36, 2)], [COUNTER, (0, 2)]])
@pytest.mark.parametrize("valued", [[], [SIZES], [PLACES], [PLACES, (24, 8), SIZES], [SIZES, (38, 2)], [(36, 4)]])
@pytest.mark.parametrize("count", [1, 63, 130])
def test_descriptors_of_the_usual_shapes(
    counted: list[tuple[int, int]], valued: list[tuple[int, int]], count: int
) -> None:
    """A counted record's address, a size, two places: those have loops of their own."""
    pattern, start = bytes(range(1, 65)), 40
    if (36, 2) in counted and (36, 4) in valued:
        counted = [COUNTER]
    values = [bytes((7 * n + at) & 0xFF for n in range(width * count)) for at, width in valued]
    steps = [range(0x1_0000_FFF0 + at, 0x1_0000_FFF0 + at + 32 * count, 32) for at, _ in counted]
    expected = bytearray(PAGE)
    for i in range(count):
        row = bytearray(pattern)
        for (at, width), column in zip(valued + counted, [*values, *steps], strict=True):
            row[at : at + width] = field(column, width, i)
        at = (64 * start + 64 * i) % PAGE
        expected[at : at + 64] = row
    with SharedMemory(PAGE) as memory, MappedWindow(PAGE, [Piece(memory.fd, 0, 0, memory.size)]) as window:
        table = RowColumns(valued, counted)
        table.fill(count, values)
        for number, column in enumerate(steps):
            table.count_up(number, column.start, column.step)
        assert window.store_rows(0, pattern, count, table, start=64 * start, pieces=True) == count
        with memory.view as view:
            assert view[: len(expected)] == expected


def test_no_more_are_under_way_than_allowed() -> None:
    with (
        SharedMemory(PAGE) as memory,
        SharedMemory(PAGE) as records,
        MappedWindow(PAGE, [Piece(memory.fd, 0, 0, memory.size)]) as window,
    ):
        numbers = RowColumns([(0, 8)])
        numbers.fill(32, [array("Q", range(1, 33))])
        pattern, underway = bytes(64), (records.address, 32, 4)
        fill(records.address, 7, 32 * 32)  # left by those before
        assert window.store_rows(0, pattern, 32, numbers, *underway, 0.01, pieces=True) == 4
        assert memory.view[64 * 3] == 4
        assert memory.view[64 * 4] == 0

        memory.view[:] = bytes(memory.size)

        def complete() -> None:
            for n in range(32):
                while not memory.view[64 * n]:
                    time.sleep(0.0001)
                assert not any(memory.view[64 * (n + 4) :: 64])
                records.view[32 * n] = 1

        thread = threading.Thread(target=complete)
        thread.start()
        assert window.store_rows(0, pattern, 32, numbers, *underway, 5, pieces=True) == 32
        thread.join()
        assert memory.view[64 * 31] == 32


@pytest.mark.parametrize(
    ("pattern", "how"),
    [
        (bytes(63), {}),
        (bytes(64), {"start": 8}),
        (bytes(64), {"start": PAGE}),
        (bytes(64), {"start": 64, "stride": 128}),
        (bytes(64), {"start": -64}),
        (bytes(64), {"depth": 1, "records": 64, "step": 1 << 63}),
        (bytes(64), {"stride": 0}),
        (bytes(64), {"span": 2 * PAGE}),
        (bytes(64), {"depth": 1}),
    ],
)
def test_what_cannot_be_stored_is_refused(pattern: bytes, how: dict[str, int]) -> None:
    with SharedMemory(PAGE) as memory, MappedWindow(PAGE, [Piece(memory.fd, 0, 0, memory.size)]) as window:
        with pytest.raises(UsageError):
            window.store_rows(0, pattern, 2, RowColumns([]), pieces=True, **how)
        with memory.view as view:
            assert view == bytes(memory.size)


sizes = st.sampled_from((0, 1, 8, 63, 64, 65, 128, 192, 2048, PAGE, 2 * PAGE, 1 << 40)) | st.integers(-1, 3 * PAGE)


@settings(max_examples=200, deadline=None)
@given(st.integers(-1, 100), sizes, sizes, sizes, sizes)
def test_any_way_round_the_portal_is_stored_or_refused(
    count: int, offset: int, start: int, stride: int, span: int
) -> None:
    with SharedMemory(2 * PAGE) as memory, MappedWindow(2 * PAGE, [Piece(memory.fd, 0, 0, memory.size)]) as window:
        pattern, expected = bytes(range(1, 65)), bytearray(2 * PAGE)
        try:
            stored = window.store_rows(
                offset, pattern, count, RowColumns([]), start=start, stride=stride, span=span, pieces=True
            )
        except UsageError:
            pass
        else:
            assert stored == count
            for i in range(count):
                at = offset + (start + i * stride) % span
                expected[at : at + 64] = pattern
        with memory.view as view:
            assert view[: len(expected)] == expected


def test_closing_ends_a_store_that_has_hardly_begun() -> None:
    with SharedMemory(PAGE) as memory:
        window = MappedWindow(PAGE, [Piece(memory.fd, 0, 0, memory.size)])
        ended: list[BaseException] = []

        def store() -> None:
            try:
                window.store_rows(0, b"x" * 64, 1 << 60, RowColumns([]), pieces=True)
            except VfioImsError as error:
                ended.append(error)

        thread = threading.Thread(target=store)
        thread.start()
        while not memory.view[0]:
            time.sleep(0.001)
        window.close()
        thread.join()
        assert isinstance(ended[0], ClosedError)


@pytest.mark.parametrize(
    "places", [[(60, 8)], [(4, 8)], [(0, 3)], [(64, 1)], [(-8, 8)], [(0, 8), (4, 4)], [(n, 1) for n in range(17)]]
)
def test_columns_that_no_row_has_are_refused(places: list[tuple[int, int]]) -> None:
    with pytest.raises(UsageError, match="columns"):
        RowColumns(places)
    with pytest.raises(UsageError, match="columns"):
        RowColumns([], places)


def test_columns_of_other_lengths_are_refused_and_let_go() -> None:
    columns, short = RowColumns([(0, 8), (8, 8)]), bytearray(8)
    with pytest.raises(UsageError, match="must hold 2 values"):
        columns.fill(2, [bytearray(16), short])
    short.append(1)  # it has no holder
    with (
        SharedMemory(PAGE) as memory,
        MappedWindow(PAGE, [Piece(memory.fd, 0, 0, memory.size)]) as window,
        pytest.raises(UsageError, match="each column its values"),
    ):
        window.store_rows(0, bytes(64), 2, columns, pieces=True)


def test_collect_takes_every_byte_or_says_how_far_it_came() -> None:
    with SharedMemory(PAGE) as records:
        for n in range(10):
            records.view[32 * n] = n + 1
        assert collect(records.address, 32, 10, 0) == bytes(range(1, 11))
        assert collect(records.address, 32, 12, 0.01) == bytes(range(1, 11))
        assert collect(records.address, 32, 0, 0) == b""

        def complete() -> None:
            time.sleep(0.01)
            records.view[32 * 11] = 9
            records.view[32 * 10] = 8

        thread = threading.Thread(target=complete)
        thread.start()
        assert collect(records.address, 32, 12, 5)[10:] == bytes((8, 9))
        thread.join()


@settings(max_examples=80, deadline=None)
@given(st.data(), st.integers(0, 150), st.integers(1, 8), st.integers(0, 3), st.integers(0, 2**64 - 1))
def test_the_rows_of_a_list_are_one_behind_the_other(
    data: st.DataObject, count: int, words: int, first: int, last: int
) -> None:
    columns = [
        (at, width, values)
        for at, width, values in data.draw(columns_of(count + first))
        if isinstance(values, bytes) and at < 8 * words and (at, width) != (0, 8)
    ][:3]
    pattern = data.draw(st.binary(min_size=8 * words, max_size=8 * words))
    expected = bytearray(16384)
    for i in range(count):
        row = bytearray(pattern)
        for at, width, values in columns:
            row[at : at + width] = field(values, width, i + first)
        if i == count - 1:
            row[:8] = (int.from_bytes(row[:8], "little") | last).to_bytes(8, "little")
        expected[64 + i * len(row) : 64 + (i + 1) * len(row)] = row
    places = bytes(part for at, width, _ in columns for part in (at, width))
    arrays = tuple(bytes(values) for _, _, values in columns)
    with SharedMemory(16384) as memory, MappedWindow(16384, [Piece(memory.fd, 0, 0, 16384)]) as window:
        assert window.store_list(64, pattern, places, first, count, last, arrays)
        with memory.view as view:
            assert bytes(view) == bytes(expected)


@pytest.mark.parametrize(
    ("offset", "size", "places", "count", "arrays"),
    [
        (0, 24, bytes((0, 8)), 4, (bytes(32),)),  # a whole first word
        (0, 24, bytes((20, 8)), 4, (bytes(32),)),  # outside the row
        (0, 24, bytes((9, 4)), 4, (bytes(16),)),  # not aligned in it
        (0, 24, bytes((8, 3)), 4, (bytes(12),)),
        (0, 24, bytes((8, 8)), 4, (bytes(31),)),  # too few values
        (0, 24, bytes((8, 8)), 4, (bytes(32), bytes(32))),
        (0, 24, bytes((8, 8)), 4, (None,)),
        (0, 20, b"", 4, ()),
        (0, 72, b"", 4, ()),
        (4, 24, b"", 4, ()),
        (4096, 24, b"", 1, ()),
        (0, 24, b"", 1 << 62, ()),
    ],
)
def test_a_list_that_does_not_fit_is_not_begun(
    offset: int, size: int, places: bytes, count: int, arrays: tuple[bytes, ...]
) -> None:
    with SharedMemory(4096) as memory, MappedWindow(4096, [Piece(memory.fd, 0, 0, 4096)]) as window:
        try:
            assert not window.store_list(offset, b"\xff" * size, places, 0, count, 0, arrays)
        except TypeError:
            assert arrays == (None,)
        with memory.view as view:
            assert bytes(view) == bytes(4096)
