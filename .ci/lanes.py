#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the gate's suites, several at a time, and judges them.

    lanes.py NAME...    with NAME one of tests, vm, pythons, sanitizers

Most of a test's time is no processor's: it waits for a settle time, a reset, another process. So twice as many suites
run at a time as there are processors. The ordinary tests are several suites, and so is what needs a virtual machine,
each with guests of its own: none of them is then what all else waits for. A test that fails fails the gate, also where
it passes when it is run again: it is run again only to find out whether it is flaky, and is named as such in the last
lines. The longest suites start first; the first one that was named is shown while it runs, the others when they have
ended. The last lines say what each suite took, its slowest tests, and pytest's closing lines, which are left in
build/lanes/closing.
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
AT_ONCE = 2 * (os.cpu_count() or 1)
"""Suites at a time: each waits for half of its time or more (.ci/README.md)."""
VM = [
    "tests/vm",
    "tests/backends/kernel/test_kernel_vm.py",
    "tests/backends/kernel/test_dma_vm.py",
    "tests/vfio_user/test_under_qemu.py",
]
VM_PARTS = {
    "vm-behaviour": ["tests/vm/test_matrix_behaviour.py"],
    "vm-amd": ["tests/vm/test_amd.py"],
    "vm-arm64": ["tests/vm/test_arm64.py"],
    "vm-kernel": [one for one in VM if not one.startswith("tests/vm")],
    "vm-host": [
        f"tests/vm/test_{name}.py" for name in ("exported", "host", "matrix_robust", "matrix_selftest", "recording")
    ],
    "vm-devices": [f"tests/vm/test_{name}.py" for name in ("device_verbs", "dlb", "edma", "foreign", "idxd")],
}
"""Suites of their own of what needs a virtual machine; the suite ``vm`` has all the rest.

Modules that share a guest (tests/vm/conftest.py) are in one.
"""
TESTS_PARTS = {
    "tests-behaviour": ["tests/behaviour"],
    "tests-tables": ["tests/selftest", "tests/tables", "tests/testing"],
}
"""Suites of their own of what needs none; the suite ``tests`` has all the rest."""
LONGEST_FIRST = (
    *("tests", "vm-host", "vm-devices", "vm-amd", "tests-behaviour", "vm-behaviour", "vm-arm64", "tests-tables"),
    *("vm", "vm-kernel"),
)
SLOWEST = 3  # tests that the last lines name, of each suite
PYTHONS = ROOT / ".ci" / "pythons"
ON_EVERY_PYTHON = [
    "tests/behaviour",
    "tests/interrupts",
    "tests/native/test_events.py",
    "tests/native/test_fork.py",
    "tests/native/test_memory.py",
    "tests/native/window",
]
"""What depends on the interpreter: threads, forks, the end of the process, the compiled module."""
BY_SOCKET_TOO = "debian-3.13"
"""The one of these Pythons on which models are also reached through a socket; on the others `nightly` does that."""
IN_PROCESS = ["-k", "not vfio-user"]
NO_DUMPS = ["-o", "faulthandler_timeout=0"]
"""A guest's tests may take minutes each: no stacks of those that do."""

_CLOSING = re.compile(r"^=+ .*\b(passed|failed|error|errors|skipped|deselected|no tests ran)\b.* =+$")
_DURATION = re.compile(r"^(\d+\.\d+)s (?:setup|call|teardown) +(\S.*)$", re.MULTILINE)
_HUNG = re.compile(r"^-+ a guest's boot hung, and was repeated -+$", re.MULTILINE)


