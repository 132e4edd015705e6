# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM while a device is tested: a report, a quiet device, and the status that shells expect."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import vfio_ims.drivers
from tests.cli.terminal import all_of, open_terminal

STOPPING = """
    _fires = 0

    def fire(self, slot: int, *, pasid: int | None = None) -> FireReport:
        import os, time
        Minimal._fires += 1
        if Minimal._fires == 30:
            os.kill(os.getpid(), {number})
        time.sleep({pace})
        return self._fire(slot, pasid=pasid)
"""


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """The minimal family, whose driver is sent a signal in its thirtieth fire."""
    number, pace = request.param
    target = tmp_path / "stopping"
    target.mkdir()
    for file in (Path(next(iter(vfio_ims.drivers.__path__))) / "minimal").glob("*.py"):
        text = file.read_text().replace("1234:1a55", "1234:1a57").replace('"minimal"', '"stopping"')
        if file.name == "driver.py":
            text = text.replace("def fire(", "def _fire(") + STOPPING.format(number=int(number), pace=pace)
        (target / file.name).write_text(text)
    return str(target)


def command(folder: str, *more: str) -> list[str]:
    own = [sys.executable, "-X", "dev", "-m", "vfio_ims.cli.main"]
    return [*own, "--driver", folder, "selftest", "mock:stopping", *more]


@pytest.mark.parametrize(
    ("folder", "status"), [((signal.SIGINT, 0), 130), ((signal.SIGTERM, 0), 143)], indirect=["folder"]
)
def test_a_stopped_self_test_reports_and_exits_as_a_shell_expects(folder: str, status: int) -> None:
    done = subprocess.run(command(folder), capture_output=True, text=True, timeout=120)
    assert done.returncode == status, done.stderr
    assert "interrupted in: donor passes" in done.stdout
    assert "left: every slot masked" in done.stdout
    answer = json.loads(subprocess.run(command(folder, "--json"), capture_output=True, timeout=120).stdout)
    assert (answer["verdict"], answer["interrupted"], answer["quiet"]) == ("interrupted", "donor passes", True)
    assert {step["outcome"] for step in answer["steps"]} >= {"passed", "interrupted", "not run"}


@pytest.mark.parametrize("folder", [(signal.SIGTERM, 0.02)], indirect=True)
def test_a_terminal_has_its_cursor_back(folder: str) -> None:
    main, side = open_terminal()
    environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "80"}
    environment.pop("NO_COLOR", None)
    running = subprocess.Popen(command(folder), stdout=side, stderr=side, env=environment)
    os.close(side)
    text = all_of(main)
    assert running.wait(60) == 143
    assert "step 3 of 12" in text
    assert "\x1b[?25l" in text, "the bar hides it"
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")


@pytest.mark.parametrize("folder", [(0, 0.04)], indirect=True)
def test_without_a_terminal_a_long_run_says_how_far_it_is(folder: str) -> None:
    done = subprocess.run(command(folder), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines
    assert all(line.startswith("self-test: step ") and " of 12, " in line for line in lines)
