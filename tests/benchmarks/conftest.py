# SPDX-License-Identifier: Apache-2.0
"""Speed as ratios: each measure runs in turns with its rival, in the same process, and is printed at the end.

A ratio that misses its limit is measured again, longer and in pairs, and fails if it misses again: one run of a shared
machine proves nothing, and the best of several would forgive. A limit that cannot be met yet keeps its value and is
marked with ``missed="reason"``: it is named at the end and does not fail.
"""

from __future__ import annotations

import importlib.util
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cffi
import pytest

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


def _repeat(run: Callable[[], object], prepare: Callable[[], object] | None, seconds: float = 0.002) -> int:
    """How often ``run`` fits in a few milliseconds."""
    count = 1
    while _time(run, prepare, count) * count < seconds:
        count *= 2
    return count


def _time(run: Callable[[], object], prepare: Callable[[], object] | None, count: int) -> float:
    """Seconds of one ``run``; those of ``prepare`` are left out."""
    clock, spent = time.perf_counter, 0.0
    if prepare is None:
        began = clock()
        for _ in range(count):
            run()
        return (clock() - began) / count
    for _ in range(count):
        prepare()
        began = clock()
        run()
        spent += clock() - began
    return spent / count


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
        ratio, seconds = _paired(ours, rival, prepare, _ROUNDS)
        if ratio > most and not missed:
            ratio, seconds = _paired(ours, rival, prepare, _AGAIN)
        limit = f"<= {most:.3g}" if most < float("inf") else ""
        why = missed if ratio > most else ""
        _measures.append(Measure(what, against, ratio, limit, seconds * 1e6, note, why))
        assert ratio <= most or missed, f"{what}: {ratio:.2f} times {against}, twice; it must be at most {most:.3g}"
        return ratio


def _paired(
    ours: Callable[[], object], rival: Callable[[], object], prepare: Callable[[], object] | None, rounds: int
) -> tuple[float, float]:
    """The median ratio of so many rounds, and the median of our seconds. Who comes first changes by turns."""
    mine, theirs = _repeat(ours, prepare), _repeat(rival, prepare)
    ratios, times = [], []
    for turn in range(rounds):
        if turn % 2:
            other, one = _time(rival, prepare, theirs), _time(ours, prepare, mine)
        else:
            one, other = _time(ours, prepare, mine), _time(rival, prepare, theirs)
        ratios.append(one / other)
        times.append(one)
    return statistics.median(ratios), statistics.median(times)


@pytest.fixture
def race() -> Race:
    return Race()


@pytest.fixture(scope="session")
def rival(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The rivals in C, compiled as the package's own C is."""
    folder = tmp_path_factory.mktemp("rival")
    ffi = cffi.FFI()
    ffi.cdef("""
        uint32_t rival_read32(uintptr_t base, uint64_t offset);
        void rival_write32(uintptr_t base, uint64_t offset, uint32_t value);
        void rival_table(uintptr_t base, const uint32_t *indices, uint64_t count, const uint32_t *words);
        void rival_descriptors(uintptr_t portal, const uint64_t *destinations, const uint64_t *sources,
                               const uint32_t *sizes, uintptr_t records, uint64_t iova, uint64_t count);
        void rival_collect(uintptr_t records, uint64_t count, uint8_t *out);
        void rival_copy(uintptr_t to, uintptr_t from, uint64_t size);
        void rival_list(uintptr_t list, const uint64_t *sources, const uint64_t *targets, const uint32_t *sizes,
                        uint64_t count, uintptr_t doorbell);
        void rival_enqueue(uintptr_t port, const uint64_t *data, const uint16_t *flows, uint8_t queue, uint64_t count);
        uint64_t rival_dequeue(uintptr_t ring, uint8_t generation, uint64_t most, uint8_t *out, uintptr_t port);
        struct epoll_event;
        int rival_drain(int epoll, struct epoll_event *events, int most, uint64_t *counts);
    """)
    source = Path(__file__).with_name("rival.c").read_text()
    ffi.set_source("_vfio_ims_rival", source, extra_compile_args=["-O2"])
    built = ffi.compile(tmpdir=str(folder))
    spec = importlib.util.spec_from_file_location("_vfio_ims_rival", built)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
