# SPDX-License-Identifier: Apache-2.0
"""Rivals do the same job as ours, every row gets its figures, and docs/performance.md has the rows of the script."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.benchmarks.pairs import Pairs
from tests.benchmarks.rivals import registers
from tests.benchmarks.rivals.__main__ import measure
from tests.benchmarks.rivals.groups import GROUPS
from tests.benchmarks.rivals.page import END, PAGE, START, Found, render, write, written
from tests.benchmarks.rivals.picture import picture
from tests.benchmarks.rivals.plain_queue import plain_queue
from tests.benchmarks.rivals.submission import Rivals

ROWS = [row for group in GROUPS.values() for row in group.rows]
FULL = os.environ.get("VFIO_IMS_FULL") == "1"


def test_the_page_has_the_rows_that_are_measured() -> None:
    assert written() == [(row.job, row.rival, row.limit) for row in ROWS], "run the script again, with --out"


def test_each_row_is_one_comparison() -> None:
    assert len({(row.job, row.rival) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("name", GROUPS)
def test_every_row_gets_its_figures(name: str) -> None:
    group = GROUPS[name]
    if name == "guest" and not FULL:
        pytest.skip("a minute in the VM lab: VFIO_IMS_FULL=1 measures it, too")
    found = measure(group, 2)
    if found.reason:
        (pytest.fail if FULL else pytest.skip)(f"{found.reason} (.ci/nightly rivals has it done)")
    assert set(found.figures) == set(group.rows)
    for row, pairs in found.figures.items():
        assert 0 < pairs.low <= pairs.ratio <= pairs.high, row
        assert 0 < pairs.ours < 1, row
        assert 0 < pairs.theirs < 1, row


def test_every_way_to_reach_a_register_reaches_the_same() -> None:
    with ExitStack() as stack:
        used = registers.names(stack)
        for (job, rival), ways in registers.WAYS.items():
            for way in ways[:2]:
                used["write"](registers.AT, 0x1234_5678 if job == registers.READ else 0)
                used["write"](registers.AT + 4, 0)
                if job == registers.READ:
                    assert eval(way, used) == 0x1234_5678, (rival, way)
                else:
                    exec(way, used)
                    place, expected = (registers.AT + 4, 1) if job == registers.FIELD else (registers.AT, 7)
                    assert used["read"](place) == expected, (rival, way)


def test_every_way_to_submit_stores_the_same_descriptors() -> None:
    with ExitStack() as stack:
        queue = stack.enter_context(plain_queue(64))  # they fill the portal's page once
        rivals = Rivals(queue, stack)
        portal = stack.enter_context(queue.portals.view)
        ring = stack.enter_context(rivals.ring.view)
        ways: list[tuple[Callable[[], object], memoryview]] = [
            (rivals.in_c(), portal),
            (rivals.in_python, portal),
            (rivals.by_lone, ring),
            (rivals.by_tinygrad, ring),
        ]
        stored = []
        for way, place in ways:
            place[:4096] = bytes(4096)
            way()
            stored.append(bytes(place[:4096]))
            rivals.forget()
        assert stored[0].strip(b"\0")
        assert stored[1:] == stored[:1] * 3
        portal[:4096] = bytes(4096)
        queue.submit_many()
        ours = bytearray(portal[:4096])
        for at in range(0, 4096, 64):
            ours[at + 8 : at + 16] = stored[0][at + 8 : at + 16]  # its completion records are elsewhere
        assert bytes(ours) == stored[0]


def found_of(name: str) -> Found:
    group = GROUPS[name]
    return Found(group, dict.fromkeys(group.rows, Pairs(0.5, 0.4, 0.6, 1.5e-6, 3e-6, 9)))


def test_what_was_left_out_is_said_in_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{START}\nolder\n{END}\nafter\n")
    left = Found(GROUPS["served"], reason="no compiler: install one")
    write(page, render("this machine.", "p.svg", [found_of("events"), left]))
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "older" not in text
    assert "**Left out in this run**: no compiler: install one." in text
    assert "| 1.5 µs | 3 µs | 0.5 (0.4 to 0.6) |" in text
    assert text.count("| left out | left out | left out |") == len(GROUPS["served"].rows)
    rows = [*GROUPS["events"].rows, *GROUPS["served"].rows]
    assert written(page) == [(row.job, row.rival, row.limit) for row in rows]


def test_a_page_without_markers_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing")
    with pytest.raises(ValueError, match="must have the lines"):
        write(page, "text")
    assert page.read_text() == "nothing"


def test_the_picture_is_a_file_of_its_own_in_both_colours() -> None:
    drawn = picture([found_of("events"), Found(GROUPS["served"], reason="none")])
    assert drawn.startswith("<svg ")
    assert "prefers-color-scheme:dark" in drawn
    assert re.search(r'width="\d+" height="\d+"', drawn)
    for variable in set(re.findall(r"var\((--\w+)\)", drawn)):
        assert f"{variable}:" in drawn, "a colour that is not defined"
    for row in GROUPS["events"].rows:
        assert row.job in drawn


def test_the_picture_is_beside_the_page() -> None:
    assert f"]({PAGE.stem}.svg)" in PAGE.read_text()
    assert PAGE.with_suffix(".svg").read_text().startswith("<svg ")
