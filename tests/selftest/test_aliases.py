# SPDX-License-Identifier: Apache-2.0
"""Slots that stand for each other: found by their messages and by their sequence of donors."""

from __future__ import annotations

import pytest

from tests.selftest.devices import TestedModel, make_model, open_model
from tests.selftest.failing import failing, names, with_store
from vfio_ims.ims import FireStatus
from vfio_ims.models.slot_store import SlotStore
from vfio_ims.selftest import Kind, Options, run


class OneAlias(SlotStore):
    """Entry 64 is entry 0: by its messages only, it reads back well."""

    def fire(self, index: int, pasid: int | None = None) -> FireStatus:
        return super().fire(0 if index == 64 else index, pasid)


@pytest.mark.parametrize("vectors", [1, 3, 8])
def test_one_alias_is_found_by_its_messages(vectors: int) -> None:
    report = failing(with_store(OneAlias, 80, vectors))
    assert names(report) == [(Kind.ALIAS, "slot 64 aliases slot 0")]
    assert report.findings[0].slots == (64,)


def test_one_alias_is_found_by_its_sequence_of_donors_alone() -> None:
    with open_model(with_store(OneAlias, 80, 3)).driver as driver:
        report = run(driver, options=Options(timeout=0.1, settle=0.01, words=False))
    assert names(report) == [(Kind.ALIAS, "slot 64 aliases slot 0")]
    # 64 and 0 differ in digits 0, 2 and 3 of base 3: 2101 and 0000.
    assert report.counts.misrouted == 3


class Swapped(TestedModel):
    """Slots 4 and 7 are each other."""

    def raise_slot(self, slot: int, pasid: int | None) -> FireStatus:
        return super().raise_slot({4: 7, 7: 4}.get(slot, slot), pasid)


@pytest.mark.parametrize("words", [True, False])
def test_two_slots_that_are_fired_together_and_answer_for_each_other(words: bool) -> None:
    opened = open_model(make_model(64, 8, base=Swapped))
    with opened.driver:
        report = run(opened.driver, options=Options(timeout=0.1, settle=0.01, words=words))
    assert report.counts.misrouted > 0
    assert {kind for kind, _ in names(report)} <= {Kind.ALIAS, Kind.MISROUTED}
    assert {slot for finding in report.findings for slot in finding.slots} <= {4, 7}
