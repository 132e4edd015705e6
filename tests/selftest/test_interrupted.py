# SPDX-License-Identifier: Apache-2.0
"""A self-test that is broken off reports what ran, blames no slot of a sound device, and leaves it quiet."""

from __future__ import annotations

import pytest

from tests.selftest.devices import PASIDS, TestedDriver, make_model, open_model
from vfio_ims.selftest import Interrupted, Options, Outcome, run, steps_of

FAST = Options(timeout=1, settle=0.01, dwell=0.001)


def interrupted_at(fire: int) -> Interrupted:
    """What ``run`` raises where Ctrl-C comes in the fire of this number."""

    class Breaking(TestedDriver):
        fires = 0

        def fire(self, slot, *, pasid=None):  # type: ignore[no-untyped-def]
            self.fires += 1
            if self.fires == fire:
                raise KeyboardInterrupt
            return super().fire(slot, pasid=pasid)

    driver = open_model(make_model(6, 3, **PASIDS), Breaking).driver
    with driver, pytest.raises(Interrupted) as caught:
        run(driver, options=FAST)
    return caught.value


@pytest.mark.parametrize("fire", [1, 2, 3, 9, 16, 22, 30, 45, 60, 75])
def test_it_says_how_far_it_came_and_blames_nothing(fire: int) -> None:
    report = interrupted_at(fire).report
    assert (report.verdict, report.passed, report.findings, report.quiet) == ("interrupted", False, (), ())
    assert report.counts.faults == 0
    assert report.interrupted in steps_of()
    answer = report.to_json()
    assert (answer["verdict"], answer["interrupted"], answer["quiet"]) == ("interrupted", report.interrupted, True)
    assert str(report).splitlines()[-1].startswith("INTERRUPTED in ")


def test_steps_before_have_their_counts_and_those_after_are_named() -> None:
    report = interrupted_at(20).report
    outcomes = {step.name: step.outcome for step in report.steps}
    assert tuple(outcomes) == steps_of()[1:-1]
    assert outcomes["own words"] is Outcome.PASSED
    assert outcomes["donor passes"] is Outcome.INTERRUPTED
    assert {outcome for name, outcome in outcomes.items() if name not in ("own words", "donor passes")} == {
        Outcome.NOT_RUN
    }
    counts = {step.name: step.counts for step in report.steps}
    assert counts["own words"].delivered == 6
    assert 0 < counts["donor passes"].delivered < 12


def test_what_was_found_before_is_a_failure_all_the_same() -> None:
    class Deaf(TestedDriver):
        fires = 0

        def fire(self, slot, *, pasid=None):  # type: ignore[no-untyped-def]
            self.fires += 1
            if self.fires == 40:
                raise KeyboardInterrupt
            return super().fire(0 if slot == 3 else slot, pasid=pasid)

    driver = open_model(make_model(6, 3), Deaf).driver
    with driver, pytest.raises(Interrupted) as caught:
        run(driver, options=Options(timeout=0.05, settle=0.01, dwell=0.001))
    assert caught.value.report.verdict == "failed"
