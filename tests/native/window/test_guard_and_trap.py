# SPDX-License-Identifier: Apache-2.0
"""The guard of the MSI-X table, and the port that takes what no mapping allows."""

from __future__ import annotations

import array

import pytest

from tests.native.conftest import PAGE
from tests.native.window.below import Other
from vfio_ims.errors import UsageError
from vfio_ims.native.window import MappedWindow, Piece


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


def test_a_column_that_no_mapping_allows_goes_to_the_trap(memory: int) -> None:
    other = Other()
    with MappedWindow(3 * PAGE, [Piece(memory, 0, 0, PAGE)], trap=other) as window:  # type: ignore[arg-type]
        window.write32(PAGE - 4, 9)
        found = array.array("I", window.read_table(PAGE - 4, 4, array.array("I", [1, 0])))
        assert found[1] == 9
    assert other.asked == [("read32", PAGE)]
