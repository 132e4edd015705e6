#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Mutation testing: changes one place of the package at a time and runs the tests that reach it; they have to notice.

    mutate.py [--room ims] [--sample 20] [--seed 1] [--minutes 10]
    mutate.py --at vfio_ims/ims/donor.py:42

Each mutant is made in a copy of the checkout. Survivors are printed with their place: kill each by a test, or say
beside the code why it changes nothing. Only what the mock can show is asked; the seed makes a sample repeatable.

The first run records, in some minutes, which tests run which lines (build/mutants.json); that is used until the package
changes. The tests of a mutant are those that run its line, quickest first; test files that changed since run whole.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mutations import Mutant, mutants

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("ims", "interrupts", "dma", "platform", "selftest")
TESTS = (
    "tables", "behaviour", "faults", "interrupts", "dma", "platform", "selftest", "testing", "models", "test_walks.py",
    "backends/test_software_config.py", "backends/test_software_device.py", "backends/test_software_ends.py",
    "backends/test_software_resets.py", "backends/test_software_spaces.py",
)  # fmt: skip
"""What can notice a change of the rooms on the mock alone."""
OPTIONS = (
    "-q",
    "-p",
    "no:cacheprovider",
    "-p",
    "covering",
    "-k",
    "not vfio-user and not vfio_user",
)
MAP = ROOT / "build" / "mutants.json"
_SECONDS = 10  # the slowest test takes 5; a lost interrupt would be waited for three times as long
_MODEL = re.compile(r"mock:(minimal|intel-\w+)(,\w+=\w+)*")
_MODELS = 2  # that one test runs on: the two where it is quickest


