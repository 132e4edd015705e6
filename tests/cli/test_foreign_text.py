# SPDX-License-Identifier: Apache-2.0
"""What others wrote (names of processes and devices, a report's files) is printed, and no terminal obeys it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.cli.test_verbs import vfio_ims
from tests.host.box import report_in_use, saved
from vfio_ims.cli.main import cli
from vfio_ims.errors import VfioImsError
from vfio_ims.printable import printable

HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202e\x9b31m[red]\nIMS: yes"
STYLE = re.compile(r"\x1b\[[0-9;]*m")  # what rich itself writes for colour


def harmless(text: str) -> bool:
    """Whether a terminal finds nothing to obey but styles."""
    return printable(STYLE.sub("", text), keep="\n\t") == STYLE.sub("", text)


def test_printable() -> None:
    assert printable("Granite Rapids é 中") == "Granite Rapids é 中"
    assert printable("a\x1b[2J\x07\x9b\u202e\x7f\ud800\n") == r"a\x1b[2J\x07\x9b\u202e\x7f\ud800\n"
    assert printable("a\nb\tc\r", keep="\n\t") == "a\nb\tc\\r"


@pytest.fixture
def hostile(tmp_path: Path) -> str:
    """A report whose author wrote what they liked into it, where its form allows."""
    content = report_in_use(tmp_path)
    home = next(path.rpartition("/")[0] for path in content["files"] if path.endswith("/config"))
    for name in ("driver_override", "power_state", "reset_method"):
        content["files"][f"{home}/{name}"] = {"text": HOSTILE}
    content["files"]["proc/sys/kernel/osrelease"] = {"text": f"6.15.2{HOSTILE}"}
    content["holders"]["/dev/vfio/23"][0]["name"] = HOSTILE
    content["nodes"]["/dev/vfio/23"]["group"] = HOSTILE
    return saved(content, tmp_path)


@pytest.mark.parametrize(
    "words", ["show", "show --fields", "doctor", "list", "list -w", "list --json", "bind -n", "report -o -"]
)
@pytest.mark.parametrize("environment", [{}, {"FORCE_COLOR": "1", "COLUMNS": "40"}, {"FORCE_COLOR": "1"}])
def test_no_verb_passes_it_on(hostile: str, words: str, environment: dict[str, str]) -> None:
    result = CliRunner(env=environment).invoke(cli, [*words.split(), hostile], standalone_mode=False)
    assert result.exception is None or isinstance(result.exception, VfioImsError)
    assert harmless(result.stdout), repr(result.stdout)
    assert harmless(result.stderr), repr(result.stderr)
    if words.split()[0] in ("show", "doctor", "list"):
        assert "owned" in re.sub(r"\s", "", STYLE.sub("", result.stdout))
        assert "\nIMS: yes" not in result.stdout  # no line that looks like ours


def test_neither_does_an_error(tmp_path: Path) -> None:
    place = tmp_path / f"x{HOSTILE.replace('/', '')}.json"
    place.write_text(json.dumps({"schema": "vfio-ims/report", "schema_version": HOSTILE}))
    for device in (f"report:{place}", f"mock:{HOSTILE}", HOSTILE):
        done = vfio_ims("-v", "show", device)
        assert done.returncode in (2, 3), done
        assert harmless(done.stderr), repr(done.stderr)
        assert "owned" in done.stderr
    done = vfio_ims("show", f"--{HOSTILE}")
    assert done.returncode == 2
    assert harmless(done.stderr), repr(done.stderr)
