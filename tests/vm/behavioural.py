# SPDX-License-Identifier: Apache-2.0
"""Running the behavioural suite (tests/behaviour) in a guest, and what became of it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

from tests.behaviour.interrupting import compile_to, compiled
from tests.vm.lab import REPO
from tests.vm.served import SCENARIOS, Done

__all__ = ["ALONE", "HUGEPAGES", "IDLE", "SECONDS", "command", "outcomes"]

SECONDS = 2700.0
"""The most that a run may take: half of the gate's limit. It ends a run that hangs in spite of ``IDLE``; it judges no
speed, which is that of a machine that emulates, and does other things too."""
IDLE = 420.0
"""The most from one test's end to the next: a test has 300 s (pyproject.toml)."""
HUGEPAGES = "hugepages=8"  # one pool for all runs: none may have to ask for pages, and give back another's
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "NO_COLOR": "1"}  # plug-ins are slow to import under emulation


def command(names: Sequence[str], junit: Path, modules: Sequence[str] = ()) -> list[str]:
    """The suite, or some ``modules`` of it, on the first of two functions; its results go to ``junit``."""
    _rewrite_asserts()
    if not compiled().exists():
        compile_to(compiled())
    return [str(SCENARIOS / "suite.py"), *names, str(junit), *modules]


@cache
def _rewrite_asserts() -> None:
    """pytest keeps the test modules that it has rewritten, where it may write: the guest then finds them."""
    collect = [str(SCENARIOS / "suite.py"), *["mock:minimal"] * 2, os.devnull, "--collect-only"]
    written = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, *collect], cwd=REPO, env=written | ALONE, check=True, stdout=subprocess.DEVNULL)


def outcomes(run: str, done: Done, junit: Path) -> Counter[str]:
    """How many tests ended how; none may have failed."""
    assert junit.exists(), str(done)
    counted: Counter[str] = Counter()
    for case in ElementTree.parse(junit).iter("testcase"):
        outcome = next((part.tag for part in case if part.tag in ("failure", "error", "skipped")), "passed")
        counted[outcome] += 1
        if outcome == "skipped":
            print(f"{run}: skipped {case.get('name')}: {case.find('skipped').get('message')}")
    print(f"{run}: {dict(counted)} in {done.seconds:.0f} s")
    done.check()
    assert counted["skipped"] <= 1, "without a function reset: test_matrix_robust.py"
    return counted
