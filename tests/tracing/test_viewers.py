# SPDX-License-Identifier: Apache-2.0
"""A recording for people and their viewers: summary, two side by side, Perfetto, mmiotrace."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.tracing.conftest import lines
from tests.tracing.test_replay import Change
from vfio_ims.cli.main import cli
from vfio_ims.tracing import read_recording
from vfio_ims.tracing.perfetto import to_perfetto


def run(*words: str, status: int = 0) -> str:
    result = CliRunner().invoke(cli, [*words], standalone_mode=False)
    assert result.exception is None
    assert (result.return_value or 0) == status
    return result.stdout


def test_the_summary_has_the_registers_the_loops_and_the_beginning(recorded: Path) -> None:
    printed = run("trace", "summary", str(recorded))
    reads = sum(one.get("times", 1) for one in lines(recorded)[1:] if one["k"] == "r")
    assert f" {reads} r" in printed
    assert "CMDSTS (BAR 0 +0xa8)" in printed.partition("polling")[2]
    assert "write 32 bits GENCFG" in printed.partition("how it begins")[2]


def test_a_recording_and_itself_do_not_differ(recorded: Path) -> None:
    assert run("diff", str(recorded), str(recorded)) == ""


def test_what_differs_between_two_is_shown_with_what_is_around(recorded: Path, changed: Change) -> None:
    other = changed(lambda event: event["k"] == "w" and event.get("name") == "GENCFG", {"value": "0x1234"})
    printed = run("diff", str(recorded), str(other), status=1)
    assert [line[:40] for line in printed.splitlines() if line[0] in "-+"] == [
        "- write 32 bits GENCFG (BAR 0 +0x80) = 0x"[:40],
        "+ write 32 bits GENCFG (BAR 0 +0x80) = 0x"[:40],
    ]
    assert len(printed.splitlines()) == 9  # a head, three lines before and after
    assert run("diff", "--registers", str(recorded), str(other)) == ""


def test_perfetto_gets_each_interrupt_with_the_flow_from_what_raised_it(recorded: Path, tmp_path: Path) -> None:
    run("trace", "convert", str(recorded), "--to", "perfetto", "-o", str(tmp_path / "run.json"))
    events = json.loads((tmp_path / "run.json").read_text())["traceEvents"]
    interrupts = [one for one in lines(recorded)[1:] if one["k"] == "irq"]
    begins, ends = ({one["id"]: one for one in events if one["ph"] == phase} for phase in "sf")
    assert len(begins) == len(ends) == len(interrupts) > 0
    tracks = {one["tid"]: one["args"]["name"] for one in events if one["name"] == "thread_name"}
    slices = [one for one in events if one["ph"] == "X"]
    for number, begin in begins.items():
        assert begin["ts"] <= ends[number]["ts"]
        assert tracks[ends[number]["tid"]].startswith("MSIX vector")
        # A flow is drawn from and to slices on its own track, which begin where it does.
        for end in (begin, ends[number]):
            assert any(one["tid"] == end["tid"] and one["ts"] == end["ts"] for one in slices)


def test_slices_of_one_track_nest_as_perfetto_demands(recorded: Path) -> None:
    """Two that overlap in part are an error of its importer; interrupts may follow each other within any time."""
    recording = read_recording(recorded)
    twice = [one | {"t": one["t"] + 400} for one in recording.events if one["k"] == "irq"]
    recording.events[:] = sorted([*recording.events, *twice], key=lambda event: event["t"])
    tracks: dict[int, list[tuple[float, float]]] = {}
    for one in to_perfetto(recording)["traceEvents"]:
        if one["ph"] == "X":
            tracks.setdefault(one["tid"], []).append((one["ts"], one["ts"] + one["dur"]))
    assert len(tracks) > 1
    for slices in tracks.values():
        open_ends: list[float] = []
        for begin, end in sorted(slices, key=lambda one: (one[0], -one[1])):
            open_ends = [other for other in open_ends if other > begin + 1e-6]
            assert all(end <= other + 1e-6 for other in open_ends)
            open_ends.append(end)


def test_mmiotrace_has_every_single_access(recorded: Path) -> None:
    printed = run("trace", "convert", str(recorded), "--to", "mmiotrace").splitlines()
    assert printed[0] == "VERSION 20070824"
    written = [one for one in lines(recorded)[1:] if one["k"] == "w"]
    stores = [store for one in lines(recorded)[1:] if one["k"] == "wt" for store in one["stores"]]
    found = [line.split() for line in printed if line.startswith("W ")]
    assert len(found) == len(written) + len(stores)
    assert {len(words) for words in found} == {8}
    first = next(words for words in found if words[4] == "0x100000080")  # GENCFG in BAR 0
    assert int(first[5], 16) == int(next(one["value"] for one in written if one.get("name") == "GENCFG"), 16)


def test_a_value_change_dump_has_registers_and_vectors_in_time(recorded: Path) -> None:
    reader = pytest.importorskip("vcd.reader", reason="pyvcd is not installed: pip install 'vfio-ims[vcd]'")
    tokens = list(reader.tokenize(io.BytesIO(run("trace", "convert", str(recorded), "--to", "vcd").encode())))
    kinds = reader.TokenKind
    names = {one.data.id_code: one.data.reference for one in tokens if one.kind is kinds.VAR}
    assert {"GENCFG_32", "CMDSTS_32", "MSIX_1"} <= set(names.values())
    times = [one.data for one in tokens if one.kind is kinds.CHANGE_TIME]
    assert times == sorted(times)
    written = [int(one["value"], 16) for one in lines(recorded)[1:] if one["k"] == "w" and one.get("name") == "GENCFG"]
    changes = [one.data for one in tokens if one.kind is kinds.CHANGE_VECTOR]
    found = [one.value for one in changes if names[one.id_code] == "GENCFG_32" and isinstance(one.value, int)]
    assert found[0] == written[0]
    fired = sum(one["k"] == "irq" for one in lines(recorded)[1:])
    events = [one for one in tokens if one.kind is kinds.CHANGE_SCALAR and names[one.data.id_code].startswith("MSIX")]
    assert len(events) >= fired > 0


@pytest.mark.parametrize("verb", [["trace", "summary"], ["trace", "show"], ["trace", "convert", "--to", "perfetto"]])
def test_what_is_no_recording_is_refused(tmp_path: Path, verb: list[str]) -> None:
    path = tmp_path / "other.txt"
    for text, said in (("idxd 0000:6a:01.0\n", "line 1 is not JSON"), ("VERSION 20070824\n", "it has no PCIDEV line")):
        path.write_text(text)
        result = CliRunner().invoke(cli, [*verb, str(path)], standalone_mode=False)
        assert said in str(result.exception)


def test_a_place_that_cannot_be_written_is_named(recorded: Path, tmp_path: Path) -> None:
    place = tmp_path / "none" / "run.json"
    verb = ["trace", "convert", str(recorded), "--to", "perfetto", "-o", str(place)]
    result = CliRunner().invoke(cli, verb, standalone_mode=False)
    assert f"write {place}: No such file or directory" in str(result.exception)


def test_a_file_that_is_none_is_named_once_with_the_reason(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gz"
    broken.write_text("no gzip")
    for file, reason in ((tmp_path / "none", "No such file or directory"), (broken, "Not a gzipped file")):
        result = CliRunner().invoke(cli, ["trace", "show", str(file)], standalone_mode=False)
        assert re.fullmatch(rf"read the recording {file}: {reason}.*", str(result.exception))
        assert str(result.exception).count(reason) == 1
