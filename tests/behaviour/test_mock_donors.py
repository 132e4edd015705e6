# SPDX-License-Identifier: Apache-2.0
"""Donors that belong to the device: two tables on one function, tables with limits, what only a model shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

import vfio_ims
from tests.behaviour.common import arrives, delivered, fire
from tests.behaviour.test_mock_tables import MASKLESS, ONE_ADDRESS, SHORT_DATA, driver_with
from vfio_ims.backends.software.device import SoftwareDevice
from vfio_ims.backends.software.in_process import InProcessLink
from vfio_ims.device import Device
from vfio_ims.drivers.minimal.driver import Minimal
from vfio_ims.drivers.minimal.model import MinimalModel
from vfio_ims.drivers.minimal.registers import SLOTS, Bar0
from vfio_ims.errors import DeviceBusy, DeviceError, VfioImsError
from vfio_ims.faults import inject
from vfio_ims.ims import ImsDomain, ImsInterrupt, SlotArray
from vfio_ims.ims.quiesce import Quiescer
from vfio_ims.messages import MessageLimits
from vfio_ims.models import ModelBar
from vfio_ims.platform import Platform
from vfio_ims.platform.faults import FaultKind
from vfio_ims.registers import Block, SlotLayout
from vfio_ims.testing import silent

SECOND = replace(SLOTS, bar=2, offset=0, count=8)


class Nothing(Block):
    """No registers."""


class TwoTables(MinimalModel):
    """A second slot table in BAR 2."""

    second: SlotLayout = SECOND

    def configure(self) -> None:
        self.bars = {0: ModelBar(0x4000, Bar0, slots=SLOTS), 2: ModelBar(0x1000, Nothing, slots=self.second)}

    @property
    def slots(self) -> Any:
        return self.slots_in(0)


class SecondSource:
    """What the second table's domain asks of its driver."""

    def fired(self, slots: Sequence[int]) -> None:
        return None

    def quiesce(self, slot: int) -> None:
        return None

    def fault(self) -> str:
        return ""


class Two:
    """A driver and a second domain on one function."""

    def __init__(self, model: TwoTables, driver: Minimal) -> None:
        self.model, self.driver, self.first = model, driver, driver.ims
        table = SlotArray(driver.device, model.second)
        self.second = ImsDomain(driver.device, table, SecondSource())  # type: ignore[arg-type]

    def delivered(self, irq: ImsInterrupt) -> bool:
        if irq.domain is self.first:
            return delivered(self.driver, irq)
        with self.model.lock:
            self.model.slots_in(2).fire(irq.slot)
        return arrives(irq)


@contextmanager
def two_tables(limits: MessageLimits | None = None, **host: Any) -> Iterator[Two]:
    class Model(TwoTables):
        second = replace(SECOND, limits=limits or MessageLimits())

    model = Model("mock:two")
    device = Device(SoftwareDevice(InProcessLink(model), Platform(**host), "mock:two"))
    with device, Minimal.start_on(device) as driver:
        yield Two(model, driver)


# --- two tables on one function ---------------------------------------------------------------------------------------


def test_two_tables_share_the_donors_of_their_device() -> None:
    with two_tables() as two:
        first, second = two.first.allocate_group(6), two.second.allocate_group(6)
        assert {irq.donor for irq in first} == {irq.donor for irq in second} == {0, 1, 2, 3}
        assert all(two.delivered(irq) for irq in (*first, *second))
        loads = [donor.load for donor in two.driver.device.interrupts.donors.vectors.values()]
        assert sorted(loads) == [3, 3, 3, 3], "the least loaded, whichever table loads it"


def test_a_reset_by_the_driver_resyncs_every_table() -> None:
    with two_tables() as two:
        first, second = two.first.allocate(), two.second.allocate()
        masked = two.second.allocate(masked=True)
        two.driver.reset()
        for irq in (first, second):
            assert irq.wait(0), "every owner is woken once"
            assert irq.domain.table.read(irq.slot) == irq.domain.expected(irq.slot)
            assert two.delivered(irq)
        assert two.second.table.read(masked.slot) == two.second.expected(masked.slot)


