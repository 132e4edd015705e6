# SPDX-License-Identifier: Apache-2.0
"""The gate forgives nothing: a test that passes only when it is run again is named, and fails the gate."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

LANES = Path(__file__).parents[1] / ".ci" / "lanes.py"
FLAKY = """
from pathlib import Path
def test_sound(): pass
def test_broken(): assert False
def test_flaky():
    been = Path(__file__).with_name("been")
    if not been.exists():
        been.touch()
        assert False
"""


@pytest.fixture
def lanes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    if not LANES.exists():
        pytest.skip("the gate's scripts are not beside these tests: run them in a checkout")
    spec = importlib.util.spec_from_file_location("gates_lanes", LANES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "WORK", tmp_path / "work")
    return module


def suite(lanes: Any, folder: Path, name: str, text: str) -> Any:
    file = folder / f"test_{name}.py"
    file.write_text(text)
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "-p", "no:vfio_ims", "-p", "no:timeout", str(file)]
    return lanes.Suite(name, command, folder / f"{name}.cache", str(folder / f"{name}.cache"))


def test_a_flaky_test_fails_the_gate_by_name(
    lanes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [suite(lanes, tmp_path, "one", FLAKY), suite(lanes, tmp_path, "two", "def test_sound(): pass\n")]
    monkeypatch.setattr(lanes, "suites", lambda names: made)
    assert lanes.main([]) == 1
    last = capsys.readouterr().out.partition("=== suites\n")[2].splitlines()
    assert any("FLAKY" in line and line.endswith("test_one.py::test_flaky") for line in last), last
    assert any("failed twice" in line and line.endswith("test_one.py::test_broken") for line in last), last
    assert not any("test_sound" in line for line in last)
    assert "2 failed, 1 passed" in last[-2]
    assert "1 passed" in last[-1]


def test_a_gate_without_failures_passes(
    lanes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [suite(lanes, tmp_path, "one", "def test_sound(): pass\n")]
    monkeypatch.setattr(lanes, "suites", lambda names: made)
    assert lanes.main([]) == 0
    assert "FLAKY" not in capsys.readouterr().out


def test_every_test_of_the_vm_is_in_exactly_one_of_its_suites(lanes: Any) -> None:
    def files(arguments: list[str]) -> list[str]:
        given = [LANES.parents[1] / argument for argument in arguments if argument.startswith("tests/")]
        ignored = {LANES.parents[1] / argument[9:] for argument in arguments if argument.startswith("--ignore=")}
        found = [file for place in given for file in (sorted(place.glob("test_*.py")) if place.is_dir() else [place])]
        assert all(file.exists() for file in found)
        return [str(file) for file in found if file not in ignored]

    parts = lanes.vm_commands()
    assert set(lanes.LONGEST_FIRST) == {*lanes.tests_commands(), *parts}
    assert sorted(file for part in parts.values() for file in files(part)) == sorted(files(lanes.VM))


@pytest.mark.parametrize(("status", "says"), [(0, "check: passed"), (3, "check: FAILED with status 3")])
def test_a_script_among_the_suites_is_judged_by_its_status(
    lanes: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    status: int,
    says: str,
) -> None:
    made = lanes.Suite("check", ["sh", "-c", f"exit {status}"], tmp_path / "cache", "", script=True)
    monkeypatch.setattr(lanes, "suites", lambda names: [made])
    assert lanes.main([]) == int(status > 0)
    assert capsys.readouterr().out.splitlines()[-1] == says


def test_every_other_test_is_in_exactly_one_suite(lanes: Any) -> None:
    """One suite has all but what it is told to leave out, and that is just what the others have."""
    rest, *parts = lanes.tests_commands().values()
    assert all(argument.startswith("--ignore=") for argument in rest)
    left_out = [argument[9:] for argument in rest]
    elsewhere = [folder for part in parts for folder in part]
    assert sorted(left_out) == sorted([*lanes.VM, *elsewhere])
    assert len(set(elsewhere)) == len(elsewhere)
    assert all((LANES.parents[1] / folder).is_dir() for folder in elsewhere)


def test_what_shares_a_guest_is_in_one_suite(lanes: Any) -> None:
    """Anywhere else it would boot that guest a second time."""
    folder = LANES.parents[1] / "tests/vm"
    sharing = {f"tests/vm/{file.name}" for file in folder.glob("test_*.py") if "shared_lab" in file.read_text()}
    assert sharing
    assert [name for name, files in lanes.VM_PARTS.items() if sharing & set(files)] == ["vm-host"]
    assert sharing <= set(lanes.VM_PARTS["vm-host"])
