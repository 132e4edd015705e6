# SPDX-License-Identifier: Apache-2.0
"""One register access: ours, checked, against the bare compiled call, and beside Python's own means."""

from __future__ import annotations

import ctypes
import mmap
import struct
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.window import MappedWindow, Piece


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    with SharedMemory(0x10000) as memory:
        yield memory


@pytest.fixture
def window(memory: SharedMemory) -> Iterator[MappedWindow]:
    with MappedWindow(memory.size, [Piece(memory.fileno(), 0, 0, memory.size, writable=True)]) as window:
        yield window


def test_a_checked_read_costs_little_over_the_bare_call(race: Any, rival: Any, window: Any, memory: Any) -> None:
    read, bare, base = window.read32, rival.lib.rival_read32, memory.address
    race(
        "read32, bounds and alignment checked",
        lambda: read(0x40),
        lambda: bare(base, 0x40),
        against="bare compiled call",
        at_most=1.8,
        note="1 access",
    )


def test_a_checked_write_costs_little_over_the_bare_call(race: Any, rival: Any, window: Any, memory: Any) -> None:
    write, bare, base = window.write32, rival.lib.rival_write32, memory.address
    race(
        "write32, bounds and alignment checked",
        lambda: write(0x40, 7),
        lambda: bare(base, 0x40, 7),
        against="bare compiled call",
        at_most=1.8,
        note="1 access",
    )


# How many accesses each makes was counted with a trapping page: tests/native/test_single_access.py.
def test_beside_pythons_own_means(race: Any, window: Any, memory: Any) -> None:
    area = mmap.mmap(memory.fileno(), memory.size)
    view = memoryview(area).cast("I")
    number = ctypes.c_uint32.from_buffer(area, 0x40)
    write = window.write32
    ours = lambda: write(0x40, 7)  # noqa: E731

    def by_view() -> None:
        view[16] = 7

    race("write32", ours, by_view, against="memoryview", note="memoryview: 1 access here, no promise")
    race(
        "write32", ours, partial(setattr, number, "value", 7), against="ctypes", note="ctypes: reads first, then writes"
    )
    race(
        "write32",
        ours,
        lambda: struct.pack_into("<I", area, 0x40, 7),
        against="struct.pack_into",
        note="struct: 2 or 3 writes, 0 first",
    )
    del number
    view.release()
    area.close()
