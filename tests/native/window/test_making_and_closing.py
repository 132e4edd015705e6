# SPDX-License-Identifier: Apache-2.0
"""How a window is made and closed: which pieces it takes, what ends with it, nothing left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native.conftest import PAGE
from vfio_ims.errors import ClosedError, UsageError
from vfio_ims.native.window import MappedWindow, Piece


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
        with pytest.raises(ClosedError, match=r"closed by .*test_making_and_closing\.py"):
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
    assert after[0] <= before[0]
    assert after[1] <= before[1] + 2, "mappings grow with the heap only"


def test_a_window_left_open_says_so_and_is_closed(memory: int) -> None:
    before = Path("/proc/self/maps").read_text().count("vfio-ims-test")
    window = MappedWindow(PAGE, [Piece(memory, 0, 0, PAGE)], label="BAR 4")
    with pytest.warns(ResourceWarning, match=r"BAR 4 was not closed \(opened at .*test_making_and_closing\.py"):
        del window
    assert Path("/proc/self/maps").read_text().count("vfio-ims-test") == before
