# SPDX-License-Identifier: Apache-2.0
"""The page of a self-test, and of two: what a reader finds in it, for small tables and large ones."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.html.runs import made_run
from tests.html.test_page import loads_nothing
from vfio_ims.errors import SetupError, UsageError
from vfio_ims.html import render
from vfio_ims.html.comparison import comparison_page
from vfio_ims.html.latency import latency_figure, micro, percentile
from vfio_ims.html.marks import LOOKS
from vfio_ims.html.reading import read_runs
from vfio_ims.html.selftest import selftest_page
from vfio_ims.html.slot_map import columns_for, slot_map


def captions(page: str) -> list[str]:
    found = re.findall(r"<figcaption>(.*?)</figcaption>", page, re.DOTALL)
    return [re.sub(r"<[^>]+>", " ", one).strip() for one in found]


def test_a_failed_run_shows_what_failed_first() -> None:
    page = render(selftest_page(made_run(16, {3, 5})))
    found = loads_nothing(page)
    assert next(attributes.get("id") for tag, attributes in found if tag == "section") == "findings"
    assert "✗ failed" in page
    assert "14 delivered, 2 lost" in page
    assert any(one.startswith("Failed fires by donor and slot: 2 of 32 fires.") for one in captions(page))


@pytest.mark.parametrize("slots", [1, 2, 8, 17, 2048])
def test_a_page_of_any_table_is_one_small_file(slots: int) -> None:
    page = render(selftest_page(made_run(slots)))
    loads_nothing(page)
    assert f"{slots} delivered" in page
    assert len(page) < 400_000


def test_the_worst_page_is_still_of_a_reasonable_size() -> None:
    """Every other slot fails: nothing can be drawn together."""
    page = render(selftest_page(made_run(2048, set(range(0, 2048, 2)))))
    assert len(page) < 1_500_000


def test_a_map_shows_each_failure_without_its_colour() -> None:
    """By lines in the cell, in the mark's colour: two strokes for a lost one."""
    results: list[str | None] = ["delivered"] * 15 + ["lost"]
    drawn = re.findall(r'<path d="([^"]*)"[^>]*stroke: var\(--mark\)', str(slot_map(results)))
    assert len(drawn) == 1
    assert drawn[0].count("M") == 2
    assert not re.findall(r"stroke: var\(--mark\)", str(slot_map(["delivered"] * 16)))


def test_each_failure_has_a_shape_of_its_own() -> None:
    shapes = [look.lines for look in LOOKS.values() if not look.good]
    assert all(shapes)
    assert len(set(shapes)) == len(shapes)
    assert not any(look.lines for look in LOOKS.values() if look.good)


def test_rows_are_powers_of_two() -> None:
    assert [columns_for(slots) for slots in (1, 8, 32, 33, 128, 129, 512, 513, 2048)] == [
        8,
        8,
        8,
        16,
        16,
        32,
        32,
        64,
        64,
    ]


def test_a_run_whose_ladder_broke_has_a_page() -> None:
    rung = {"name": "verdict", "outcome": "failed", "text": "no IMS", "status": "halted", "hint": "read the manual"}
    broken = made_run(steps=[], ladder=[rung], latency=None, slot_results=[], verdict="failed")
    page = render(selftest_page(broken))
    loads_nothing(page)
    for said in ("no IMS", "halted", "read the manual", "the ladder did not hold", "No slot was fired."):
        assert said in page


def test_the_answer_of_an_earlier_version_has_a_page_without_maps() -> None:
    old = made_run(16, {3})
    for name in ("slot_results", "options", "conditions", "commit", "time", "kernel"):
        del old[name]
    del old["latency"]["samples_us"]
    page = render(selftest_page(old))
    assert "an earlier version of vfio-ims wrote it" in page
    assert "not recorded" in page
    assert "Two" in comparison_page(old, made_run()).title


def test_two_runs_show_what_differs() -> None:
    page = render(comparison_page(made_run(16), made_run(16, {3, 4, 5}, kernel="Linux 9")))
    loads_nothing(page)
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert "3 slots delivered lost 3-5" in text
    assert re.search(r"lost 0 3 \+3", text)
    differ = re.findall(r'<tr class="differs"><th class="" scope="row">([^<]*)', page)
    assert {"delivered", "lost", "kernel"} <= set(differ)
    assert "fired" not in differ
    maps = [one for one in captions(page) if "donor passes" in one]
    assert [one.split("  ")[0] for one in maps] == ["Left: donor passes, pass 2", "Right: donor passes, pass 2"]


def test_two_runs_alike_say_so() -> None:
    page = render(comparison_page(made_run(8), made_run(8)))
    assert "None: all of 8 slots fared alike in both." in page
    assert 'id="parts-that-differ"' not in page


def test_a_page_gives_the_run_back(tmp_path: Path) -> None:
    run, other = made_run(8, {1}), made_run(8)
    one, two, answer = tmp_path / "one.html", tmp_path / "two.html", tmp_path / "run.json"
    one.write_text(render(selftest_page(run)))
    two.write_text(render(comparison_page(run, other)))
    answer.write_text(json.dumps(run))
    assert read_runs(one) == read_runs(answer) == [run]
    assert read_runs(two) == [run, other]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "it is empty"),
        ("{", "line 1"),
        ("[1]", "JSON of something else"),
        ('{"schema": "vfio-ims/show"}', "'vfio-ims/show'"),
        ('{"device": "x"}', "names no schema"),
        ('{"schema": "vfio-ims/selftest", "schema_version": "2.0"}', "reads 1.x"),
        ('{"schema": "vfio-ims/selftest", "schema_version": "1.0"}', "it lacks device"),
        ("<!DOCTYPE html><html></html>", "not made of a self-test"),
    ],
)
def test_a_file_without_a_run_is_refused_in_plain_words(content: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "some"
    file.write_text(content)
    with pytest.raises(UsageError, match=re.escape(says)) as raised:
        read_runs(file)
    assert "selftest --json" in raised.value.hint


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=re.escape("gone.json")):
        read_runs(tmp_path / "gone.json")


@pytest.mark.parametrize("samples", [[0.0], [0.0, 5e6], [31.0] * 3, [float(number) for number in range(1, 90)]])
def test_any_latencies_have_a_histogram(samples: list[float]) -> None:
    drawn = str(latency_figure(samples))
    assert f"max {micro(max(samples))}" in drawn
    assert "nan" not in drawn


def test_percentiles_are_samples() -> None:
    samples = [float(number) for number in range(101)]
    assert [percentile(samples, share) for share in (0.0, 0.5, 0.99, 1.0)] == [0.0, 50.0, 99.0, 100.0]


def test_results_of_a_later_version_are_shown_as_unknown() -> None:
    run: dict[str, Any] = made_run(8)
    run["slot_results"][0]["results"] = {"delivered": ["0-6"], "vanished": ["7"]}
    assert "a result that this version does not know" in render(selftest_page(run))