@dataclass
class Suite:
    """One run of pytest: what to start, and what became of it."""

    name: str
    command: list[str]
    cache: Path
    """Where pytest keeps the names of what failed, as this process sees it."""
    cache_option: str
    script: bool = False
    """Not pytest itself but what runs it, and more: it takes no options of pytest's."""
    status: int = 0
    seconds: float = 0.0
    processor: float = 0.0
    """Seconds of processor time, its guests' and servers' included where they ended by themselves."""
    failed: list[str] = field(default_factory=list)
    flaky: list[str] = field(default_factory=list)

    @property
    def log(self) -> Path:
        return WORK / f"{self.name}.log"

    def run(self, shown: bool) -> None:
        """The first run. Its output goes to the log, and on the screen too where it is ``shown``."""
        shutil.rmtree(self.cache, ignore_errors=True)
        began = time.monotonic()
        self.status, self.processor = self._pytest(["--durations=12", "--durations-min=3"], shown)
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
        if self.script:
            return f"{self.name}: {'passed' if self.status == 0 else f'FAILED with status {self.status}'}"
        return lines[0] if lines else f"{self.name}: no closing line; pytest ended with status {self.status}"

    def slowest(self) -> list[str]:
        """The tests that took longest, as pytest has them."""
        found = _DURATION.findall(self.log.read_text(errors="replace"))
        return [f"{float(seconds):5.0f} s  {name}" for seconds, name in found[:SLOWEST]]

    def hung_boots(self) -> int:
        """How many of its guests hung at their boot and were booted again: no failure, but not to go unseen."""
        return len(_HUNG.findall(self.log.read_text(errors="replace")))

    def _names(self) -> list[str]:
        file = self.cache / "v" / "cache" / "lastfailed"
        return sorted(json.loads(file.read_text())) if file.exists() else []

    def _pytest(self, options: list[str], shown: bool) -> tuple[int, float]:
        """Its status, and the seconds of processor time that it took."""
        command = [*self.command, "-o", f"cache_dir={self.cache_option}", "--color=no", *options]
        if self.script:
            command = self.command
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
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode, used.ru_utime + used.ru_stime


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
        if name == "sanitizers":
            cache = WORK / f"{name}.cache"
            found.append(Suite(name, [str(ROOT / "tests" / "sanitize.sh"), "short"], cache, str(cache), script=True))
            continue
        for part, arguments in (vm_commands() if name == "vm" else tests_commands()).items():
            cache = WORK / f"{part}.cache"
            found.append(Suite(part, [*here, *arguments], cache, str(cache)))
    return found


def tests_commands() -> dict[str, list[str]]:
    """pytest's arguments for each suite of what needs no virtual machine: every test is in exactly one."""
    elsewhere = [f"--ignore={path}" for path in VM]
    parts = [f"--ignore={folder}" for folders in TESTS_PARTS.values() for folder in folders]
    return {"tests": [*elsewhere, *parts], **TESTS_PARTS}


def vm_commands() -> dict[str, list[str]]:
    """pytest's arguments for each suite of what needs a virtual machine: every test is in exactly one."""
    commands = {name: [*files, *NO_DUMPS] for name, files in VM_PARTS.items()}
    elsewhere = [file for files in VM_PARTS.values() for file in files]
    left = [one for one in VM if one not in elsewhere]  # pytest takes what is named, also where it is to ignore it
    return {"vm": [*left, *(f"--ignore={file}" for file in elsewhere), *NO_DUMPS], **commands}


def main(names: list[str]) -> int:
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    found = suites(names)
    order = {name: place for place, name in enumerate(LONGEST_FIRST)}
    shown, longest_first = found[0], sorted(found, key=lambda suite: order.get(suite.name, len(order)))
    began = time.monotonic()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        runs = {suite.name: pool.submit(suite.run, suite is shown) for suite in longest_first}
        for suite in found:
            runs[suite.name].result()
            if suite is not shown:
                print(f"\n=== {suite.name}\n{suite.log.read_text(errors='replace')}", flush=True)
    for suite in found:
        if suite.failed:
            suite.diagnose()
    took = time.monotonic() - began
    print("\n=== where the time went")
    for suite in sorted(found, key=lambda suite: -suite.seconds):
        print(f"{suite.seconds:5.0f} s  {suite.name}, {suite.processor:.0f} s of processor")
        print("".join(f"         {line}\n" for line in suite.slowest()), end="")
    whole, used = sum(suite.seconds for suite in found), sum(suite.processor for suite in found)
    cores = os.cpu_count() or 1
    share = 100 * used / (took * cores) if took else 0
    print(f"{took:5.0f} s  in all: suites of {whole:.0f} s, {AT_ONCE} at a time")
    print(f"{used:5.0f} s  of processor: {share:.0f} % of what {cores} processors have in that time")
    print("\n=== suites")
    for suite in found:
        verdict = "passed" if suite.status == 0 else f"FAILED (status {suite.status})"
        print(f"{suite.seconds:5.0f} s  {suite.name}: {verdict}")
        for name in suite.failed:
            print(f"         {'FLAKY, passed when run again' if name in suite.flaky else 'failed twice'}: {name}")
        if hung := suite.hung_boots():
            print(f"         {hung} boots of a guest hung and were repeated: see build/lanes/{suite.name}.log")
    closing = "\n".join(suite.closing_line() for suite in found)
    (WORK / "closing").write_text(closing + "\n")
    print(closing, flush=True)
    return int(any(suite.status for suite in found))


def compile_all() -> None:
    """Compile each module once, not once a process: the tests start hundreds, and a guest can keep none."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    python = ROOT / ".venv" / "bin" / "python"
    subprocess.run([python, "-m", "compileall", "-q", "vfio_ims", "drivers", "tests"], cwd=ROOT, check=False)


if __name__ == "__main__":
    os.environ.pop("PYTEST_ADDOPTS", None)
    compile_all()
    sys.exit(main(sys.argv[1:] or ["tests", "vm", "pythons", "sanitizers"]))
