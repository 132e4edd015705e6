#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the gate's suites, two at a time, and judges them: lanes.py NAME... with NAME one of tests, vm, pythons.

A test that fails fails the gate, also where it passes when it is run again: it is run again only to find out whether it
is flaky, and is named as such in the last lines. The longest suites start first; the first one that was named is shown
while it runs, the others when they have ended. pytest's closing lines end it, and are left in build/lanes/closing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / "build" / "lanes"
AT_ONCE = 2
VM = [
    "tests/vm",
    "tests/backends/kernel/test_kernel_vm.py",
    "tests/backends/kernel/test_dma_vm.py",
    "tests/vfio_user/test_under_qemu.py",
]
PYTHONS = ROOT / ".ci" / "pythons"
ON_EVERY_PYTHON = [
    "tests/behaviour",
    "tests/interrupts",
    "tests/native/test_events.py",
    "tests/native/test_fork.py",
    "tests/native/test_memory.py",
    "tests/native/test_window.py",
]
"""What depends on the interpreter: threads, forks, the end of the process, the compiled module."""
BY_SOCKET_TOO = "debian-3.13"
"""The one of these Pythons on which models are also reached through a socket; on the others `nightly` does that."""
IN_PROCESS = ["-k", "not vfio-user"]
NO_DUMPS = ["-o", "faulthandler_timeout=0"]
"""A guest's tests may take minutes each: no stacks of those that do."""

_CLOSING = re.compile(r"^=+ .*\b(passed|failed|error|errors|skipped|deselected|no tests ran)\b.* =+$")
_HUNG = re.compile(r"^-+ a guest's boot hung, and was repeated -+$", re.MULTILINE)


@dataclass
class Suite:
    """One run of pytest: what to start, and what became of it."""

    name: str
    command: list[str]
    cache: Path
    """Where pytest keeps the names of what failed, as this process sees it."""
    cache_option: str
    status: int = 0
    seconds: float = 0.0
    failed: list[str] = field(default_factory=list)
    flaky: list[str] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return WORK / f"{self.name}.log"

    def run(self, shown: bool) -> None:
        """The first run. Its output goes to the log, and on the screen too where it is ``shown``."""
        shutil.rmtree(self.cache, ignore_errors=True)
        began = time.monotonic()
        self.status = self._pytest(["--durations=12", "--durations-min=3"], shown)
        self.seconds = time.monotonic() - began
        self.failed = self._names()

    def diagnose(self) -> None:
        """Run again what failed. What passes now is flaky; no status gets better by that."""
        print(f"\n=== {self.name}: what failed, again, for diagnosis only", flush=True)
        self._pytest(["--last-failed", "--last-failed-no-failures=none"], shown=True)
        still = self._names()
        self.flaky = [name for name in self.failed if name not in still]

    def closing_line(self) -> str:
        """pytest's own closing line of the first run."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if _CLOSING.match(line)]
        return lines[0] if lines else f"{self.name}: no closing line; pytest ended with status {self.status}"

    def hung_boots(self) -> int:
        """How many of its guests hung at their boot and were booted again: no failure, but not to go unseen."""
        return len(_HUNG.findall(self.log.read_text(errors="replace")))

    def _names(self) -> list[str]:
        file = self.cache / "v" / "cache" / "lastfailed"
        return sorted(json.loads(file.read_text())) if file.exists() else []

    def _pytest(self, options: list[str], shown: bool) -> int:
        command = [*self.command, "-o", f"cache_dir={self.cache_option}", "--color=no", *options]
        with (
            self.log.open("a") as log,
            subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            ) as process,
        ):
            assert process.stdout is not None
            for line in process.stdout:
                log.write(line)
                if shown:
                    print(line, end="", flush=True)
        return process.returncode


def suites(names: list[str]) -> list[Suite]:
    """The suites of these names; ``pythons`` is one for each that `.ci/pythons` has made ready."""
    here = [str(ROOT / ".venv" / "bin" / "python"), "-m", "pytest"]
    found = []
    for name in names:
        if name == "pythons":
            listed = subprocess.run([PYTHONS, "list", "--others"], capture_output=True, text=True, check=True).stdout
            for line in listed.splitlines():
                label, cache, option = line.split("\t")
                mounts = [] if label == BY_SOCKET_TOO else IN_PROCESS
                command = [str(PYTHONS), "run", label, "-m", "pytest", *ON_EVERY_PYTHON, *mounts]
                found.append(Suite(f"python-{label}", command, Path(cache), option))
            continue
        command = {"tests": [*here, *(f"--ignore={path}" for path in VM)], "vm": [*here, *VM, *NO_DUMPS]}[name]
        cache = WORK / f"{name}.cache"
        found.append(Suite(name, command, cache, str(cache)))
    return found


def main(names: list[str]) -> int:
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    found = suites(names)
    shown, longest_first = found[0], sorted(found, key=lambda suite: suite.name not in ("vm", "tests"))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = {suite.name: pool.submit(suite.run, suite is shown) for suite in longest_first}
        for suite in found:
            runs[suite.name].result()
            if suite is not shown:
                print(f"\n=== {suite.name}\n{suite.log.read_text(errors='replace')}", flush=True)
    for suite in found:
        if suite.failed:
            suite.diagnose()
    print("\n=== suites")
    for suite in found:
        verdict = "passed" if suite.status == 0 else f"FAILED (pytest's status {suite.status})"
        print(f"{suite.seconds:5.0f} s  {suite.name}: {verdict}")
        for name in suite.failed:
            print(f"         {'FLAKY, passed when run again' if name in suite.flaky else 'failed twice'}: {name}")
        if hung := suite.hung_boots():
            print(f"         {hung} boots of a guest hung and were repeated: see build/lanes/{suite.name}.log")
    closing = "\n".join(suite.closing_line() for suite in found)
    (WORK / "closing").write_text(closing + "\n")
    print(closing, flush=True)
    return int(any(suite.status for suite in found))


if __name__ == "__main__":
    os.environ.pop("PYTEST_ADDOPTS", None)
    sys.exit(main(sys.argv[1:] or ["tests", "vm", "pythons"]))
