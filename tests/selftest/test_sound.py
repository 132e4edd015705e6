# SPDX-License-Identifier: Apache-2.0
"""A sound device passes, every fire is accounted for, and what it lacks is called not applicable."""

import json
import time

import pytest

import vfio_ims
from tests.selftest.devices import PASIDS, TestedDriver, make_model, open_model
from vfio_ims.errors import UsageError
from vfio_ims.platform import Platform
from vfio_ims.selftest import Counts, Options, Outcome, Progress, Report, run

FAST = Options(timeout=0.2, settle=0.005)


def outcomes(report: Report) -> dict[str, Outcome]:
    return {part.name: part.outcome for part in (*report.rungs, *report.steps)}


def test_the_example_device_passes_and_every_fire_is_counted() -> None:
    with vfio_ims.open_driver("mock:minimal") as driver:
        report = run(driver, options=FAST)
        assert report.passed
        assert report.verdict == "passed"
        assert not report.findings
        assert report.broken_rung is None
        assert (report.slots, report.table, report.donors, report.passes) == (16, 16, 4, 2)
        # Twice, before and after the reset: 16 into words, 2 x 16 over donors, 16 withheld and then released. Once:
        # 16 with their neighbours masked, closed, allocated again.
        assert report.counts == Counts(fired=176, delivered=176, withheld=32)
        assert report.latency is not None
        assert report.latency.count == 16
        assert 0 < report.latency.p50 <= report.latency.p99 <= report.latency.max < 1e6
        assert report.timeout == 0.2
        assert report.quiet == ()
        assert driver.ims.allocated == []
        with driver.ims.allocate() as interrupt:  # and the driver goes on working
            driver.fire(interrupt.slot)
            assert interrupt.wait(timeout=1)


def test_with_pasids_wrong_ones_are_refused_and_withheld() -> None:
    opened = open_model(make_model(20, 3, **PASIDS))
    with opened.driver as driver:
        report = run(driver, options=FAST)
        assert report.passed, report
        assert report.passes == 3
        # Of each half: 20 words, 60 over donors, 20 released, 20 with their own PASID; 20 masked, 20 of another PASID.
        # Once 3 x 20 for the neighbours.
        assert report.counts == Counts(fired=300, delivered=300, withheld=80, refused=40)
        assert report.not_applicable == ()
        assert set(outcomes(report).values()) == {Outcome.PASSED}


def test_two_thousand_slots_take_four_passes_over_eight_donors() -> None:
    with open_model(make_model(2048, 8)).driver as driver:
        report = run(driver, options=Options(settle=0.005, dwell=0.0, reset=False, words=False, masks=False))
        assert report.passed, report
        assert report.passes == 4
        assert report.counts == Counts(fired=8256, delivered=8256)  # 64: neighbours closed and allocated
        assert report.seconds < 30  # about three on an idle machine


@pytest.mark.parametrize(("slots", "vectors", "passes"), [(5, 1, 1), (5, 8, 1), (9, 3, 2), (10, 3, 3)])
def test_any_number_of_donors_will_do(slots: int, vectors: int, passes: int) -> None:
    with open_model(make_model(slots, vectors)).driver as driver:
        report = run(driver, options=FAST)
        assert report.passed, report
        assert (report.slots, report.passes) == (slots, passes)
        assert report.donors == min(slots, vectors)
        assert report.counts.fired == 2 * slots * (2 + passes) + 3 * slots


def test_what_a_device_lacks_is_not_applicable_and_no_pass() -> None:
    class Mute(TestedDriver):
        def fire_vector(self, vector: int) -> None:
            super(TestedDriver, self).fire_vector(vector)  # UnsupportedError

    kind = make_model(4, 2, mask=None, pending=None, control=None)
    with open_model(kind, Mute, flr=False).driver as driver:
        report = run(driver, options=FAST)
        assert report.passed, report
        found = outcomes(report)
        for part in ("own MSI-X", "masks", "PASIDs", "masks, after it", "PASIDs, after it"):
            assert found[part] is Outcome.NOT_APPLICABLE, part
        assert any("no mask" in line for line in report.not_applicable)
        assert report.counts == Counts(fired=32, delivered=32)
        assert "the driver's own" in next(step.text for step in report.steps if step.name == "reset")


def test_masks_without_a_pending_bit_are_half_of_it() -> None:
    with open_model(make_model(4, 2, pending=None)).driver as driver:
        report = run(driver, options=FAST)
        assert report.passed, report
        masks = next(step for step in report.steps if step.name == "masks")
        assert masks.counts == Counts(withheld=4)
        assert "pending bit: not applicable" in masks.text


