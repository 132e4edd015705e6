# SPDX-License-Identifier: Apache-2.0
"""What bash completes, asked as bash asks: of names with colons it gets what follows them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
{source}
COMP_LINE={line!r}; COMP_POINT=${{#COMP_LINE}}
_vfio_ims_completion vfio-ims
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture(scope="module")
def source() -> str:
    command = [sys.executable, "-m", "vfio_ims.cli.main", "completion", "bash"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("vfio-ims selft", ["selftest"]),
        ("vfio-ims selftest mock:mini", ["minimal"]),
        ("vfio-ims --driver . show mock:minimal,dvs", ["minimal,dvsec="]),
        ("vfio-ims show mock:minimal,flr=no,dvsec=no", ["no-ims"]),
        ("vfio-ims serve mini", ["minimal"]),
        ("vfio-ims selftest --no-r", ["--no-reset"]),
        ("vfio-ims show repor", ["report:"]),
        ("vfio-ims show report:box", ["box.json"]),
        ("vfio-ims completion f", ["fish"]),
    ],
)
def test_bash_gets_what_follows(source: str, tmp_path: Path, line: str, replies: list[str]) -> None:
    (tmp_path / "box.json").touch()
    program = tmp_path / "bin/vfio-ims"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m vfio_ims.cli.main "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", SCRIPT.format(source=source, line=line)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env=os.environ | {"PATH": f"{program.parent}:{os.environ['PATH']}"},
    )
    assert done.stdout.split() == replies, done.stderr


@pytest.mark.parametrize(("shell", "word"), [("zsh", "compdef"), ("fish", "complete --no-files --command vfio-ims")])
def test_other_shells_get_a_script(shell: str, word: str) -> None:
    command = [sys.executable, "-m", "vfio_ims.cli.main", "completion", shell]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ | {"COLUMNS": "80"})
    assert done.returncode == 0
    assert word in done.stdout
