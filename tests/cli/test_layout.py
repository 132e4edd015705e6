# SPDX-License-Identifier: Apache-2.0
"""What verbs print fits the terminal and breaks between words; in a pipe a record is a line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.terminal import in_terminal
from tests.host.box import DSA, report_in_use, saved


@pytest.fixture
def reported(tmp_path: Path) -> str:
    """A function with a name, a family and a reason, as a report of its machine."""
    return saved(report_in_use(tmp_path, "qemu-system-x86_64"), tmp_path)


def piped(*arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-m", "vfio_ims.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout.splitlines()


@pytest.mark.parametrize("width", [40, 80, 160, 300])
def test_list_keeps_address_state_and_why_in_any_terminal(reported: str, width: int) -> None:
    lines = in_terminal("list", "-w", reported, width=width)
    assert all(len(line) <= width for line in lines)
    text = " ".join(" ".join(lines).split())
    for word in (DSA, "8086:11fb", "in use", "intel_idxd", "system peripheral", "(qemu-system-x86_64)"):
        assert word in text, "nothing is lost, and no word is broken"


def test_a_piped_list_has_a_line_for_each_function(reported: str) -> None:
    heading, *lines = piped("list", "-w", reported)
    assert heading.split()[0] == "Address"
    assert len(lines) == 1
    assert lines[0].endswith("(qemu-system-x86_64)")
    assert len(lines[0]) > 160


@pytest.mark.parametrize("width", [40, 80])
@pytest.mark.parametrize("words", ["selftest mock:minimal", "read mock:minimal", "show mock:minimal"])
def test_lines_break_between_words_only(words: str, width: int) -> None:
    lines = in_terminal(*words.split(), width=width, NO_COLOR="1")
    assert all(len(line) <= width for line in lines)
    words_of_all = {word for line in piped(*words.split()) for word in line.split()}
    broken = {word for line in lines for word in line.split() if not any(map(str.isdigit, word))} - words_of_all
    assert not broken  # numbers are another run's


@pytest.mark.parametrize("width", [40, 80])
def test_a_message_breaks_between_words(width: int) -> None:
    lines = in_terminal("show", "nonsense", width=width, status=2, errors=True)
    assert all(len(line) <= width for line in lines)
    assert "'nonsense' is neither a PCI address" in " ".join(" ".join(lines).split())
    assert len(lines) > 2
