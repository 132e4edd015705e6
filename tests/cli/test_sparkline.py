# SPDX-License-Identifier: Apache-2.0
"""Sparklines: what a look at ``vfio-ims monitor`` shows beside the numbers, on a terminal only."""

from __future__ import annotations

from tests.cli.terminal import in_terminal
from tests.cli.test_verbs import vfio_ims
from vfio_ims.cli.sparkline import History, sparkline


def test_bars_are_in_proportion_and_nothing_is_no_bar() -> None:
    assert sparkline([0, 1, 50, 100]) == " ▁▅█"
    assert sparkline([3, 3, 3]) == "███"
    assert sparkline([0, 0]) == "  "
    assert sparkline([]) == ""
    assert sparkline([5, 10], top=40) == "▂▃"


def test_a_source_that_came_later_had_nothing_before() -> None:
    history = History(kept=4)
    history.add({"vector 0": 8.0})
    history.add({"vector 0": 4.0, "slot 7": 1.0})
    history.add({"slot 7": 1.0})
    assert history.line("vector 0", 4) == " █▅ "
    assert history.line("slot 7", 4) == "  ██"
    assert history.line("unknown", 4) == "    "
    for _ in range(9):
        history.add({"vector 0": 1.0})
    assert history.line("vector 0", 6) == "  ████"


LOOKS = ("monitor", "mock:minimal", "--slots", "1", "-n", "3", "--interval", "0.1")


def test_a_terminal_shows_them_where_it_can() -> None:
    wide = "\n".join(in_terminal(*LOOKS, width=80))
    assert "Last rates" in wide
    assert set("▁▂▃▄▅▆▇█") & set(wide)
    narrow = "\n".join(in_terminal(*LOOKS, width=44))
    assert "Events" in narrow
    assert "Last rates" not in narrow
    assert "Last rates" not in "\n".join(in_terminal(*LOOKS, width=80, PYTHONIOENCODING="ascii"))


def test_a_pipe_has_numbers_alone() -> None:
    done = vfio_ims(*LOOKS)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 3
    assert done.stdout.isascii()
