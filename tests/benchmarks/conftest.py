# SPDX-License-Identifier: Apache-2.0
"""Speed as ratios: each measure runs in turns with its rival, in the same process, and is printed at the end.

A ratio that misses its limit is measured again, longer and in pairs, and fails if it misses again: one run of a shared
machine proves nothing, and the best of several would forgive. A limit that cannot be met yet keeps its value and is
marked with ``missed="reason"``: it is named at the end and does not fail.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.benchmarks import in_c
from tests.benchmarks.pairs import paired

_ROUNDS, _AGAIN = 15, 60


@dataclass(frozen=True)
class Measure:
    """One result: how long ours takes, as a multiple of the rival's time."""

    what: str
    rival: str
    ratio: float
    limit: str
    ours_us: float
    note: str = ""
    missed: str = ""
    """Why the limit cannot be met yet, where it was missed."""


_measures: list[Measure] = []


class Race:
    """``race(what, ours, rival, ...)`` measures, notes and checks one ratio."""

    def __call__(
        self,
        what: str,
        ours: Callable[[], object],
        rival: Callable[[], object],
        *,
        against: str,
        prepare: Callable[[], object] | None = None,
        at_most: float | None = None,
        at_least_faster: float | None = None,
        missed: str = "",
        note: str = "",
    ) -> float:
        """The median of ours/rival over paired rounds, measured again where it misses its limit.

        ``prepare`` runs before each, untimed. ``missed`` says why the limit cannot be met yet.
        """
        most = at_most or (1 / at_least_faster if at_least_faster else float("inf"))
        found = paired(ours, rival, prepare, _ROUNDS)
        if found.ratio > most and not missed:
            found = paired(ours, rival, prepare, _AGAIN)
        ratio = found.ratio
        limit = f"<= {most:.3g}" if most < float("inf") else ""
        why = missed if ratio > most else ""
        _measures.append(Measure(what, against, ratio, limit, found.ours * 1e6, note, why))
        assert ratio <= most or missed, f"{what}: {ratio:.2f} times {against}, twice; it must be at most {most:.3g}"
        return ratio

    def once(
        self,
        what: str,
        measure: Callable[[], tuple[float, float]],
        *,
        against: str,
        at_most: float = float("inf"),
        missed: str = "",
    ) -> None:
        """What takes seconds: ``measure`` gives ratio and seconds; one that misses its limit is measured twice again.

        ``against``: the rival's name; ``missed`` says why the limit cannot be met yet.
        """
        found = [measure()]
        if found[0][0] > at_most and not missed:
            found = sorted([*found, measure(), measure()])
        ratio, seconds = found[len(found) // 2]
        limit = f"<= {at_most:.3g}" if at_most < float("inf") else ""
        _measures.append(Measure(what, against, ratio, limit, seconds * 1e6, "", missed if ratio > at_most else ""))
        assert ratio <= at_most or missed, f"{what}: {ratio:.3g} times {against}; it must be at most {at_most:.3g}"


@pytest.fixture
def race() -> Race:
    return Race()


@pytest.fixture(scope="session")
def rival(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The rivals in C."""
    return in_c.build(tmp_path_factory.mktemp("rival"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _measures:
        return
    terminalreporter.section("speed, as ratios to a rival in the same run")
    for measure in _measures:
        ratio = f"{measure.what:<46} {measure.ratio:>8.3f} x {measure.rival:<28} {measure.limit:<9}"
        note = f"  {measure.note}" if measure.note else ""
        terminalreporter.write_line(f"{ratio} {measure.ours_us:>9.2f} us{note}")
    if known := [measure for measure in _measures if measure.missed]:
        terminalreporter.section("limits that are known as missed")
        for measure in known:
            figures = f"{measure.ratio:.2f}, {measure.limit}"
            terminalreporter.write_line(f"{measure.what} ({figures} of {measure.rival}): {measure.missed}")