def test_what_was_left_out_is_not_a_pass_either() -> None:
    options = Options(timeout=0.2, settle=0.005, words=False, masks=False, pasids=False, reset=False, slots=3)
    with open_model(make_model(8, 2, **PASIDS)).driver as driver:
        report = run(driver, options=options)
        assert report.passed
        assert (report.slots, report.table, report.passes) == (3, 8, 2)
        assert report.counts == Counts(fired=12, delivered=12)
        found = outcomes(report)
        names = ("DMA word", "own words", "masks", "PASIDs", "reset")
        assert {found[name] for name in names} == {Outcome.NOT_APPLICABLE}


@pytest.mark.parametrize("merge", ["random", "never"])
def test_how_messages_merge_makes_no_difference(merge: str) -> None:
    platform = Platform(merge=merge)  # type: ignore[arg-type]
    with open_model(make_model(8, 2), platform=platform).driver as driver:
        report = run(driver, options=FAST)
        assert report.counts == Counts(fired=104, delivered=104, withheld=16)


def test_a_driver_that_names_its_sources_is_believed_and_checked() -> None:
    class Names(TestedDriver):
        def start(self) -> None:
            super().start()
            self.waiting: set[int] = set()

        def fire(self, slot, *, pasid=None):  # type: ignore[no-untyped-def]
            self.waiting.add(slot)
            return super().fire(slot, pasid=pasid)

        def fired(self, slots):  # type: ignore[no-untyped-def]
            found = self.waiting & set(slots)
            self.waiting -= found
            return sorted(found)

    with open_model(make_model(8, 2), Names).driver as driver:
        assert run(driver, options=FAST).passed


def test_the_report_as_json_and_as_text() -> None:
    with open_model(make_model(4, 2)).driver as driver:
        report = run(driver, options=FAST)
    content = json.loads(json.dumps(report.to_json()))
    assert content["schema"] == 2
    assert content["verdict"] == "passed"
    assert content["slots"] == 4
    for name in ("fired", "delivered", "lost", "duplicated", "misrouted", "withheld", "unexpected"):
        assert content[name] == getattr(report.counts, name)
    assert content["timeout_s"] == 0.2
    assert set(content["latency"]) == {"count", "p50_us", "p99_us", "max_us", "samples_us"}
    assert [rung["name"] for rung in content["ladder"]] == [
        "verdict",
        "software trigger",
        "own MSI-X",
        "DMA word",
        "donor's message",
    ]
    assert content["not_applicable"] == ["PASIDs: the table's entries have no PASID"] * 1 + [
        "PASIDs, after it: the table's entries have no PASID"
    ]
    text = str(report)
    assert text.splitlines()[-1].startswith("PASSED in ")
    assert "counts   fired 44, delivered 44, withheld 8\n" in text
    assert "p99" in text


def test_it_prints_nothing_and_tells_how_far_it_is(capfd: pytest.CaptureFixture[str]) -> None:
    heard: list[Progress] = []
    with open_model(make_model(4, 2)).driver as driver:
        report = run(driver, options=FAST, progress=heard.append)
    assert capfd.readouterr() == ("", "")
    steps = [step.name for step in report.steps if step.outcome is Outcome.PASSED and step.name != "reset"]
    assert {"ladder", *steps} <= {each.step for each in heard}
    assert all(0 <= each.done <= each.total for each in heard)
    assert str(heard[0]) == "ladder: 0 of 5"


def test_a_long_step_tells_how_far_it_is_on_the_way() -> None:
    class Slow(TestedDriver):
        def fire(self, slot, *, pasid=None):  # type: ignore[no-untyped-def]
            time.sleep(0.06)
            return super().fire(slot, pasid=pasid)

    heard: list[Progress] = []
    with open_model(make_model(4, 2), Slow).driver as driver:
        run(driver, options=Options(timeout=1, settle=0.01, words=False, reset=False), progress=heard.append)
    passes = [each.done for each in heard if each.step == "donor passes"]
    assert passes == sorted(passes), "it never goes back"
    assert {0, 2, 8} <= {*passes}, "two passes over four slots on two donors"


def test_a_table_in_use_is_refused() -> None:
    driver = open_model(make_model(4, 2)).driver
    driver.ims.allocate()
    with pytest.raises(UsageError, match="1 slot of its table is in use"):
        run(driver)


@pytest.mark.parametrize("bad", [{"timeout": 0}, {"settle": 0.0}, {"dwell": -1}, {"slots": 0}])
def test_bad_options_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="must be"):
        Options(**bad)  # type: ignore[arg-type]