def test_a_reset_that_fails_fails_every_table(monkeypatch: pytest.MonkeyPatch) -> None:
    with two_tables() as two:
        irq = two.second.allocate()
        with monkeypatch.context() as broken:
            broken.setattr(type(two.driver), "start", lambda driver: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                two.driver.reset()
        with pytest.raises(DeviceError, match="its last reset was not completed"):
            irq.wait(0.1)
        two.driver.reset()
        irq.wait(0)
        assert two.delivered(irq)


def test_an_event_wakes_the_owners_in_every_table() -> None:
    with two_tables() as two:
        first, second = two.first.allocate(vector=1), two.second.allocate(vector=1)
        other = two.second.allocate(vector=2)
        fire(two.driver, first)
        assert arrives(first)
        assert arrives(second), "the driver cannot tell, and the messages are identical"
        assert silent(other)


def test_an_exclusive_slot_of_one_table_is_exclusive_for_the_other() -> None:
    with two_tables() as two:
        shared = two.second.allocate_group(8)
        alone = [two.first.allocate(exclusive=True) for _ in range(3)]
        assert not {irq.donor for irq in alone} & {irq.donor for irq in shared}
        with pytest.raises(DeviceBusy, match="3 are exclusive"):
            two.first.allocate(exclusive=True)
        for irq in (*alone, *shared):
            irq.wait(0)
            assert two.delivered(irq)
        for irq in alone:
            irq.close()
        with two.first.allocate_group(4) as group:
            assert {irq.donor for irq in group} == {0, 1, 2, 3}


def test_both_tables_make_room_for_msix_or_none() -> None:
    with two_tables() as two:
        first, second = two.first.allocate_group(8), two.second.allocate_group(8)
        pinned = two.second.allocate(vector=2) if len(two.second.allocated) < two.second.table.size else None
        assert pinned is None
        with two.driver.device.interrupts.open_msix(2) as vector:
            for irq in (*first, *second):
                irq.wait(0)
                assert irq.donor != 2
                assert two.delivered(irq)
            assert silent(vector)
        second[0].close()
        held = two.second.allocate(vector=2)
        before = [irq.donor for irq in first]
        with pytest.raises(DeviceBusy, match=rf"donor of slot {held.slot}, and slot {held.slot} asked for this vector"):
            two.driver.device.interrupts.open_msix(2)
        assert [irq.donor for irq in first] == before, "all move or none"


def test_a_table_that_closes_leaves_the_others_donors() -> None:
    with two_tables() as two:
        first, irq = two.first.allocate_group(4), two.second.allocate_group(4)[0]
        two.second.close()
        assert irq.closed
        assert all(two.delivered(irq) for irq in first)
        assert two.driver.device.interrupts.msix.attached == (0, 1, 2, 3)
        two.first.close()
        assert two.driver.device.interrupts.msix.attached == ()


def test_tables_have_limits_of_their_own() -> None:
    """The second keeps 5 bits of data, and without remapping a message's data is 0x21 or more: it takes no donor."""
    with two_tables(MessageLimits(data_bits=5), remapping=False) as two:
        with pytest.raises(DeviceBusy, match="vector 0 does not fit: the table keeps 5 bits of data"):
            two.second.allocate()
        first = two.first.allocate_group(4)
        with pytest.raises(DeviceBusy, match="vector 0 does not fit: the table keeps 5 bits of data"):
            two.second.allocate()
        assert all(two.delivered(irq) for irq in first)


def test_a_table_with_one_address_beside_one_without() -> None:
    with two_tables(MessageLimits(one_address=True)) as two:
        first, second = two.first.allocate_group(8), two.second.allocate_group(3)
        assert len({irq.donor for irq in second}) == 1
        with two.driver.device.interrupts.open_msix(second[0].donor):
            assert len({irq.donor for irq in second}) == 1
            for irq in (*first, *second):
                irq.wait(0)
                assert two.delivered(irq)


# --- messages ---------------------------------------------------------------------------------------------------------


def test_a_vector_that_is_taken_again_has_its_message_read_anew() -> None:
    with vfio_ims.open_driver("mock:minimal,remapping=no") as driver:
        port: Any = driver.device.port
        with driver.ims.allocate(vector=0) as irq:
            before = irq.message
        with driver.device.interrupts.open_msix(0):
            port.platform.set_affinity(port.function, 0, 1 + (before.address >> 12 & 0xFF) % 3)
            now = driver.device.interrupts.msix.message(0)
            assert now != before
        with driver.ims.allocate(vector=0) as irq:
            assert irq.message == driver.device.interrupts.msix.message(0)
            assert delivered(driver, irq)


def test_a_slot_of_a_table_without_a_mask_stays() -> None:
    with driver_with(MASKLESS) as driver:
        irq = driver.ims.allocate()
        with pytest.raises(DeviceBusy, match=rf"donor of slot {irq.slot}, and the table has no mask"):
            driver.device.interrupts.open_msix(irq.donor)
        assert delivered(driver, irq)
        vector = irq.donor
        irq.close()
        driver.device.interrupts.open_msix(vector).close()


def test_a_vector_whose_slot_could_not_be_quiesced_stays_attached(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slot may still hold its message, and would raise the application's interrupt."""
    with vfio_ims.open_driver("mock:minimal") as driver:
        irq = driver.ims.allocate()
        with monkeypatch.context() as patch:
            patch.setattr(Quiescer, "quiesce", lambda *_: (_ for _ in ()).throw(DeviceError("quiesce")))
            with pytest.raises(DeviceError):
                irq.close()
        with pytest.raises(DeviceBusy, match="could not be quiesced") as caught:
            driver.device.interrupts.open_msix(0)
        assert "reset" in caught.value.hint
        driver.reset()
        driver.device.interrupts.open_msix(0).close()


def test_slots_of_a_moved_vector_are_masked_until_all_are_rewritten() -> None:
    """The kernel frees the old place once a message came by the new one: a copy of the old then reaches no owner."""
    with vfio_ims.open_driver("mock:minimal,remapping=no") as driver:
        port: Any = driver.device.port
        first, second = driver.ims.allocate(vector=0), driver.ims.allocate(vector=0)
        store = port.link.model.slots
        outcomes: list[str] = []
        real = store.store

        def stored(offset: int, data: bytes) -> list[int]:
            touched: list[int] = real(offset, data)
            if touched == [first.slot] and not store.slot(first.slot).masked and not outcomes:
                outcomes.append(store.fire(first.slot).value)
                outcomes.append(store.fire(second.slot).value)
            return touched

        port.platform.set_affinity(port.function, 0, 1 + (first.message.address >> 12 & 0xFF) % 3, settle=False)
        store.store, store.take_words = stored, lambda writes: 0  # every word comes by ``stored``
        store.store_rows = lambda rows, steps, cells: False
        assert driver.ims.check() == [0]
        assert outcomes == ["sent", "pending"]
        assert port.platform.faults.counts[FaultKind.MESSAGE] == 0
        for irq in (first, second):
            irq.wait(0)
            assert delivered(driver, irq)


def test_a_moved_vector_that_does_not_fit_any_more_hands_its_slots_to_another() -> None:
    """One address for all: two donors share it until one moves to another CPU."""
    with driver_with(ONE_ADDRESS, remapping=False, cpus=2) as driver:
        port: Any = driver.device.port
        irqs = driver.ims.allocate_group(4)
        vectors = {irq.donor for irq in irqs}
        assert len(vectors) == 2, "two of the four vectors are on one CPU"
        gone = irqs[0].donor
        port.platform.set_affinity(port.function, gone, 1 - (irqs[0].message.address >> 12 & 0xFF))
        assert driver.ims.check() == [gone]
        assert {irq.donor for irq in irqs} == vectors - {gone}
        for irq in irqs:
            irq.wait(0)
            assert delivered(driver, irq)


# --- how many can be used ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layout", "host", "count", "text"),
    [
        (SLOTS, {}, 4, "4 of 4 vectors"),
        (ONE_ADDRESS, {}, 1, "1 of 4 vectors: the table has one address for all, and their messages have 4"),
        (ONE_ADDRESS, {"remapping": False, "cpus": 2}, 2, "2 of 4 vectors: the table has one address for all"),
        (ONE_ADDRESS, {"remapping": False, "cpus": 1}, 4, "4 of 4 vectors"),
        (SHORT_DATA, {"remapping": False}, 0, "0 of 4 vectors, 4 do not fit (the table keeps 5 bits of data"),
    ],
)
def test_the_verdict_counts_the_donors_that_the_table_can_use(
    layout: Any, host: dict[str, Any], count: int, text: str
) -> None:
    with driver_with(layout, **host) as driver:
        for _ in range(2):
            verdict = driver.verdict
            assert verdict.donors == count
            assert verdict.link("donors").evidence.text.startswith(text)
            assert verdict.usable is (count > 0)
            assert driver.device.interrupts.msix.attached == ()
        if count:
            with driver.ims.allocate_group(8) as irqs:
                assert len({irq.donor for irq in irqs}) == count
                assert driver.verdict.donors == count


def test_the_verdict_leaves_the_applications_vectors_out() -> None:
    with vfio_ims.open_driver("mock:minimal") as driver, driver.device.interrupts.open_msix(1):
        with driver.device.interrupts.reserve_msix(2):
            assert driver.verdict.donors == 2
            assert "2 of 4 vectors, 2 in use by the application" in str(driver.verdict.link("donors"))
        assert driver.verdict.donors == 3


class WithMsi(MinimalModel):
    """A function that has MSI beside MSI-X."""

    msi = 4


def test_idle_donors_make_room_for_msi_and_used_ones_do_not() -> None:
    device = Device(SoftwareDevice(InProcessLink(WithMsi("both")), Platform()))
    with device, Minimal.start_on(device) as driver:
        irq = driver.ims.allocate()
        with pytest.raises(DeviceBusy, match=rf"enable MSI: MSI-X is in use \(vectors {irq.donor}\)"):
            device.interrupts.open_msi()
        assert delivered(driver, irq)
        irq.close()
        (message,) = device.interrupts.open_msi()
        message.trigger()
        assert arrives(message)
        message.close()
        with driver.ims.allocate() as irq:
            assert delivered(driver, irq)


def test_an_exclusive_slot_disturbs_as_few_others_as_it_can() -> None:
    with vfio_ims.open_driver("mock:minimal") as driver, driver.ims.allocate_group(5) as irqs:
        before = {irq.slot: irq.donor for irq in irqs}
        (crowded,) = {donor for donor in before.values() if [*before.values()].count(donor) == 2}
        with driver.ims.allocate(exclusive=True) as alone:
            moved = [irq for irq in irqs if irq.donor != before[irq.slot]]
            assert alone.donor != crowded
            assert [before[irq.slot] for irq in moved] == [alone.donor]
            assert all(delivered(driver, irq) for irq in (alone, *irqs))


def test_a_donor_that_cannot_be_detached_keeps_no_other_attached() -> None:
    with vfio_ims.open_driver("mock:minimal") as driver:
        driver.ims.allocate_group(4)
        driver.ims.allocate(exclusive=True).fileno()
        with inject(driver, "fail:set_irqs:EIO"), pytest.raises(VfioImsError, match="injected"):
            driver.ims.close()
        assert driver.device.interrupts.msix.attached == ()