class Covering:
    """Which tests run which lines: recorded in a copy of the checkout, kept while the package stays as it is."""

    def __init__(self, tree: Path) -> None:
        package = hashlib.sha256()
        for path in sorted([*(tree / "vfio_ims").rglob("*.py"), *(tree / "drivers").rglob("*.py")]):
            package.update(path.read_bytes())
        kept = json.loads(MAP.read_text()) if MAP.exists() else {}
        if kept.get("package") != package.hexdigest():
            kept = {"package": package.hexdigest(), "files": self._files(tree), "tests": self._record(tree)}
            MAP.parent.mkdir(exist_ok=True)
            MAP.write_text(json.dumps(kept))
        self._tests: dict[str, Any] = kept["tests"]
        now = self._files(tree)
        self._changed = [name for name in now if now[name] != kept["files"].get(name)]

    @staticmethod
    def _files(tree: Path) -> dict[str, str]:
        """A digest of every test file."""
        places = [tree / "tests" / name for name in TESTS]
        files = [file for place in places for file in ([place] if place.is_file() else place.rglob("test_*.py"))]
        return {str(file.relative_to(tree)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}

    @staticmethod
    def _record(tree: Path) -> Any:
        record = tree / "lines.json"
        options = ["--timeout=60", f"--record-lines={record}", f"--record-rooms={','.join(ROOMS)}"]
        print("recording which tests run which lines ...", flush=True)
        output, _ = _pytest(tree, [*options, *(f"tests/{name}" for name in TESTS)], 3600)
        for line in re.findall(r"^(?:FAILED|ERROR) .*", output, re.MULTILINE):
            print(f"left out, as it fails without a mutant: {line}", flush=True)
        return json.loads(record.read_text())

    def of(self, mutant: Mutant, seconds: float) -> tuple[list[str], float]:
        """The tests of a mutant, quickest first, up to so many recorded ``seconds``, and how many those are.

        At a line that runs when the module is imported, or that none runs in this process: those of its file.
        """
        file, lines = mutant.path, set(range(mutant.line, mutant.last + 1))
        near = {name: test for name, test in self._tests.items() if file in test["lines"]}
        exact = {name: test for name, test in near.items() if lines.intersection(test["lines"][file])}
        found = exact or near or self._tests
        tests, models, total = list(self._changed), Counter[str](), 0.0
        for name in sorted(found, key=lambda name: float(found[name]["seconds"])):
            test, took = _MODEL.sub("", name), found[name]["seconds"]
            models[test] += 1
            if models[test] <= _MODELS and total + took <= seconds and name.partition("::")[0] not in self._changed:
                tests.append(name)
                total += took
        return tests, total


def _pytest(tree: Path, arguments: list[str], seconds: float) -> tuple[str, int | None]:
    """What pytest printed in the copy, and its exit code: none where it did not end in time."""
    command = [sys.executable, "-m", "pytest", *OPTIONS, *arguments]
    place = {**os.environ, "PYTHONPATH": str(tree / ".ci"), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    with tempfile.TemporaryFile("w+") as output:
        running = subprocess.Popen(command, cwd=tree, stdout=output, stderr=output, env=place, start_new_session=True)
        code: int | None = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = running.wait(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)  # children of a test that failed may hang for ever
        running.wait()
        output.seek(0)
        return output.read(), code


def noticed(mutant: Mutant, tree: Path, tests: list[str], seconds: float) -> str:
    """Which of the ``tests`` fails with it; empty if none does. One that does not end in time has noticed."""
    place = tree / mutant.path
    sound = place.read_text()
    listed = tree / "listed.json"
    listed.write_text(json.dumps(tests))
    files = dict.fromkeys(test.partition("::")[0] for test in tests)
    place.write_text(mutant.text)
    try:
        options = ["-x", f"--timeout={_SECONDS}", f"--run-listed={listed}", *files]
        output, code = _pytest(tree, options, 120 + 4 * seconds)
    finally:
        place.write_text(sound)
    if code == 0:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) (.*)", output, re.MULTILINE)
    return failed[1] if failed else "pytest did not end in time" if code is None else f"pytest ended with {code}"


def _sampled(asked: argparse.Namespace, tree: Path) -> Iterator[Mutant]:
    """From the copy: the checkout may change meanwhile."""
    if asked.at:
        file, _, line = asked.at.partition(":")
        yield from (mutant for mutant in mutants(tree, file) if not line or mutant.line == int(line))
        return
    for room in asked.room or ROOMS:
        files = sorted(str(path.relative_to(tree)) for path in (tree / "vfio_ims" / room).glob("*.py"))
        found = [mutant for file in files for mutant in mutants(tree, file)]
        random.Random(asked.seed).shuffle(found)
        yield from found[: asked.sample or None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--room", action="append", choices=ROOMS, help="of vfio_ims; repeatable. Without it: all")
    parser.add_argument("--at", metavar="FILE[:LINE]", help="the mutants of one place instead of a sample")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="so many mutants a room; 0: all")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=600, help="of tests for a mutant, as they were recorded")
    parser.add_argument("--minutes", type=float, default=600)
    parser.add_argument("-v", "--verbose", action="store_true", help="say which test noticed each")
    asked = parser.parse_args()
    ends, survivors, tried = time.monotonic() + 60 * asked.minutes, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        skip = shutil.ignore_patterns(".git", ".venv*", "build", "dist", "__pycache__", ".*_cache", ".hypothesis")
        shutil.copytree(ROOT, tree, symlinks=True, ignore=skip)
        covering = Covering(tree)
        for mutant in _sampled(asked, tree):
            if time.monotonic() > ends:
                break
            tried += 1
            began = time.monotonic()
            by = noticed(mutant, tree, *covering.of(mutant, asked.seconds))
            survivors += not by
            where = f"{mutant.path}:{mutant.line}: {mutant.kind}"
            if not by:
                print(f"SURVIVED {where}\n  - {mutant.before}\n  + {mutant.after}", flush=True)
            elif asked.verbose:
                print(f"noticed  {where}, by {by} ({time.monotonic() - began:.0f} s)", flush=True)
    print(f"{tried} mutants, {tried - survivors} noticed, {survivors} survived (seed {asked.seed})")
    return int(survivors > 0)


if __name__ == "__main__":
    sys.exit(main())
