# SPDX-License-Identifier: Apache-2.0
"""Slots whose mask, pending bit, PASID or delivery is broken: each is found and named, and with nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from tests.selftest.devices import PASIDS, TestedModel, make_model, open_model
from tests.selftest.echoes import Echoes
from tests.selftest.failing import FAST, failing, names, with_store
from vfio_ims.ims import FireStatus
from vfio_ims.models.defects import DroppingSlots
from vfio_ims.models.slot_store import SlotStore
from vfio_ims.registers import SlotLayout
from vfio_ims.selftest import Kind, run


class BlindSlot(SlotStore):
    def fire(self, index: int, pasid: int | None = None) -> FireStatus:
        if index == 3 and self.slot(3).masked:
            self.emit(3, self.slot(3))
            return FireStatus.SENT
        return super().fire(index, pasid)


def test_one_slot_that_ignores_its_mask() -> None:
    report = failing(with_store(BlindSlot, 40, 4))
    assert names(report) == [(Kind.IGNORES_MASK, "slot 3 ignores its mask")]
    assert report.counts.unexpected == 2
    assert report.counts.withheld == 78


class EchoingSlot(SlotStore):
    """Slot 7 sends each message again."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.echoes = Echoes(0.001, super().emit)

    def emit(self, index: int, slot: Any) -> None:
        super().emit(index, slot)
        if index == 7:
            self.echoes.after(index, slot)
        else:
            self.echoes.message()


@pytest.mark.usefixtures("echoes")
@pytest.mark.parametrize("vectors", [1, 4])
def test_one_slot_that_fires_again_later(vectors: int) -> None:
    report = failing(with_store(EchoingSlot, 24, vectors))
    assert names(report) == [(Kind.TWICE, "slot 7 fires twice")]
    assert report.counts.duplicated >= 2
    assert report.counts.lost == report.counts.misrouted == report.counts.unexpected == 0


class Rarely(DroppingSlots):
    """Forgets the 100th message."""

    def emit(self, index: int, slot: Any) -> None:
        self._sent += 1
        if self._sent != 100:
            SlotStore.emit(self, index, slot)


def test_one_lost_message() -> None:
    report = failing(with_store(Rarely, 40, 4))
    assert report.counts.lost == 1
    ((kind, text),) = names(report)
    assert kind is Kind.DROPS
    assert text.startswith("drops messages: 1 of 496 lost, slot ")


class Lax(TestedModel):
    """Does not compare slot 2's PASID, and says nothing of refusing slot 4."""

    def raise_slot(self, slot: int, pasid: int | None) -> FireStatus:
        own = self.slots.slot(slot).pasid
        if slot == 2 and own is not None:
            return super().raise_slot(slot, own)
        fate = super().raise_slot(slot, pasid)
        return FireStatus.SENT if slot == 4 and fate is FireStatus.REFUSED else fate


def test_pasids_that_are_not_compared_or_not_reported() -> None:
    report = failing(make_model(6, 2, base=Lax, **PASIDS))
    assert names(report) == [
        (Kind.IGNORES_PASID, "slot 2 is raised by another PASID"),
        (Kind.NOT_REPORTED, "slot 4 refuses and does not say so"),
    ]
    assert (report.counts.unexpected, report.counts.refused) == (2, 8)


class Forgetful(SlotStore):
    """Shows no pending bit in entry 1, and keeps entry 2's for ever."""

    def _set_pending(self, index: int) -> None:
        if index != 1:
            super()._set_pending(index)

    def discharge(self, index: int) -> None:
        if index != 2 or self.slot(2).message.address < 0xFEE0_0000:
            super().discharge(index)


def test_pending_bits_not_shown_or_not_sent() -> None:
    report = failing(with_store(Forgetful, 4, 2))
    assert (Kind.NO_PENDING, "slot 1 shows no pending bit") in names(report)
    assert (Kind.STUCK, "slot 2 keeps its pending interrupt") in names(report)


class Dead(TestedModel):
    def raise_slot(self, slot: int, pasid: int | None) -> FireStatus:
        return FireStatus.SENT if slot > 2 else super().raise_slot(slot, pasid)


def test_a_dead_table_is_not_waited_for_slot_by_slot() -> None:
    report = failing(make_model(120, 4, base=Dead))
    ((kind, text),) = names(report)
    assert kind is Kind.DEAD
    assert text == "slots from 3 on are dead"
    assert report.seconds < 10


def test_a_slot_whose_entry_keeps_half_of_it() -> None:
    class Narrow(SlotStore):
        def store(self, offset: int, data: bytes) -> list[int]:
            if offset == 2 * self.layout.stride + 8:  # entry 2's data has 8 bits
                data = data[:1] + bytes(3)
            return super().store(offset, data)

    layout = SlotLayout(bar=0, offset=0x10000, count=4)
    assert layout.data == 8
    with open_model(with_store(Narrow, 4, 2)).driver as driver:
        assert run(driver, options=FAST).passed  # this platform's messages fit 8 bits
