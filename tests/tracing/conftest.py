# SPDX-License-Identifier: Apache-2.0
"""Recordings that the tests here replay."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import vfio_ims
from vfio_ims import selftest
from vfio_ims.tracing import trace_opened

Event = dict[str, Any]


def run_selftest(name: str) -> selftest.Report:
    """A self-test of the first slots."""
    with vfio_ims.open_driver(name) as driver:
        return selftest.run(driver, options=selftest.Options(slots=6))


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The self-test of a DSA on the mock, with the contents of memory."""
    path = tmp_path_factory.mktemp("recorded") / "dsa.jsonl"
    with trace_opened(path, contents=True):
        assert run_selftest("mock:intel-dsa").passed
    return path


def lines(path: Path) -> list[Event]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def changed(recorded: Path, tmp_path: Path) -> Callable[[Callable[[Event], bool], Event], Path]:
    """A copy of the recording in which the first event that fits was given other content."""

    def change(fits: Callable[[Event], bool], content: Event) -> Path:
        events = lines(recorded)
        next(event for event in events[1:] if fits(event)).update(content)
        path = tmp_path / "changed.jsonl"
        path.write_text("".join(json.dumps(event) + "\n" for event in events))
        return path

    return change
