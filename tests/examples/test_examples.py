# SPDX-License-Identifier: Apache-2.0
"""Every example runs on the mock, says what its text promises, and takes any device's name."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py") if not path.name.startswith("test_"))


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", *arguments]
    return subprocess.run(command, cwd=EXAMPLES.parent, capture_output=True, text=True, timeout=120, check=False)


def promised(name: str) -> list[str]:
    """The lines after "prints" in the example's text."""
    text = ast.get_docstring(ast.parse((EXAMPLES / name).read_text())) or ""
    return [line.strip() for line in text.partition("prints")[2].splitlines() if line.startswith("    ")]


def shape(lines: list[str]) -> list[str]:
    """Without the numbers that differ from run to run."""
    return sorted(re.sub(r"0x[0-9a-f]+|\d+", "N", line) for line in lines)


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_prints_what_it_promises(name: str) -> None:
    done = run(f"examples/{name}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert shape(done.stdout.splitlines()) == shape(promised(name))


PARTICULAR = {
    "dma_copy.py": "mock:minimal is no DSA: nothing here copies memory",
    "scatter.py": "mock:minimal is no DesignWare eDMA: nothing here gathers",
}
"""Examples that need a device which does more than raise slots, and what they say of one that does not."""


@pytest.mark.parametrize("name", [name for name in SCRIPTS if name not in PARTICULAR])
def test_it_takes_any_device(name: str) -> None:
    done = run(f"examples/{name}", "mock:minimal")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == len(promised(name))


@pytest.mark.parametrize("name", PARTICULAR)
def test_it_says_that_a_device_cannot_do_that(name: str) -> None:
    done = run(f"examples/{name}", "mock:minimal")
    assert done.returncode == 1
    assert done.stderr.strip() == PARTICULAR[name]


def test_gathering_with_an_address_for_each_slot_as_well() -> None:
    done = run("examples/scatter.py", "mock:amd-hdma")
    assert done.returncode == 0, done.stderr
    first, *_, last = done.stdout.splitlines()
    assert first == "mock:amd-hdma: 16 slots, each keeps 32 bits of data, an address each, no mask"
    assert last == "all there, in reverse"


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_says_what_it_needs(name: str) -> None:
    text = ast.get_docstring(ast.parse((EXAMPLES / name).read_text())) or ""
    assert f"python examples/{name} [DEVICE]" in text
    assert "Needs a" in text
    assert promised(name)


def test_the_template_passes_on_the_mock() -> None:
    done = run("-m", "pytest", "-q", "-p", "no:cacheprovider", "examples/test_my_device.py")
    assert done.returncode == 0, done.stdout
    assert "3 on mock:intel-dsa" in done.stdout
