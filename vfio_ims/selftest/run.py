# SPDX-License-Identifier: Apache-2.0
"""The self-test from the ladder to the quiet device."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.selftest.conditions import conditions
from vfio_ims.selftest.context import Broken, Context, NotApplicable
from vfio_ims.selftest.counts import Latency, Tally
from vfio_ims.selftest.diagnosis import name_findings
from vfio_ims.selftest.findings import Finding, Kind
from vfio_ims.selftest.idle_check import check_idle
from vfio_ims.selftest.ladder import climb
from vfio_ims.selftest.masks import masks
from vfio_ims.selftest.neighbours import neighbours
from vfio_ims.selftest.options import Options, ProgressSink
from vfio_ims.selftest.pasids import pasids
from vfio_ims.selftest.passes import donor_passes, passes_of
from vfio_ims.selftest.polled_slots import words
from vfio_ims.selftest.report import Outcome, Report, Rung, Step
from vfio_ims.selftest.resets import reset
from vfio_ims.selftest.slot_evidence import SlotEvidence
from vfio_ims.selftest.slot_results import SlotColumn, SlotResults

if TYPE_CHECKING:
    from vfio_ims.driver import Driver
    from vfio_ims.ims import ImsGroup

__all__ = ["Interrupted", "run", "steps_of"]

_BEFORE = ("own words", "donor passes", "masks", "neighbours", "PASIDs")
_AFTER = ("reset", "donor passes, after it", "masks, after it", "own words, after it", "PASIDs, after it")


def run(driver: Driver, *, options: Options | None = None, progress: ProgressSink | None = None) -> Report:
    """Test every slot of ``driver``'s table. Prints nothing; what fails is in the report, not an error.

    No slot may be in use (UsageError). Takes all donors that may be shared, resets the device, and leaves it started
    with every slot masked and zero; closing the driver does the rest. Ctrl-C stops it, as quietly: Interrupted, a
    KeyboardInterrupt, has the report of what ran until then and of how the device was left. ``options``: how many
    slots, which timeouts, what to leave out; ``progress`` is called as steps begin and go on.
    """
    return _Run(driver, options or Options(), progress).report()


def steps_of(*, resets: bool = True) -> tuple[str, ...]:
    """The names of a self-test's steps, in their order: of one that resets the device, or of one that does not."""
    return ("ladder", *_BEFORE, *(_AFTER if resets else ()), "quiet")


class Interrupted(KeyboardInterrupt):
    """A self-test was broken off by Ctrl-C. ``report``: what ran until then, and how the device was left."""

    def __init__(self, report: Report) -> None:
        super().__init__(f"interrupted in {report.interrupted}")
        self.report = report


class _Stopped(Exception):
    """A step failed in a way after which nothing more can be learned."""


