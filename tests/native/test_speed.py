# SPDX-License-Identifier: Apache-2.0
"""What a checked access costs over the bare compiled call, a table over single calls. Loose bounds: shared machines."""

from __future__ import annotations

import array
import timeit
from collections.abc import Callable

from vfio_ims.native.lib import native
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.window import MappedWindow, Piece

SIZE = 1 << 16


def best(action: Callable[[], object], count: int = 20_000) -> float:
    """The fastest of several runs, in seconds a call; what a loop in Python costs is in it."""
    return min(timeit.repeat(action, number=count, repeat=9)) / count


def ratio(checked: str, bare: str, names: dict[str, object]) -> float:
    """Taken together in small turns, so that a busy moment hits both; the best of each, over several rounds."""
    times = {checked: 1.0, bare: 1.0}
    for _ in range(60):
        for statement in times:
            times[statement] = min(times[statement], timeit.timeit(statement, globals=names, number=3000))
    return times[checked] / times[bare]


def test_a_checked_read_costs_little_over_the_bare_call(window: MappedWindow) -> None:
    names = {"window": window, "bare": native().lib.window_read32, "handle": window._handle}
    assert ratio("window.read32(64)", "bare(handle, 64)", names) < 1.8


def test_a_checked_write_costs_little_over_the_bare_call(window: MappedWindow) -> None:
    names = {"window": window, "bare": native().lib.window_write32, "handle": window._handle}
    assert ratio("window.write32(64, 1)", "bare(handle, 64, 1)", names) < 1.8


def test_a_table_of_2048_entries_is_one_call() -> None:
    steps = [(12, 3), (0, 0), (4, 1), (8, 2), (12, 4)]
    rows = array.array("I", range(2048))
    words = array.array("I", [0xFEE0_0000, 0, 0x21, 1, 0] * 2048)
    with SharedMemory(SIZE) as memory, MappedWindow(SIZE, [Piece(memory.fd, 0, 0, SIZE)]) as window:
        whole = best(lambda: window.write_table(0, 16, rows, steps, words), 20)
        singly = best(lambda: [window.write32(16 * i, 1) for i in range(2048)], 3) * 5
    assert whole < singly / 20
    assert whole / (2048 * 5) < 50e-9, "nanoseconds a store"
