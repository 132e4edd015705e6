# SPDX-License-Identifier: Apache-2.0
"""pytest plug-in of mutate.py: records which tests run which lines, and runs those that are named, quickest first.

-p covering --record-lines FILE     writes what every passing test ran of the package, and how long it took
-p covering --run-listed FILE       runs the listed tests in the list's order, and nothing else
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("mutation testing")
    group.addoption("--record-lines", metavar="FILE", type=Path)
    group.addoption("--record-rooms", metavar="ROOM,...", default="")
    group.addoption("--run-listed", metavar="FILE", type=Path)


def pytest_configure(config: pytest.Config) -> None:
    if record := config.getoption("--record-lines"):
        package = config.rootpath / "vfio_ims"
        rooms = tuple(f"{package / room}/" for room in config.getoption("--record-rooms").split(","))
        config.pluginmanager.register(Recorder(record, config.rootpath, rooms))
    if listed := config.getoption("--run-listed"):
        config.pluginmanager.register(Listed(json.loads(listed.read_text())))


class Recorder:
    """The lines of some folders that every test runs in this process, and the seconds that it takes."""

    def __init__(self, file: Path, root: Path, folders: tuple[str, ...]) -> None:
        self._file, self._root, self._folders = file, root, folders
        self._seen: set[tuple[str, int]] = set()
        self._tests: dict[str, dict[str, Any]] = {}

    def _called(self, frame: FrameType, event: str, arg: object) -> Any:
        if not frame.f_code.co_filename.startswith(self._folders):
            return None
        seen, name = self._seen, frame.f_code.co_filename

        def ran(frame: FrameType, event: str, arg: object) -> Any:
            seen.add((name, frame.f_lineno))
            return ran

        return ran(frame, event, arg)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        self._seen = set()
        began = time.monotonic()
        threading.settrace(self._called)
        sys.settrace(self._called)
        try:
            return (yield)
        finally:
            sys.settrace(None)
            threading.settrace(None)
            lines: dict[str, list[int]] = {}
            for name, line in sorted(self._seen):
                lines.setdefault(str(Path(name).relative_to(self._root)), []).append(line)
            test = self._tests.setdefault(item.nodeid, {"passed": True})
            test.update(seconds=round(time.monotonic() - began, 3), lines=lines)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self._tests.setdefault(report.nodeid, {})["passed"] = False

    def pytest_sessionfinish(self) -> None:
        passed = {name: test for name, test in self._tests.items() if test.pop("passed")}
        self._file.write_text(json.dumps(passed))


class Listed:
    """Only these tests, in this order. Of a file that is named whole, all tests."""

    def __init__(self, names: list[str]) -> None:
        self._place = {name: place for place, name in enumerate(names)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        places = [(self._place_of(item), item) for item in items]
        items[:] = [item for place, item in sorted(places, key=lambda pair: pair[0]) if place >= 0]

    def _place_of(self, item: pytest.Item) -> int:
        whole = item.nodeid.partition("::")[0]
        return self._place.get(item.nodeid, self._place.get(whole, -1))
