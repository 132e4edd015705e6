# SPDX-License-Identifier: Apache-2.0
"""A reader that has left, as ``head`` does: every verb that prints ends quietly, with the status that ``cat`` has."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

QUIET = 128 + signal.SIGPIPE


def into_a_closed_pipe(*arguments: str, errors_too: bool = False) -> tuple[int, str]:
    """Status and stderr of the verb, whose first write finds no reader."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-X", "dev", "-m", "vfio_ims.cli.main", *arguments],
            stdout=writer,
            stderr=writer if errors_too else subprocess.PIPE,
            text=True,
            timeout=60,
        )
    finally:
        os.close(writer)
    return done.returncode, done.stderr or ""


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "--version",
        "show --help",
        "list --all --json",
        "show mock:minimal",
        "show mock:minimal --json",
        "doctor",
        "doctor --json",
        "read mock:minimal VENDOR_ID",
        "reset mock:minimal",
        "monitor mock:minimal --json -n 3 --interval 0.01",
        "udev print",
        "selftest mock:minimal",
        "selftest mock:minimal --json",
        "demo mock:minimal",
    ],
)
def test_a_verb_whose_reader_has_left_ends_quietly(words: str) -> None:
    assert into_a_closed_pipe(*words.split()) == (QUIET, "")


@pytest.mark.parametrize("words", ["show nonsense", "selftset", "show mock:minimal"])
def test_a_message_whose_reader_has_left_ends_quietly_too(words: str) -> None:
    assert into_a_closed_pipe(*words.split(), errors_too=True) == (QUIET, "")


def test_head_gets_its_line(tmp_path: Path) -> None:
    command = f"{sys.executable} -X dev -m vfio_ims.cli.main show mock:minimal --fields | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == ("mock:minimal\n", "")
    assert done.returncode in (0, QUIET), "0 where all was written before head had read its line"
