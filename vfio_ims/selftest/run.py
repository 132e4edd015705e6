# SPDX-License-Identifier: Apache-2.0
"""The self-test from the ladder to the quiet device."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.selftest.counts import Latency, Tally
from vfio_ims.selftest.evidence import Evidence
from vfio_ims.selftest.findings import Finding, Kind
from vfio_ims.selftest.ladder import climb
from vfio_ims.selftest.masks import masks
from vfio_ims.selftest.naming import name_findings
from vfio_ims.selftest.neighbours import neighbours
from vfio_ims.selftest.options import Options, ProgressSink
from vfio_ims.selftest.pasids import pasids
from vfio_ims.selftest.passes import donor_passes, pass_count
from vfio_ims.selftest.quiet import check_quiet
from vfio_ims.selftest.report import Outcome, Report, Rung, Step
from vfio_ims.selftest.resets import reset
from vfio_ims.selftest.stand import Broken, NotApplicable, Stand
from vfio_ims.selftest.words import words

if TYPE_CHECKING:
    from vfio_ims.driver import Driver
    from vfio_ims.ims import ImsGroup

__all__ = ["run"]


def run(driver: Driver, *, options: Options | None = None, progress: ProgressSink | None = None) -> Report:
    """Test every slot of ``driver``'s table. Prints nothing; what fails is in the report, not an error.

    No slot may be in use (UsageError). Takes all donors that may be shared, resets the device, and leaves it started
    with every slot masked and zero; closing the driver does the rest. Ctrl-C stops it, as quietly.
    """
    return _Run(driver, options or Options(), progress).report()


class _Stopped(Exception):
    """A step failed in a way after which nothing more can be learned."""


class _Run:
    def __init__(self, driver: Driver, options: Options, progress: ProgressSink | None) -> None:
        self._start = time.monotonic()
        self._options, self._stand = options, Stand(driver, options, progress)
        self._driver = driver
        self._rungs: list[Rung] = []
        self._steps: list[Step] = []
        self._findings: list[Finding] = []
        self._donors = 0

    def report(self) -> Report:
        stand, driver = self._stand, self._driver
        stand.step("ladder")
        self._rungs = list(climb(stand))
        broken = [rung for rung in self._rungs if rung.outcome is Outcome.FAILED]
        for rung in broken:
            self._findings.append(Finding(Kind.RUNG, f"{rung.name}: {rung.text}", (), rung.status, rung.hint))
        if not broken:
            self._sections()
        quiet = self._quiet()
        return Report(
            device=driver.label,
            mount=driver.device.mount,
            driver=type(driver).__name__,
            rungs=tuple(self._rungs),
            steps=tuple(self._steps),
            findings=tuple(self._findings),
            quiet=quiet,
            slots=len(stand.slots),
            table=stand.domain.table.size,
            donors=self._donors,
            passes=pass_count(len(stand.slots), self._donors) if self._donors else 0,
            timeout=self._options.timeout,
            settle=stand.settle,
            latency=Latency.of(stand.latencies),
            seconds=time.monotonic() - self._start,
        )

    def _sections(self) -> None:
        first, second = Evidence(), Evidence(after_reset=True)
        stopped: Finding | None = None
        try:
            self._before(first)
            if self._options.reset:
                self._after(second, first.unsound)
            else:
                self._steps.append(Step("reset", Outcome.NOT_APPLICABLE, text="left out as asked"))
        except _Stopped as stop:
            stopped = stop.args[0]
        self._findings += name_findings(first, second, len(self._stand.slots), self._donors)
        if stopped is not None:
            self._findings.append(stopped)

    def _before(self, evidence: Evidence) -> None:
        stand = self._stand
        self._step("own words", evidence, lambda tally: words(stand, evidence, tally, frozenset()))
        with self._group() as group:
            self._step("donor passes", evidence, lambda tally: self._passes(evidence, tally, group, frozenset()))
            skip = frozenset(evidence.unsound)
            self._step("masks", evidence, lambda tally: masks(stand, evidence, tally, group, skip), skip)
        skip = frozenset(evidence.unsound)
        self._step("neighbours", evidence, lambda tally: neighbours(stand, evidence, tally, skip), skip)
        self._step("PASIDs", evidence, lambda tally: pasids(stand, evidence, tally, skip), skip)

    def _after(self, evidence: Evidence, unsound: set[int]) -> None:
        """All again after a reset, without the slots that were ``unsound`` before."""
        stand, skip = self._stand, frozenset(unsound)
        with self._group() as group:
            self._step("reset", evidence, lambda tally: reset(stand, evidence, group))
            self._step(
                "donor passes, after it",
                evidence,
                lambda tally: self._passes(evidence, tally, group, skip, programmed=True),
                skip,
            )
            worse = frozenset(unsound | evidence.unsound)
            self._step("masks, after it", evidence, lambda tally: masks(stand, evidence, tally, group, worse), worse)
        self._step("own words, after it", evidence, lambda tally: words(stand, evidence, tally, worse), worse)
        self._step("PASIDs, after it", evidence, lambda tally: pasids(stand, evidence, tally, worse), worse)

    def _group(self) -> ImsGroup:
        try:
            group = self._stand.domain.allocate_group(len(self._stand.slots))
        except Exception as error:
            raise self._stop("allocate every slot", error) from error
        self._donors = len(self._stand.fitting_donors())
        return group

    def _passes(
        self, evidence: Evidence, tally: Tally, group: ImsGroup, skip: frozenset[int], *, programmed: bool = False
    ) -> None:
        donor_passes(self._stand, evidence, tally, group, skip, programmed=programmed)

    def _step(
        self,
        name: str,
        evidence: Evidence,
        work: Callable[[Tally], str | None],
        skip: frozenset[int] = frozenset(),
    ) -> None:
        """Run one step and record it; a driver that fails in it ends the whole run."""
        stand, tally, start, before = self._stand, Tally(), time.monotonic(), evidence.weight()
        stand.step(name)
        if len(skip) == len(stand.slots):
            self._steps.append(Step(name, Outcome.NOT_RUN, text="no slot is sound"))
            return
        outcome, text, stop = Outcome.PASSED, "", None
        try:
            text = work(tally) or ""
        except NotApplicable as why:
            outcome, text = Outcome.NOT_APPLICABLE, str(why)
        except Exception as error:  # noqa: BLE001 - a driver under test; the report tells it
            stop = self._stop(name, error)
            outcome, text = Outcome.FAILED, stop.args[0].text
        counts = tally.counts()
        if outcome is Outcome.PASSED and (counts.faults or evidence.weight() > before):
            outcome = Outcome.FAILED
        if skip and outcome in (Outcome.PASSED, Outcome.FAILED):
            text = "; ".join(part for part in (text, f"{len(skip)} slots left out that failed before") if part)
        self._steps.append(Step(name, outcome, counts, time.monotonic() - start, text))
        if stop is not None:
            raise stop

    def _stop(self, name: str, error: Exception) -> _Stopped:
        if isinstance(error, Broken):
            cause, text = error.__cause__ or error, str(error)
        else:
            cause, text = error, f"{type(error).__name__}: {error}"
        frames = traceback.extract_tb(cause.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}, in {frames[-1].name}" if frames else ""
        hint = getattr(cause, "hint", "") or (f"look at {place}" if place else "")
        return _Stopped(Finding(Kind.ERROR, f"{name}: {text}", (), self._stand.status(), hint))

    def _quiet(self) -> tuple[str, ...]:
        self._stand.step("quiet")
        try:
            return check_quiet(self._driver, self._stand.settle)
        except Exception as error:  # noqa: BLE001 - the device may be gone; the report tells it
            return (f"cannot tell: {type(error).__name__}: {error}",)
