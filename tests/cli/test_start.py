# SPDX-License-Identifier: Apache-2.0
"""The texts that ``vfio-ims`` prints without click are click's own, and what does not fit goes to click."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cli.terminal import in_terminal
from vfio_ims import __version__
from vfio_ims.cli.main import cli
from vfio_ims.cli.start import prepared

_START = [sys.executable, "-m", "vfio_ims.cli.start"]


def started(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What the console script does, in a pipe."""
    return subprocess.run([*_START, *words], capture_output=True, text=True, env=os.environ | environment, timeout=60)


def by_click(columns: int, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    return cli.make_context("vfio-ims", [], resilient_parsing=True).get_help() + "\n"


@pytest.mark.parametrize("columns", [80, 100, 137])
def test_the_prepared_help_is_what_click_formats(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    for words in (["--help"], ["-h"]):
        assert prepared(words) == by_click(columns, monkeypatch), "after a change: .venv/bin/python .ci/help.py"


@pytest.mark.parametrize("columns", ["79", "81", "99", "40"])
def test_other_widths_are_left_to_click(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert prepared(["--help"]) is None
    done = started("--help", COLUMNS=columns)
    assert (done.returncode, done.stdout) == (0, by_click(int(columns), monkeypatch))


@pytest.mark.parametrize("words", [[], ["list"], ["list", "--help"], ["--help", "list"], ["-v", "--version"], ["-hV"]])
def test_all_else_is_left_to_click(words: Sequence[str]) -> None:
    assert prepared(list(words)) is None


def test_the_help_in_a_pipe_loads_no_click() -> None:
    look = "from vfio_ims.cli.start import main; main(); import sys; print('click' in sys.modules, file=sys.stderr)"
    command = [sys.executable, "-c", look, "--help"]
    environment = os.environ | {"COLUMNS": "80"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stderr) == (0, "False\n")
    assert done.stdout.startswith("Usage: vfio-ims [OPTIONS] COMMAND [ARGS]...\n")


def test_the_version_is_what_click_prints() -> None:
    whole = [sys.executable, "-m", "vfio_ims.cli.main", "--version"]
    said = subprocess.run(whole, capture_output=True, text=True, check=True, timeout=60).stdout
    assert started("--version").stdout == started("-V").stdout == said
    assert __version__ in said


def test_a_shell_that_completes_is_answered_by_click(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_VFIO_IMS_COMPLETE", "bash_complete")
    assert prepared(["--help"]) is None


@pytest.mark.parametrize("width", [80, 120])
def test_in_a_terminal_the_width_is_the_terminals(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = in_terminal("--help", width=width, module="vfio_ims.cli.start")
    assert [line.rstrip() for line in lines] == by_click(width, monkeypatch).rstrip("\n").splitlines()


def test_a_full_disk_is_named_and_a_reader_that_left_is_none() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([*_START, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "vfio-ims: write the output: No space left on device\n")
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([*_START, "--help"], stdout=writer, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