class _Run:
    def __init__(self, driver: Driver, options: Options, progress: ProgressSink | None) -> None:
        self._start = time.monotonic()
        self._options, self._context = options, Context(driver, options, progress)
        self._driver = driver
        self._rungs: list[Rung] = []
        self._steps: list[Step] = []
        self._findings: list[Finding] = []
        self._donors = self._passes_made = 0
        self._columns: list[SlotColumn] = []
        self._conditions = conditions(driver)
        self._common = 1  # how many donors every slot has: only those tell a slot by its sequence of them

    def report(self) -> Report:
        context = self._context
        context.steps = steps_of(resets=self._options.reset)
        try:
            self._run()
        except KeyboardInterrupt as pressed:
            where, recorded = context.current, {step.name for step in self._steps}
            left_out = [name for name in context.steps[1:-1] if name not in recorded]
            self._steps += [Step(name, Outcome.NOT_RUN, text="interrupted before it") for name in left_out]
            raise Interrupted(self._made(self._quiet(), where)) from pressed
        return self._made(self._quiet())

    def _run(self) -> None:
        context = self._context
        context.step("ladder")
        for rung in climb(context):
            self._rungs.append(rung)
        broken = [rung for rung in self._rungs if rung.outcome is Outcome.FAILED]
        for rung in broken:
            self._findings.append(Finding(Kind.RUNG, f"{rung.name}: {rung.text}", (), rung.status, rung.hint))
        if not broken:
            self._sections()

    def _made(self, quiet: tuple[str, ...], interrupted: str = "") -> Report:
        context, driver = self._context, self._driver
        return Report(
            device=driver.label,
            mount=driver.device.mount,
            driver=type(driver).__name__,
            rungs=tuple(self._rungs),
            steps=tuple(self._steps),
            findings=tuple(self._findings),
            quiet=quiet,
            slots=len(context.slots),
            table=context.domain.table.size,
            donors=self._donors,
            passes=self._passes_made,
            timeout=self._options.timeout,
            settle=context.settle,
            latency=Latency.of(context.latencies),
            seconds=time.monotonic() - self._start,
            interrupted=interrupted,
            columns=tuple(self._columns),
            options=self._options,
            conditions=self._conditions,
        )

    def _sections(self) -> None:
        results = SlotResults()
        first, second = SlotEvidence(results=results), SlotEvidence(after_reset=True, results=results)
        self._columns = results.columns
        stopped: Finding | None = None
        try:
            self._before(first)
            if self._options.reset:
                self._after(second, first.excluded)
            else:
                self._steps.append(Step("reset", Outcome.NOT_APPLICABLE, text="left out as asked"))
        except _Stopped as stop:
            stopped = stop.args[0]
        except KeyboardInterrupt:
            self._findings += name_findings(first, second, len(self._context.slots), self._common)
            raise
        self._findings += name_findings(first, second, len(self._context.slots), self._common)
        if stopped is not None:
            self._findings.append(stopped)

    def _before(self, evidence: SlotEvidence) -> None:
        context = self._context
        self._step("own words", evidence, lambda tally: words(context, evidence, tally, frozenset()))
        with self._group() as group:
            self._step("donor passes", evidence, lambda tally: self._passes(evidence, tally, group, frozenset()))
            skip = frozenset(evidence.excluded)
            self._step("masks", evidence, lambda tally: masks(context, evidence, tally, group, skip), skip)
        skip = frozenset(evidence.excluded)
        self._step("neighbours", evidence, lambda tally: neighbours(context, evidence, tally, skip), skip)
        self._step("PASIDs", evidence, lambda tally: pasids(context, evidence, tally, skip), skip)

    def _after(self, evidence: SlotEvidence, excluded: set[int]) -> None:
        """All again after a reset, without the slots that were ``excluded`` before."""
        context, skip = self._context, frozenset(excluded)
        with self._group() as group:
            self._step("reset", evidence, lambda tally: reset(context, evidence, group))
            self._step(
                "donor passes, after it",
                evidence,
                lambda tally: self._passes(evidence, tally, group, skip, programmed=True),
                skip,
            )
            worse = frozenset(excluded | evidence.excluded)
            self._step("masks, after it", evidence, lambda tally: masks(context, evidence, tally, group, worse), worse)
        self._step("own words, after it", evidence, lambda tally: words(context, evidence, tally, worse), worse)
        self._step("PASIDs, after it", evidence, lambda tally: pasids(context, evidence, tally, worse), worse)

    def _group(self) -> ImsGroup:
        try:
            group = self._context.domain.allocate_group(len(self._context.slots))
        except Exception as error:
            raise self._stop("allocate every slot", error) from error
        context = self._context
        parts = context.domain.table.limits.by_address(group.slots)
        fitting = [set(context.fitting_donors(part)) for part in parts]
        self._donors = len(set().union(*fitting))
        self._common = self._donors if all(len(one) == self._donors for one in fitting) else 1
        self._passes_made = passes_of(context, group.slots)
        return group

    def _passes(
        self, evidence: SlotEvidence, tally: Tally, group: ImsGroup, skip: frozenset[int], *, programmed: bool = False
    ) -> None:
        donor_passes(self._context, evidence, tally, group, skip, programmed=programmed)

    def _step(
        self,
        name: str,
        evidence: SlotEvidence,
        work: Callable[[Tally], str | None],
        skip: frozenset[int] = frozenset(),
    ) -> None:
        """Run one step and record it; a driver that fails in it ends the whole run."""
        context, tally, start, before = self._context, Tally(), time.monotonic(), evidence.weight()
        context.step(name)
        evidence.results.step = name
        if len(skip) == len(context.slots):
            self._steps.append(Step(name, Outcome.NOT_RUN, text="no slot is sound"))
            return
        outcome, text, stop = Outcome.PASSED, "", None
        try:
            text = work(tally) or ""
        except NotApplicable as why:
            outcome, text = Outcome.NOT_APPLICABLE, str(why)
        except Exception as error:  # noqa: BLE001 - a driver under test; the report has it
            stop = self._stop(name, error)
            outcome, text = Outcome.FAILED, stop.args[0].text
        except KeyboardInterrupt:
            self._steps.append(Step(name, Outcome.INTERRUPTED, tally.counts(), time.monotonic() - start))
            raise
        counts = tally.counts()
        if outcome is Outcome.PASSED and (counts.faults or evidence.weight() > before):
            outcome = Outcome.FAILED
        if skip and outcome in (Outcome.PASSED, Outcome.FAILED):
            text = "; ".join(
                part for part in (text, f"{counted(len(skip), 'slot')} left out that failed before") if part
            )
        self._steps.append(Step(name, outcome, counts, time.monotonic() - start, text))
        if stop is not None:
            raise stop

    def _stop(self, name: str, error: Exception) -> _Stopped:
        if isinstance(error, Broken):
            cause, text = error.__cause__ or error, str(error)
        else:
            cause, text = error, f"{type(error).__name__}: {getattr(error, 'summary', error)}"
        frames = traceback.extract_tb(cause.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}, in {frames[-1].name}" if frames else ""
        hint = getattr(cause, "hint", "") or (f"look at {place}" if place else "")
        return _Stopped(Finding(Kind.ERROR, f"{name}: {text}", (), self._context.status(), hint))

    def _quiet(self) -> tuple[str, ...]:
        self._context.step("quiet")
        try:
            return check_idle(self._driver, self._context.settle)
        except Exception as error:  # noqa: BLE001 - the device may be gone; the report has it
            return (f"not known: {type(error).__name__}: {error}",)
