# SPDX-License-Identifier: Apache-2.0
"""A mapped window: what it reads and writes, what it refuses, and when it ends."""

from __future__ import annotations

import array
import mmap
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from vfio_ims.errors import ClosedError, UnsupportedError, UsageError
from vfio_ims.native.cpu import has_store64
from vfio_ims.native.window import MappedWindow, Piece
from vfio_ims.ports.window import Window

PAGE = mmap.PAGESIZE
WIDTHS = (8, 16, 32, 64)


class Other:
    """Answers for what is not mapped, and notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[object, ...]] = []

    def __getattr__(self, verb: str) -> object:
        def answer(*arguments: object, **named: object) -> int:
            self.asked.append((verb, *arguments, *named.values()))
            return 0x5A

        return answer


def written(fd: int, offset: int, size: int) -> bytes:
    return os.pread(fd, size, offset)


@pytest.mark.parametrize("bits", WIDTHS)
def test_a_register_is_stored_and_loaded_with_its_width(window: MappedWindow, memory: int, bits: int) -> None:
    value = 0xF1E2_D3C4_B5A6_9788 >> (64 - bits)
    getattr(window, f"write{bits}")(64, value)
    assert written(memory, 64, 8) == value.to_bytes(bits // 8, "little").ljust(8, b"\0")
    assert getattr(window, f"read{bits}")(64) == value


@pytest.mark.parametrize("bits", WIDTHS)
def test_all_ones_are_a_value_like_any_other(window: MappedWindow, bits: int) -> None:
    ones = (1 << bits) - 1
    with pytest.raises(UsageError):
        window.read64(3 * PAGE)
    getattr(window, f"write{bits}")(8, ones)
    assert getattr(window, f"read{bits}")(8) == ones


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("offset", [4 * PAGE, 4 * PAGE - 1, 1 << 63, (1 << 64) - 8])
def test_an_offset_outside_is_refused(window: MappedWindow, bits: int, offset: int) -> None:
    if offset == 4 * PAGE - 1 and bits == 8:
        offset += 1
    for access in (lambda: getattr(window, f"read{bits}")(offset), lambda: getattr(window, f"write{bits}")(offset, 0)):
        with pytest.raises(UsageError, match="must"):
            access()


@pytest.mark.parametrize("bits", WIDTHS[1:])
def test_an_offset_must_be_a_multiple_of_the_width(window: MappedWindow, bits: int) -> None:
    with pytest.raises(UsageError, match=f"BAR 0: read .* the offset must be a multiple of {bits // 8}"):
        getattr(window, f"read{bits}")(bits // 16)
    with pytest.raises(UsageError, match=f"multiple of {bits // 8}"):
        getattr(window, f"write{bits}")(1, 0)


@pytest.mark.parametrize("offset", [-4, 1 << 64, None, "0", 1.5])
def test_an_offset_is_a_number_that_an_address_can_be(window: MappedWindow, offset: object) -> None:
    with pytest.raises(UsageError):
        window.read32(offset)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        window.read64(offset)  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        window.write32(offset, 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("excess", [-1, None])
def test_a_value_that_does_not_fit_is_not_cut(window: MappedWindow, memory: int, bits: int, excess: int | None) -> None:
    value = 1 << bits if excess is None else excess
    with pytest.raises(UsageError, match=f"the value must be {bits} bits, not {value:#x}"):
        getattr(window, f"write{bits}")(0, value)
    assert written(memory, 0, 8) == bytes(8)


def test_a_read_only_page_is_read_and_not_written(window: MappedWindow, memory: int) -> None:
    os.pwrite(memory, b"\x11\x22\x33\x44", 2 * PAGE)
    assert window.read32(2 * PAGE) == 0x4433_2211
    with pytest.raises(UsageError, match="no mapping allows it"):
        window.write32(2 * PAGE, 0)


def test_the_guard_covers_exactly_its_bytes(memory: int) -> None:
    with MappedWindow(PAGE, [Piece(memory, 0, 0, PAGE)], guard=(0x102, 0x110)) as window:
        window.write16(0x100, 1)
        window.write8(0x110, 1)
        assert window.read32(0x100) == 1
        for bits, offset in ((8, 0x102), (16, 0x10E), (32, 0x100), (64, 0x108)):
            with pytest.raises(UsageError, match="MSI-X table"):
                getattr(window, f"write{bits}")(offset, 0)
        with pytest.raises(UsageError, match="MSI-X table"):
            window.write_block(0xF0, bytes(64))
        with pytest.raises(UsageError, match="MSI-X table"):
            window.store64(0x100, bytes(64), pieces=True)
        with pytest.raises(UsageError, match="MSI-X table"):
            window.write_table(0xF0, 16, array.array("I", [0, 1]), [(0, 0)], array.array("I", [1, 2]))
        assert window.read32(0xF0) == 0, "a refused table is not written by halves"
        window.write_table(0xF0, 16, array.array("I", [0, 2]), [(0, 0)], array.array("I", [1, 2]))
        assert (window.read32(0xF0), window.read32(0x110)) == (1, 2), "rows on both sides of the guard are not in it"


def test_the_guard_holds_where_nothing_is_mapped_too(memory: int) -> None:
    other = Other()
    with MappedWindow(PAGE, guard=(0, 16), trap=other) as window:  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="MSI-X table"):
            window.write32(0, 1)
        window.write32(16, 1)
    assert other.asked == [("write32", 16, 1)]


def test_what_no_mapping_allows_goes_to_the_trap(memory: int) -> None:
    other = Other()
    pieces = [Piece(memory, 0, 0, PAGE), Piece(memory, PAGE, PAGE, PAGE, writable=False)]
    with MappedWindow(3 * PAGE, pieces, trap=other) as window:  # type: ignore[arg-type]
        window.write32(0, 7)
        assert window.read32(PAGE) == 0
        assert other.asked == []
        window.write32(PAGE, 8)
        assert window.read64(2 * PAGE) == 0x5A
        window.poll(2 * PAGE, 4, 1, 1, 2.0)
        window.store64(2 * PAGE, bytes(64), pieces=True)
        assert window.read_block(PAGE - 4, 2) == b"\0\0\0\0\0\0\0\0", "both pages can be read"
        window.write_block(PAGE - 4, b"\1\0\0\0\2\0\0\0")
        assert window.read32(PAGE - 4) == 1, "the mapped half of a block goes through its mapping"
        assert window.read_block(2 * PAGE, 2, 1) == b"\x5a\x5a"
    assert other.asked == [
        ("write32", PAGE, 8),
        ("read64", 2 * PAGE),
        ("poll", 2 * PAGE, 4, 1, 1, 2.0),
        ("store64", 2 * PAGE, bytes(64), True),
        ("write32", PAGE, 2),
        ("read8", 2 * PAGE),
        ("read8", 2 * PAGE + 1),
    ]


def test_it_says_what_is_mapped(window: MappedWindow) -> None:
    assert isinstance(window.size, int)
    assert window.mapped(0, 3 * PAGE)
    assert not window.mapped(3 * PAGE - 1, 2)
    assert not window.mapped(0, 5 * PAGE)


def test_it_satisfies_the_port(window: MappedWindow) -> None:
    port: Window = window
    assert port.size == 4 * PAGE


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


def test_a_column_that_no_mapping_allows_goes_to_the_trap(memory: int) -> None:
    other = Other()
    with MappedWindow(3 * PAGE, [Piece(memory, 0, 0, PAGE)], trap=other) as window:  # type: ignore[arg-type]
        window.write32(PAGE - 4, 9)
        found = array.array("I", window.read_table(PAGE - 4, 4, array.array("I", [1, 0])))
        assert found[1] == 9
    assert other.asked == [("read32", PAGE)]


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


def test_poll_returns_what_it_saw_last(window: MappedWindow) -> None:
    window.write32(16, 0xA5)
    assert window.poll(16, 4, 0xF, 5, 1.0) == 0xA5
    began = time.monotonic()
    assert window.poll(16, 2, 0xF, 6, 0.15) == 0xA5
    assert 0.15 <= time.monotonic() - began < 10
    assert window.poll(16, 1, 0xF, 6, 0) == 0xA5


def test_poll_sees_a_change_and_lets_other_threads_run(window: MappedWindow) -> None:
    timer = threading.Timer(0.05, lambda: window.write8(16, 1))
    timer.start()
    assert window.poll(16, 1, 1, 1, 10.0) == 1
    timer.join()


def test_closing_ends_a_poll(window: MappedWindow) -> None:
    timer = threading.Timer(0.05, window.close)
    timer.start()
    with pytest.raises(ClosedError, match="poll"):
        window.poll(16, 1, 1, 1, 10.0)
    timer.join()


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
    with pytest.raises(UsageError):
        window.write_table(offset, stride, array.array("I", rows), steps, array.array("I", words))
    assert written(memory, 0, 4 * PAGE) == bytes(4 * PAGE)


def test_an_empty_table_is_nothing(window: MappedWindow) -> None:
    window.write_table(0, 16, b"", [(0, 0)], b"")


def test_a_portal_store_in_pieces(window: MappedWindow, memory: int) -> None:
    window.store64(PAGE, bytes(range(64)), pieces=True)
    assert written(memory, PAGE, 64) == bytes(range(64))
    for bad in (lambda: window.store64(32, bytes(64), pieces=True), lambda: window.store64(0, bytes(63), pieces=True)):
        with pytest.raises(UsageError):
            bad()


def test_many_descriptors_go_round_the_portal(window: MappedWindow, memory: int) -> None:
    slots = PAGE // 64
    data = b"".join(bytes([i % 256]) * 64 for i in range(slots + 3))
    window.store64_many(PAGE, data, slots + 3, span=PAGE, pieces=True)
    portal = written(memory, PAGE, PAGE)
    assert [portal[64 * i] for i in range(5)] == [(slots + i) % 256 for i in range(3)] + [3, 4]
    assert portal[-1] == (slots - 1) % 256
    window.store64_many(0, bytes([9]) * 64 + bytes([8]) * 64, 2, stride=0, pieces=True)
    assert written(memory, 0, 128) == bytes([8]) * 64 + bytes(64), "stride 0: one place"
    with pytest.raises(UsageError):
        window.store64_many(0, data, slots + 3, stride=96, pieces=True)
    with pytest.raises(UsageError):
        window.store64_many(2 * PAGE - 64, bytes(128), 2, pieces=True)


def test_one_64_byte_store_needs_the_instruction(window: MappedWindow, memory: int) -> None:
    if has_store64():
        window.store64(0, bytes(range(64)))
        assert written(memory, 0, 64) == bytes(range(64))
        return
    with pytest.raises(UnsupportedError, match="MOVDIR64B on x86, ST64B on arm64"):
        window.store64(0, bytes(range(64)))
    assert written(memory, 0, 64) == bytes(64)


def test_enqcmd_is_refused_with_its_reason(window: MappedWindow) -> None:
    with pytest.raises(UnsupportedError, match="kills the process"):
        window.enqueue64(0, bytes(64))


def test_closed_is_closed(window: MappedWindow) -> None:
    window.close()
    window.close()
    for used in (
        lambda: window.read8(0),
        lambda: window.read64(0),
        lambda: window.write32(0, 0),
        lambda: window.read_block(0, 1),
        lambda: window.write_block(0, bytes(4)),
        lambda: window.poll(0, 4, 0, 0, 0),
        lambda: window.write_table(0, 4, bytes(4), [(0, 0)], bytes(4)),
        lambda: window.store64(0, bytes(64), pieces=True),
        lambda: window.mapped(0, 1),
    ):
        with pytest.raises(ClosedError, match=r"closed by .*test_window\.py"):
            used()


def test_closing_waits_for_accesses_under_way(memory: int) -> None:
    """Threads hammer a window that is closed under them: each ends with ClosedError, none with a fault."""
    window = MappedWindow(PAGE, [Piece(memory, 0, 0, PAGE)])
    ended = []

    def hammer() -> None:
        try:
            while True:
                window.read_block(0, PAGE // 8, 8)
                window.write32(8, 1)
        except ClosedError:
            ended.append(True)

    threads = [threading.Thread(target=hammer) for _ in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    window.close()
    for thread in threads:
        thread.join(10)
    assert len(ended) == 3


@pytest.mark.parametrize(
    "piece",
    [Piece(-1, 0, 0, PAGE), Piece(0, 1, 0, PAGE), Piece(0, 0, 8, PAGE), Piece(0, 0, 0, 8), Piece(0, 0, PAGE, 4 * PAGE)],
)
def test_pieces_are_whole_pages_within_the_region(piece: Piece) -> None:
    with pytest.raises(Exception, match=f"map {piece.size:#x} bytes at {piece.offset:#x}"):
        MappedWindow(4 * PAGE, [piece])


@pytest.mark.parametrize("size", [0, -1, 1 << 63])
def test_a_region_has_a_size(size: int) -> None:
    with pytest.raises(UsageError, match="its size must be"):
        MappedWindow(size)


def test_a_region_smaller_than_a_page_is_mapped_whole(memory: int) -> None:
    with MappedWindow(256, [Piece(memory, 0, 0, PAGE)]) as window:
        window.write32(252, 5)
        with pytest.raises(UsageError):
            window.read32(256)


def test_a_large_region_costs_address_space_only() -> None:
    with MappedWindow(1 << 36) as window:
        assert not window.mapped(1 << 35, 1)


def test_nothing_is_left_behind(memory: int, held: Callable[[], tuple[int, int]]) -> None:
    def cycle() -> None:
        with MappedWindow(4 * PAGE, [Piece(memory, 0, PAGE, PAGE)]) as window:
            window.write8(PAGE, 1)
        with pytest.raises(UsageError):
            MappedWindow(PAGE, [Piece(memory, 3, 0, PAGE)])

    cycle()
    before = held()
    for _ in range(50):
        cycle()
    after = held()
    assert after[0] == before[0]
    assert after[1] <= before[1] + 2, "mappings grow with the heap only"


def test_a_window_left_open_says_so_and_is_closed(memory: int) -> None:
    before = Path("/proc/self/maps").read_text().count("vfio-ims-test")
    window = MappedWindow(PAGE, [Piece(memory, 0, 0, PAGE)], label="BAR 4")
    with pytest.warns(ResourceWarning, match=r"BAR 4 was not closed \(opened at .*test_window\.py"):
        del window
    assert Path("/proc/self/maps").read_text().count("vfio-ims-test") == before
