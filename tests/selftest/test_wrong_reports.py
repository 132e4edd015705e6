# SPDX-License-Identifier: Apache-2.0
"""Reports that are refusals, wrong, too few or untrue: from a device, or from its driver."""

from __future__ import annotations

from collections.abc import Sequence

from tests.selftest.devices import TestedDriver, TestedModel, make_model
from tests.selftest.failing import failing, names
from vfio_ims.driver import FireReport
from vfio_ims.ims import FireStatus
from vfio_ims.selftest import Kind


class Unwilling(TestedModel):
    """Refuses slot 3 once the table is in use."""

    def raise_slot(self, slot: int, pasid: int | None) -> FireStatus:
        return FireStatus.REFUSED if slot == 3 else super().raise_slot(slot, pasid)


def test_a_refusal_is_reported_in_the_devices_words() -> None:
    report = failing(make_model(6, 2, base=Unwilling))
    assert names(report) == [(Kind.REFUSED, "slot 3 is refused: refused (wrong PASID)")]
    assert report.counts.refused > 0
    assert report.seconds < 5  # nothing is waited for


class Misnames(TestedDriver):
    def fired(self, slots: Sequence[int]) -> Sequence[int]:
        return [slot for slot in slots if slot != 2]


def test_a_source_that_does_not_name_its_slot() -> None:
    report = failing(make_model(4, 2), Misnames)
    assert (Kind.NOT_NAMED, "slot 2 is not named by fired()") in names(report)
    assert report.counts.lost > 0


class Fickle(TestedDriver):
    """Reports of a masked slot that it was sent, of an unmasked one that it pends."""

    def fire(self, slot: int, *, pasid: int | None = None) -> FireReport:
        super().fire(slot, pasid=pasid)
        return FireReport(FireStatus.PENDING)


def test_a_driver_that_calls_a_sent_message_pending_breaks_a_rung() -> None:
    report = failing(make_model(4, 2), Fickle)
    assert report.broken_rung is not None
    assert "slot 0, unmasked, is pending" in report.broken_rung.text


class Hasty(TestedDriver):
    """Leaves the last of several slots out, and does not say so."""

    def fire_many(self, slots: Sequence[int]) -> list[FireReport]:
        return [self.fire(slot) for slot in slots[:1] + slots[:-1][1:]]


def test_a_driver_that_reports_on_too_few_of_many() -> None:
    report = failing(make_model(16, 4), Hasty)
    ((kind, text),) = names(report)
    assert kind is Kind.ERROR
    assert "own words: fire_many(slots 0-3) must return a FireReport for each" in text


class Skipping(TestedDriver):
    """Of several slots fires all but the last, and reports that it was sent."""

    def fire_many(self, slots: Sequence[int]) -> list[FireReport]:
        return [self.fire(slot) for slot in slots[:-1]] + [FireReport(FireStatus.SENT)]


def test_a_driver_that_does_not_fire_all_of_many_is_not_believed() -> None:
    report = failing(make_model(16, 4), Skipping)
    assert report.counts.lost > 0
    assert Kind.DROPS in {kind for kind, _ in names(report)}
