# SPDX-License-Identifier: Apache-2.0
"""Windows called with any numbers: done within their bytes, or refused; nothing else is touched, nothing hangs."""

from __future__ import annotations

from array import array
from typing import Any

from tests.fuzz.budget import Budget
from tests.fuzz.mutate import number
from vfio_ims.errors import VfioImsError
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.rows import RowColumns
from vfio_ims.native.window import MappedWindow, Piece

PAGE = 4096


def call(rng: Any, window: MappedWindow) -> None:
    """One method with what is mostly near the window's size."""

    def n() -> int:
        return rng.choice((rng.randrange(-2, 5 * PAGE), rng.randrange(0, 4 * PAGE, 64), number(rng, 64)))

    few = rng.randrange(1, 40)
    width = rng.choice((1, 2, 4, 8, 3, 0, 64, -4))
    match rng.randrange(9):
        case 0:
            getattr(window, f"read{rng.choice((8, 16, 32, 64))}")(n())
        case 1:
            bits = rng.choice((8, 16, 32, 64))
            getattr(window, f"write{bits}")(n(), number(rng, bits))
        case 2:
            window.read_block(n(), rng.choice((few, rng.randrange(2 * PAGE), -1)), width)
        case 3:
            window.write_block(n(), bytes(rng.randrange(300)), width)
        case 4:
            window.poll(n(), width, number(rng, 32), 0, 0.0001)
        case 5:
            rows = array("I", [rng.choice((rng.randrange(64), number(rng, 32))) for _ in range(few)])
            words = array("I", range(few * rng.randrange(1, 4)))
            steps = [(rng.randrange(0, 64, 4), rng.randrange(4)) for _ in range(rng.randrange(4))]
            window.write_table(n(), rng.choice((0, 16, 64, n())), rows, steps, words)
        case 6:
            stride = rng.choice((0, 64, 128, 1, n()))
            window.store64_many(n(), bytes(64 * few), few, stride=stride, span=rng.choice((PAGE, n())), pieces=True)
        case 7:
            columns = RowColumns([(8, 8)], [(0, 4)])
            columns.fill(few, [bytes(8 * few)])
            window.store_rows(
                n(), bytes(64), few, columns, start=rng.choice((0, 64, n())), stride=rng.choice((64, 128, n())),
                span=rng.choice((PAGE, n())), pieces=True,
            )  # fmt: skip
        case _:
            window.store64(n(), bytes(rng.choice((64, 64, 63, 65))), pieces=True)


def test_any_call_stays_in_the_window() -> None:
    """Pages 1 and 2 of four are the window, the first writable: what lies around them keeps its pattern."""
    budget, pattern = Budget("native windows", most=6000), b"\xa5" * PAGE
    with SharedMemory(4 * PAGE) as memory:
        memory.view[:] = pattern * 4
        pieces = [Piece(memory.fd, PAGE, 0, PAGE), Piece(memory.fd, 2 * PAGE, PAGE, PAGE, writable=False)]
        with MappedWindow(3 * PAGE, pieces, guard=(256, 512)) as window:
            for rng in budget.rounds():
                try:
                    call(rng, window)
                    budget.figures["done"] += 1
                except VfioImsError:
                    budget.figures["refused"] += 1
                view = memory.view
                assert view[:PAGE] == pattern, "before the window"
                assert view[2 * PAGE :] == pattern * 2, "read-only, or behind it"
                assert view[PAGE + 256 : PAGE + 512] == pattern[:256], "the guarded range"
                view.release()
