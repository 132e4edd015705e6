# SPDX-License-Identifier: Apache-2.0
"""A driver that fails in the middle, Ctrl-C, a device that goes: a report or the interruption, and a quiet device."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.selftest.devices import PASIDS, Opened, TestedDriver, make_model, open_model
from vfio_ims.errors import DeviceError, UnsupportedError
from vfio_ims.ims import FireReport, FireStatus
from vfio_ims.selftest import Kind, Options, Outcome, Report, check_idle, run

FAST = Options(timeout=0.1, settle=0.005)


class Counting(TestedDriver):
    """Does ``deed`` at fire number ``at``."""

    at = 0
    count = 0

    def fire(self, slot: int, *, pasid: int | None = None) -> Any:
        self.count += 1
        if self.count == self.at:
            return self.deed(slot)
        return super().fire(slot, pasid=pasid)

    def deed(self, slot: int) -> Any:
        raise DeviceError(f"fire slot {slot}", device=self.label, why="the queue is full", hint="drain it")


def failing_at(number: int, **members: Any) -> type[TestedDriver]:
    return type("Failing", (Counting,), {"at": number, **members})


def quiet_after(opened: Opened) -> None:
    """Before the close as far as it can be seen, and after it on the other side."""
    driver = opened.driver
    assert driver.ims.allocated == []
    assert check_idle(driver, 0.01) == ()
    port: Any = driver.device.port
    vectors = port.irqs.msix.vectors
    driver.close()
    slots = opened.model.slots
    assert all(slots.slot(index).masked for index in range(slots.layout.count))
    assert not any(slots.slot(index).message for index in range(slots.layout.count))
    assert not slots.pending
    assert not opened.model.config.bus_master
    assert not vectors
    assert not list(opened.platform.faults)


STEPS = ["own words", "donor passes", "masks", "neighbours", "PASIDs", "reset"]
STEPS += ["donor passes, after it", "masks, after it"]


# Two fires on the ladder; then for 6 slots over 2 donors 6, 18, 6, 18 (in the first only), 12.
@pytest.mark.parametrize(("number", "step"), [(5, 0), (20, 1), (30, 2), (40, 3), (58, 4), (70, 6), (84, 7)])
def test_a_fire_that_raises_ends_the_run_with_a_report(number: int, step: int) -> None:
    opened = open_model(make_model(6, 2, **PASIDS), failing_at(number))
    report = run(opened.driver, options=FAST)
    assert not report.passed
    (finding,) = report.findings
    assert finding.kind is Kind.ERROR
    assert finding.text.startswith(f"{STEPS[step]}: fire(slot ")
    assert "raised DeviceError" in finding.text
    assert "the queue is full" in finding.text
    assert finding.hint == "drain it"
    assert [part.name for part in report.steps] == STEPS[: step + 1]
    assert report.steps[-1].outcome is Outcome.FAILED
    assert report.counts.fired >= report.counts.delivered > 0 or step == 0
    quiet_after(opened)


def test_a_bug_in_the_driver_is_reported_with_its_place() -> None:
    def deed(driver: Any, slot: int) -> Any:
        return driver.no_such_attribute

    opened = open_model(make_model(6, 2), failing_at(9, deed=deed))
    (finding,) = run(opened.driver, options=FAST).findings
    assert "AttributeError" in finding.text
    assert "test_failing_driver.py:" in finding.hint
    quiet_after(opened)


def test_a_fire_that_returns_nothing() -> None:
    opened = open_model(make_model(6, 2), failing_at(9, deed=lambda driver, slot: None))
    (finding,) = run(opened.driver, options=FAST).findings
    assert "must return a FireReport, not None" in finding.text
    quiet_after(opened)


def test_a_driver_without_pasids() -> None:
    class Untagged(TestedDriver):
        def fire(self, slot: int, *, pasid: int | None = None) -> Any:
            if pasid is not None:
                raise UnsupportedError("tag work", device=self.label, why="the kernel attaches no PASIDs")
            return super().fire(slot)

    opened = open_model(make_model(6, 2, **PASIDS), Untagged)
    report = run(opened.driver, options=FAST)
    assert report.passed, report
    assert "the kernel attaches no PASIDs" in report.not_applicable[0]
    quiet_after(opened)


def test_a_reset_that_fails() -> None:
    class Stuck(TestedDriver):
        starts = 0

        def start(self) -> None:
            super().start()
            self.starts += 1
            if self.starts > 1:
                raise DeviceError("start", device=self.label, why="still resetting")

    opened = open_model(make_model(6, 2), Stuck)
    report = run(opened.driver, options=FAST)
    assert [finding.kind for finding in report.findings] == [Kind.ERROR]
    assert report.findings[0].text == "reset: DeviceError: test: start: still resetting"
    quiet_after(opened)


@pytest.mark.parametrize("number", [1, 2, 5, 20, 30, 40, 50, 66])
def test_ctrl_c_leaves_the_device_quiet(number: int) -> None:
    def deed(driver: Any, slot: int) -> Any:
        raise KeyboardInterrupt

    opened = open_model(make_model(6, 2, **PASIDS), failing_at(number, deed=deed))
    with pytest.raises(KeyboardInterrupt):
        run(opened.driver, options=FAST)
    quiet_after(opened)


def test_ctrl_c_while_a_slot_is_waited_for() -> None:
    def deed(driver: Any, slot: int) -> Any:
        def interrupted(timeout: float | None = None) -> bool:
            raise KeyboardInterrupt

        driver.ims.interrupt(slot).wakeup.hub.wait_for = lambda wakeup, timeout: interrupted()
        return TestedDriver.fire(driver, slot)

    opened = open_model(make_model(6, 2), failing_at(12, deed=deed))
    with pytest.raises(KeyboardInterrupt):
        run(opened.driver, options=FAST)
    quiet_after(opened)


def test_a_device_that_goes_gives_a_report() -> None:
    def deed(driver: Any, slot: int) -> Any:
        driver.close()
        return TestedDriver.fire(driver, slot)

    opened = open_model(make_model(6, 2), failing_at(12, deed=deed))
    report: Report = run(opened.driver, options=FAST)
    assert not report.passed
    assert any(finding.kind is Kind.ERROR and "ClosedError" in finding.text for finding in report.findings)
    assert "not known" in report.quiet[0]


def test_a_silent_device_is_given_a_bounded_time() -> None:
    class Silent(TestedDriver):
        count = 0

        def fire(self, slot: int, *, pasid: int | None = None) -> Any:
            self.count += 1
            if self.count > 2:  # the ladder holds
                return FireReport(FireStatus.SENT)
            return super().fire(slot, pasid=pasid)

    opened = open_model(make_model(100, 4), Silent)
    start = time.monotonic()
    report = run(opened.driver, options=Options(timeout=0.5, settle=0.01))
    assert time.monotonic() - start < 60  # 100 slots at 0.5 s in every step would be minutes
    assert [finding.text for finding in report.findings] == ["every slot is dead"]
    assert [part.outcome for part in report.steps if part.name.startswith(("masks", "PASIDs"))] == [Outcome.NOT_RUN] * 4
    quiet_after(opened)
