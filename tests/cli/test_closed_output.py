# SPDX-License-Identifier: Apache-2.0
"""A reader that has left, as ``head`` does: every verb ends quietly, with the status that it has without."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest


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
    lines = (done.stderr or "").splitlines(keepends=True)
    # A self-test on a slow machine says how far it is.
    return done.returncode, "".join(line for line in lines if not line.startswith("self-test: step "))


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "--version",
        "show --help",
        "list --all --json",
        "show mock:minimal",
        "show mock:minimal --json",
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
    assert into_a_closed_pipe(*words.split()) == (0, "")


def test_a_failure_is_one_without_a_reader_too() -> None:
    assert into_a_closed_pipe("selftest", "mock:minimal,defect=ignores-mask") == (1, "")


@pytest.mark.parametrize(("words", "status"), [("show nonsense", 2), ("selftset", 2), ("show mock:minimal", 0)])
def test_a_message_whose_reader_has_left_ends_quietly_too(words: str, status: int) -> None:
    assert into_a_closed_pipe(*words.split(), errors_too=True) == (status, "")


def test_monitor_ends_when_its_reader_leaves() -> None:
    assert into_a_closed_pipe("monitor", "mock:minimal", "--interval", "0.01") == (0, "")


def test_head_gets_its_line(tmp_path: Path) -> None:
    command = f"{sys.executable} -X dev -m vfio_ims.cli.main show mock:minimal --fields | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "mock:minimal\n", "")


@pytest.mark.parametrize("verb", [("show", "mock:minimal"), ("show", "mock:minimal", "--json")])
def test_a_full_disk_is_said_once_with_no_traceback(verb: tuple[str, ...]) -> None:
    words = [sys.executable, "-m", "vfio_ims.cli.main", *verb]
    with open("/dev/full", "w") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr == "vfio-ims: write the output: No space left on device\n"
