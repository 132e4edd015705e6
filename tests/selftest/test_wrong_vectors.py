# SPDX-License-Identifier: Apache-2.0
"""Slots that raise a vector that is not theirs, or one more."""

from __future__ import annotations

from tests.selftest.devices import TestedModel, make_model
from tests.selftest.failing import failing, names
from vfio_ims.ims import FireStatus
from vfio_ims.selftest import Kind


class Crossed(TestedModel):
    """Slot 5 raises vector 0 whatever it holds."""

    def raise_slot(self, slot: int, pasid: int | None) -> FireStatus:
        if slot == 5 and not self.slots.slot(5).masked and self.slots.slot(5).message.address >= 0xFEE0_0000:
            self.raise_vector(0)
            return FireStatus.SENT
        return super().raise_slot(slot, pasid)


def test_a_slot_on_the_wrong_vector() -> None:
    report = failing(make_model(12, 3, base=Crossed))
    kinds = [kind for kind, _ in names(report)]
    assert Kind.MISROUTED in kinds or Kind.ALIAS in kinds
    assert report.counts.misrouted > 0
    assert any(5 in finding.slots for finding in report.findings)


class Scattered(TestedModel):
    """Each fire of slot 1 raises vector 3 beside its own."""

    def raise_slot(self, slot: int, pasid: int | None) -> FireStatus:
        fate = super().raise_slot(slot, pasid)
        if slot == 1 and fate is FireStatus.SENT:
            self.raise_vector(3)
        return fate


def test_a_slot_that_raises_another_vector_as_well() -> None:
    report = failing(make_model(8, 4, base=Scattered))
    assert (Kind.MISROUTED, "slot 1 raises vector 3 as well") in names(report)
    assert report.counts.misrouted > 0


class Stray(TestedModel):
    """Slot 3 is dead, and the second fire of slot 0 raises vector 3 beside its own, where nothing is fired then."""

    fires = 0

    def raise_slot(self, slot: int, pasid: int | None) -> FireStatus:
        if slot == 3:
            return FireStatus.SENT
        fate = super().raise_slot(slot, pasid)
        self.fires += slot == 0 and fate is FireStatus.SENT
        if slot == 0 and self.fires == 2:
            self.raise_vector(3)
        return fate


def test_an_event_where_nothing_was_fired() -> None:
    report = failing(make_model(4, 4, base=Stray))
    assert (Kind.MISROUTED, "misrouted: events where nothing was fired: 1 on vector 3") in names(report)
    assert (Kind.DEAD, "slot 3 is dead") in names(report)
    assert report.counts.misrouted == 1
