# SPDX-License-Identifier: Apache-2.0
"""Many slots on few donors: who is woken, and groups that are allocated all or none."""

from __future__ import annotations

import select
import time

import pytest

from tests.behaviour.common import EVERYWHERE, TIMEOUT, WHOLE, arrives, delivered, fire, is_quiet
from vfio_ims.driver import Driver
from vfio_ims.errors import ClosedError, DeviceBusy, UsageError
from vfio_ims.ims import ImsInterrupt
from vfio_ims.testing import silent

pytestmark = EVERYWHERE


def crowd(driver: Driver) -> int:
    """More slots than donors."""
    return min(driver.verdict.donors + 3, driver.ims.table.size)


def test_every_slot_of_a_crowd_is_found_by_its_owner(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate_group(crowd(ims_driver)) as irqs:
        for irq in irqs:
            assert delivered(ims_driver, irq), f"{irq} was not woken"


def test_owners_on_other_donors_sleep_on(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate_group(crowd(ims_driver)) as irqs:
        target = irqs[0]
        assert delivered(ims_driver, target)
        ims_driver.ims.hub.drain()
        assert not any(irq.wait(0) for irq in irqs if irq.donor != target.donor)


def test_the_source_tells_apart_those_on_one_donor(ims_driver: Driver) -> None:
    donor = ims_driver.ims.eligible_vectors[0]
    irqs = [ims_driver.ims.allocate(vector=donor) for _ in range(3)]
    assert delivered(ims_driver, irqs[1])
    if ims_driver.fired([irq.slot for irq in irqs]) is None:
        assert all(irq.wait(0) for irq in (irqs[0], irqs[2])), "without a source every owner on the donor is woken"
    else:
        assert silent(irqs[0])
        assert silent(irqs[2])


def test_fires_of_several_on_one_donor_wake_them_all(ims_driver: Driver) -> None:
    donor = ims_driver.ims.eligible_vectors[0]
    irqs = [ims_driver.ims.allocate(vector=donor) for _ in range(4)]
    for irq in irqs:
        fire(ims_driver, irq)
    assert all(arrives(irq) for irq in reversed(irqs))


def test_a_masked_slot_does_not_wake_with_its_donor_when_the_source_tells(ims_driver: Driver) -> None:
    donor = ims_driver.ims.eligible_vectors[0]
    awake, asleep = ims_driver.ims.allocate(vector=donor), ims_driver.ims.allocate(vector=donor, masked=True)
    ims_driver.fire(asleep.slot)
    assert delivered(ims_driver, awake)
    if ims_driver.fired([awake.slot]) is not None:
        assert silent(asleep)
    assert asleep.pending
    asleep.unmask()
    assert arrives(asleep)


def test_the_hub_is_one_descriptor_for_all(ims_driver: Driver) -> None:
    hub = ims_driver.ims.hub
    with ims_driver.ims.allocate_group(crowd(ims_driver)) as irqs:
        held = list(irqs)
        fire(ims_driver, held[0])
        fire(ims_driver, held[1])
        deadline = time.monotonic() + TIMEOUT
        woken: list[ImsInterrupt] = []
        while len(woken) < 2 and time.monotonic() < deadline:
            select.select([hub.fileno()], [], [], 0.1)
            hub.drain()
            woken += [irq for irq in held[:2] if irq.wait(0)]
        assert {irq.slot for irq in woken} == {held[0].slot, held[1].slot}


def test_the_report_counts_events_never_above_fires(ims_driver: Driver) -> None:
    fires = 0
    with ims_driver.ims.allocate_group(crowd(ims_driver)) as irqs:
        for irq in irqs:
            assert delivered(ims_driver, irq)
            fires += 1
        report = ims_driver.ims.report()
        assert 1 <= sum(donor.events for donor in report.donors) <= fires
        assert {donor.vector for donor in report.donors} <= set(ims_driver.ims.eligible_vectors)
        assert [slot.slot for slot in report.slots] == sorted(irqs.slots)
        assert all(slot.in_order for slot in report.slots)
        assert f"{len(irqs)} of {report.size} slots in use" in str(report)


def test_the_report_shows_a_slot_that_was_changed_behind_our_back(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    with domain.allocate() as irq, domain.allocate() as good:
        domain.table.write(irq.slot, domain.table.read(irq.slot).with_mask(True))
        report = domain.report()
        assert {slot.slot: slot.in_order for slot in report.slots} == {irq.slot: False, good.slot: True}
        assert "BUT the device has" in str(report)


def test_slots_can_change_their_donor(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    with domain.allocate_group(3) as irqs:
        assert all(delivered(ims_driver, irq) for irq in irqs)
        targets = [domain.eligible_vectors[-1], domain.eligible_vectors[0], domain.eligible_vectors[-1]]
        domain.retarget(irqs.slots, targets)
        assert [irq.donor for irq in irqs] == targets
        assert all(delivered(ims_driver, irq) for irq in irqs)


# --- groups -----------------------------------------------------------------------------------------------------------


@WHOLE
def test_a_group_is_the_whole_table_if_you_like(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    size = domain.table.size
    with domain.allocate_group(size) as irqs:
        assert sorted(irqs.slots) == list(range(size))
        with pytest.raises(DeviceBusy, match=f"1 wanted, 0 of {size} are free"):
            domain.allocate()
        for irq in (irqs[0], irqs[size // 2], irqs[-1]):
            assert delivered(ims_driver, irq)
    assert all(is_quiet(domain.table, slot) for slot in (0, size // 2, size - 1))
    assert domain.allocated == []


def test_a_group_is_all_or_none(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    size = domain.table.size
    with domain.allocate() as irq:
        with pytest.raises(DeviceBusy, match=f"{size} wanted, {size - 1} of {size} are free"):
            domain.allocate_group(size)
        assert [slot.slot for slot in domain.report().slots] == [irq.slot]
        assert delivered(ims_driver, irq)


@pytest.mark.parametrize("count", [1 << 40, 1 << 70])
def test_more_than_any_table_has_is_refused_before_anything_is_built(ims_driver: Driver, count: int) -> None:
    domain = ims_driver.ims
    with pytest.raises(DeviceBusy, match=f"{count} wanted, {domain.table.size} of {domain.table.size} are free"):
        domain.allocate_group(count)


@pytest.mark.parametrize("count", [0, -1])
def test_an_empty_group_is_refused(ims_driver: Driver, count: int) -> None:
    with pytest.raises(UsageError, match=f"count must be 1 or more, not {count}"):
        ims_driver.ims.allocate_group(count)


def test_a_groups_indices_need_not_be_consecutive(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    holes = [domain.allocate(slot=slot) for slot in range(0, domain.table.size, 2)]
    with domain.allocate_group(domain.table.size // 2) as irqs:
        assert set(irqs.slots) == set(range(1, domain.table.size, 2))
        assert delivered(ims_driver, irqs[-1])
    assert len(domain.report().slots) == len(holes)


def test_a_groups_cookies(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate_group(3, cookies=["a", "b", "c"]) as irqs:
        assert [irq.cookie for irq in irqs] == ["a", "b", "c"]
        assert irqs[1:][0] is irqs[1]
        assert len(irqs) == 3
    with pytest.raises(UsageError, match="one cookie a slot, 3, not 2"):
        ims_driver.ims.allocate_group(3, cookies=["a", "b"])
    assert not ims_driver.ims.report().slots


def test_a_group_is_masked_and_unmasked_together(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate_group(4, masked=True) as irqs:
        for irq in irqs:
            ims_driver.fire(irq.slot)
        assert all(irq.pending for irq in irqs)
        assert silent(irqs[0])
        irqs.unmask()
        assert all(arrives(irq) for irq in irqs)
        irqs.mask()
        for irq in irqs:
            ims_driver.fire(irq.slot)
        assert all(irq.pending for irq in irqs)


def test_a_closed_group_takes_its_interrupts_with_it(ims_driver: Driver) -> None:
    irqs = ims_driver.ims.allocate_group(3)
    first, second, _ = irqs
    first.close()
    irqs.close()
    irqs.close()
    with pytest.raises(ClosedError, match="closed by its group"):
        second.wait(0)
    assert not ims_driver.ims.report().slots


def test_a_fire_before_anybody_holds_the_interrupt_is_found(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate_group(3) as irqs:
        ims_driver.fire(irqs.slots[1])
        deadline = time.monotonic() + TIMEOUT
        while not ims_driver.ims.hub.drain() and time.monotonic() < deadline:
            time.sleep(0.001)
        assert arrives(irqs[1])


def test_a_slot_stays_on_the_vector_that_it_was_given(ims_driver: Driver) -> None:
    domain, interrupts = ims_driver.ims, ims_driver.device.interrupts
    first, *_, last = domain.eligible_vectors
    with domain.allocate() as irq:  # on any
        assert irq.donor == first
        domain.retarget([irq.slot], [last])
        with pytest.raises(DeviceBusy, match=f"slot {irq.slot} asked for this vector"):
            interrupts.open_msix(last)
        assert irq.donor == last
        assert delivered(ims_driver, irq)
