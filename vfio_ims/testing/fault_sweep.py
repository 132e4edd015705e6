# SPDX-License-Identifier: Apache-2.0
"""``--vfio-faults sweep``: a test is run once for each point where a fault can meet it, as the kernel's fail_nth does.

A point is one call of kernel or device, an access to a register included, by the devices that the test opens. What
became of the test there is one of ``OUTCOMES``; a test passes where it survived its points or said clearly what failed.
"""

from __future__ import annotations

import gc
import signal
import sys
import threading
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from _pytest.runner import runtestprotocol

from vfio_ims.counted import counted
from vfio_ims.faults import Fault, Faults
from vfio_ims.faults.injecting import inject_opened
from vfio_ims.testing.left_behind import Watch, left_behind
from vfio_ims.testing.raised import Hung, Raised

__all__ = ["OUTCOMES", "FaultSweep"]

OUTCOMES = ("survived", "with a clear error", "not met", "leaked", "hung", "unclear")
"""It passed; it failed with an error that names what failed; the call was not made this time; something of the device
was left behind; it took too long; it failed otherwise, or passed on what is not so."""
_BAD = ("leaked", "hung", "unclear")
_SHOWN = 12  # points of a test whose faults are shown


@dataclass
class _Swept:
    """What became of one test."""

    counts: Counter[str] = field(default_factory=Counter)
    words: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        found = ", ".join(f"{count} {outcome}" for outcome in OUTCOMES if (count := self.counts[outcome]))
        return f"{counted(self.counts.total(), 'point')}: {found}"


class FaultSweep:
    """Runs each test that has a device at every point. ``given``: the fault; ``most``: points of a test, 0 for all."""

    def __init__(self, given: str, most: int, limit: float) -> None:
        fault = Fault.parse(given.removesuffix("+"))  # UsageError now
        self._verb = fault.target if fault.kind == "fail" else "any"
        self._given, self._most, self._limit = given, most, limit
        self._swept: dict[str, _Swept] = {}
        self._raised: list[Raised] = []

    def pytest_report_header(self) -> str:
        spread = f", at most {counted(self._most, 'point')} a test" if self._most else ""
        return f"vfio-ims faults: a sweep of {self._given}{spread}"

    def fault_at(self, point: int) -> Fault:
        """The fault at call ``point``; FAULT+ from there on."""
        onwards = "+" if self._given.endswith("+") else ""
        return Fault.parse(f"{self._given.removesuffix('+')}@{point}{onwards}")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> object:
        if "vfio_name" not in getattr(item, "fixturenames", ()):
            return None
        if not self._swept:
            gc.collect()
            gc.freeze()  # what is there before the first run is not looked through after each
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        reports, points = self._first(item)
        if all(report.passed for report in reports):
            swept = self._swept[item.nodeid] = _Swept()
            for device, point in self._sample(points):
                self._meet(item, device, point, swept)
            for report in reports:
                if report.when == "call":
                    self._word(report, swept)
        for report in reports:
            item.ihook.pytest_runtest_logreport(report=report)
        item.session._setupstate.teardown_exact(nextitem)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _first(self, item: pytest.Item) -> tuple[list[pytest.TestReport], list[tuple[int, int]]]:
        """The run without faults, and the points that it passes: the device by number, and the call."""
        with inject_opened() as records:
            reports = _run(item)
        counts = [one.calls if self._verb == "any" else one.verbs[self._verb] for one in records]
        return reports, [(number, call) for number, count in enumerate(counts) for call in range(1, count + 1)]

    def _sample(self, points: list[tuple[int, int]]) -> list[tuple[int, int]]:
        if not self._most or len(points) <= self._most:
            return points
        return [points[at * len(points) // self._most] for at in range(self._most)]

    def _meet(self, item: pytest.Item, device: int, point: int, swept: _Swept) -> None:
        fault = self.fault_at(point)
        self._raised.clear()
        with Watch() as watch, inject_opened(fault, only=device) as records:
            with _limit(self._limit):
                reports = _run(item)
            outcome, words = self._outcome(reports, records)
            if outcome != "hung":
                _forget()
                left = left_behind(watch, opening=any(one.opening for one in self._raised))
                outcome, words = ("leaked", left) if left else (outcome, words)
        swept.counts[outcome] += 1
        if outcome in _BAD:
            where = str(next(iter(one for record in records for one in record), fault))
            swept.words.append(f"{outcome}: {where}\n    {words}")

    def _outcome(self, reports: list[pytest.TestReport], records: list[Faults]) -> tuple[str, str]:
        if any(one.hung for one in self._raised):
            return "hung", f"it did not end within {self._limit:g} s"
        if not any(record.happened for record in records):
            return "not met", ""
        if not self._raised:
            bad = [report for report in reports if report.failed]
            return ("unclear", str(bad[0].longrepr)) if bad else ("survived", "")
        unclear = [one for one in self._raised if not one.clear]
        if not unclear or any(one.explains for one in self._raised):
            return "with a clear error", ""
        return "unclear", unclear[0].words

    @pytest.hookimpl(tryfirst=True, wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        if call.excinfo is not None and not isinstance(call.excinfo.value, pytest.skip.Exception):
            self._raised.append(Raised.of(call.excinfo.value))
        return (yield)

    @staticmethod
    def _word(report: pytest.TestReport, swept: _Swept) -> None:
        if any(swept.counts[outcome] for outcome in _BAD):
            shown = swept.words[:_SHOWN]
            more = len(swept.words) - len(shown)
            lines = [f"swept {swept}", *shown, *([f"and {more} more"] if more else [])]
            report.outcome, report.longrepr = "failed", "\n".join(lines)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        terminalreporter.section(f"a sweep of {self._given}", sep="-")
        total: Counter[str] = Counter()
        for name, swept in self._swept.items():
            terminalreporter.line(f"{name}\n    {swept}")
            total += swept.counts
        terminalreporter.line(f"in all {_Swept(total)}, in {counted(len(self._swept), 'test')}")


def _forget() -> None:
    """A traceback keeps the frames, and with them what a test had in hand; pytest notes the last for a debugger."""
    for name in ("last_type", "last_value", "last_traceback", "last_exc"):
        sys.__dict__.pop(name, None)


def _run(item: pytest.Item) -> list[pytest.TestReport]:
    """Set up, call and tear down once. "Next" is the test's own parent, so that what is shared with others stays."""
    return runtestprotocol(item, log=False, nextitem=cast("pytest.Item", item.parent))


@contextmanager
def _limit(seconds: float) -> Iterator[None]:
    """Raise Hung in the main thread after so long. A call into C that never returns is not broken off."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def expired(number: int, frame: object) -> None:
        raise Hung

    before = signal.signal(signal.SIGALRM, expired)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
