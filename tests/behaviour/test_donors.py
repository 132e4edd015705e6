# SPDX-License-Identifier: Apache-2.0
"""What is taken is given back: donors are exclusive or shared by use, and MSI-X has its vectors back on demand."""

from __future__ import annotations

import select

import pytest

from tests.behaviour.common import EVERYWHERE, TIMEOUT, arrives, delivered, fire
from vfio_ims.driver import Driver
from vfio_ims.errors import ClosedError, DeviceBusy, UsageError
from vfio_ims.testing import silent

pytestmark = EVERYWHERE


def donors_of(driver: Driver) -> int:
    return len(driver.ims.eligible_vectors)


def check_spread(driver: Driver) -> None:
    """A group of two slots for each donor is spread over all of them, and each slot is delivered."""
    count = min(2 * donors_of(driver), driver.ims.table.size)
    with driver.ims.allocate_group(count) as irqs:
        assert {irq.donor for irq in irqs} == set(driver.ims.eligible_vectors)
        assert all(delivered(driver, irq) for irq in irqs)


# --- exclusive is a state of use --------------------------------------------------------------------------------------


def test_closed_exclusive_slots_leave_every_donor_to_shared_ones(ims_driver: Driver) -> None:
    for _ in range(2):
        taken = [ims_driver.ims.allocate(exclusive=True) for _ in range(donors_of(ims_driver))]
        assert all(delivered(ims_driver, irq) for irq in taken)
        for irq in taken:
            irq.close()
        check_spread(ims_driver)


def test_an_exclusive_slot_whose_descriptor_was_handed_out_gives_its_donor_back(ims_driver: Driver) -> None:
    irq = ims_driver.ims.allocate(exclusive=True)
    vector = irq.donor
    assert irq.fileno() == irq.fileno()
    irq.close()
    with ims_driver.ims.allocate(vector=vector) as shared:
        assert delivered(ims_driver, shared)
    check_spread(ims_driver)


def test_an_exclusive_slot_is_found_while_every_donor_is_shared(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate_group(donors_of(ims_driver) + 1) as irqs:
        with ims_driver.ims.allocate(exclusive=True) as alone:
            assert alone.donor not in {irq.donor for irq in irqs}
            assert delivered(ims_driver, alone)
            for irq in irqs:
                irq.wait(0)  # those that were moved were woken once
            assert all(delivered(ims_driver, irq) for irq in irqs)
            assert silent(alone)
        assert all(delivered(ims_driver, irq) for irq in irqs)


def test_a_slot_that_is_written_with_another_donors_message_ends_its_exclusive_use(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    with domain.allocate() as other, domain.allocate(exclusive=True) as irq:
        domain.write(irq.slot, other.message)
        assert irq.donor == other.donor
        assert delivered(ims_driver, irq)
        check_spread_donors = {donor.vector for donor in domain.report().donors if donor.exclusive}
        assert not check_spread_donors


# --- the least loaded -------------------------------------------------------------------------------------------------


def test_the_least_loaded_donor_is_taken(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    first, second, *others = domain.eligible_vectors
    for vector in (first, first, first, second):
        domain.allocate(vector=vector)
    for vector in others:
        domain.allocate(vector=vector)
        domain.allocate(vector=vector)
    assert domain.allocate().donor == second, "it has one slot, every other two or three"
    loads = {donor.vector: donor.slots for donor in domain.report().donors}
    assert loads == {first: 3, second: 2} | dict.fromkeys(others, 2)


# --- MSI-X beside IMS -------------------------------------------------------------------------------------------------


def test_an_idle_donor_is_given_up_for_msix(ims_driver: Driver) -> None:
    interrupts = ims_driver.device.interrupts
    vectors = ims_driver.ims.eligible_vectors
    for _ in range(2):
        ims_driver.ims.allocate_group(len(vectors)).close()
        opened = [interrupts.open_msix(vector) for vector in vectors]
        for vector in opened:
            vector.trigger()
            assert arrives(vector)
        assert not any(vector.wait(0) for vector in opened)
        with pytest.raises(DeviceBusy, match=rf"{len(vectors)} the application's"):
            ims_driver.ims.allocate()
        for vector in opened:
            vector.close()
        check_spread(ims_driver)


def test_shared_slots_move_to_other_donors_for_msix(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    with domain.allocate_group(donors_of(ims_driver) + 2) as irqs:
        target = irqs[0].donor
        moved = [irq for irq in irqs if irq.donor == target]
        stayed = [irq for irq in irqs if irq.donor != target]
        assert len(moved) == 2
        with ims_driver.device.interrupts.open_msix(target) as vector:
            assert all(irq.wait(0) for irq in moved), "a moved slot's owner is woken once"
            assert not any(irq.wait(0) for irq in stayed)
            assert target not in {irq.donor for irq in irqs}
            assert all(slot.in_order for slot in domain.report().slots)
            for irq in irqs:
                irq.wakeup.take()
                assert delivered(ims_driver, irq)
            assert silent(vector), "no slot holds its message any more"
            vector.trigger()
            assert arrives(vector)
        assert all(delivered(ims_driver, irq) for irq in irqs)


def test_a_fire_before_its_slot_moves_is_not_lost(ims_driver: Driver) -> None:
    irqs = ims_driver.ims.allocate_group(donors_of(ims_driver) + 1)
    target = irqs[0].donor
    fire(ims_driver, irqs[0])
    ims_driver.fire(irqs.slots[-1])  # on the same donor, and its owner holds no interrupt yet
    with ims_driver.device.interrupts.open_msix(target):
        assert arrives(irqs[0])
        assert arrives(irqs[-1])


def test_masks_survive_a_move(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate(masked=True) as irq:
        ims_driver.fire(irq.slot)
        with ims_driver.device.interrupts.open_msix(irq.donor):
            irq.wait(0)
            assert irq.masked
            assert silent(irq)
            irq.unmask()
            assert arrives(irq)


def test_a_vector_that_slots_cannot_leave_is_refused_with_their_number(ims_driver: Driver) -> None:
    domain, interrupts = ims_driver.ims, ims_driver.device.interrupts
    alone = domain.allocate(exclusive=True)
    with pytest.raises(
        DeviceBusy, match=rf"vector {alone.donor}: .*donor of slot {alone.slot}, and it is allocated as exclusive"
    ) as caught:
        interrupts.open_msix(alone.donor)
    assert "close that slot" in caught.value.hint
    vector = next(vector for vector in domain.eligible_vectors if vector != alone.donor)
    pinned = [domain.allocate(vector=vector) for _ in range(2)]
    with pytest.raises(DeviceBusy, match=rf"donor of 2 slots \({pinned[0].slot}, {pinned[1].slot}\), and .* asked for"):
        interrupts.open_msix(vector)
    assert all(delivered(ims_driver, irq) for irq in (alone, *pinned))
    for irq in (alone, *pinned):
        irq.close()
    for vector in (0, 1):
        interrupts.open_msix(vector).close()


def test_the_last_shared_donor_is_not_taken_from_its_slots(ims_driver: Driver) -> None:
    domain, interrupts = ims_driver.ims, ims_driver.device.interrupts
    *most, last = domain.eligible_vectors
    opened = [interrupts.open_msix(vector) for vector in most]
    with domain.allocate() as irq:
        assert irq.donor == last
        with pytest.raises(DeviceBusy, match=rf"donor of slot {irq.slot}, and no other vector can be their donor"):
            interrupts.open_msix(last)
        assert delivered(ims_driver, irq)
        opened.pop().close()
        with interrupts.open_msix(last):
            irq.wait(0)
            assert delivered(ims_driver, irq)


def test_reserved_vectors_are_no_donors_until_they_are_released(ims_driver: Driver) -> None:
    domain, interrupts = ims_driver.ims, ims_driver.device.interrupts
    first, second, *others = domain.eligible_vectors
    with domain.allocate_group(donors_of(ims_driver)) as irqs:
        with interrupts.reserve_msix(first, second) as reserved:
            assert reserved.vectors == (first, second)
            assert {irq.donor for irq in irqs} == set(others)
            assert domain.allocate().donor in others
            with interrupts.open_msix(second) as vector:
                vector.trigger()
                assert arrives(vector)
            with pytest.raises(DeviceBusy, match="take vector"):
                domain.allocate(vector=first)
        with domain.allocate(vector=first) as irq:
            assert delivered(ims_driver, irq)
            with pytest.raises(DeviceBusy, match=f"reserve MSI-X vector {first}"):
                interrupts.reserve_msix(second, first)
            with domain.allocate(vector=second) as again:
                assert delivered(ims_driver, again)
    with pytest.raises(UsageError, match="vector"):
        interrupts.reserve_msix(interrupts.msix.count)
    check_spread(ims_driver)


def test_closing_the_domain_gives_every_vector_back(ims_driver: Driver) -> None:
    interrupts = ims_driver.device.interrupts
    ims_driver.ims.allocate_group(4)
    ims_driver.ims.allocate(exclusive=True).fileno()
    ims_driver.ims.close()
    assert interrupts.msix.attached == ()
    assert not select.select([interrupts.hub.fileno()], [], [], 0)[0]
    with interrupts.open_msix(0) as vector:
        vector.trigger()
        assert vector.wait(TIMEOUT)


def test_waiting_beside_a_handed_out_descriptor_is_refused(ims_driver: Driver) -> None:
    """Its events are read by the caller's loop: a wait would never end."""
    with ims_driver.ims.allocate(exclusive=True) as irq:
        descriptor = irq.fileno()
        fire(ims_driver, irq)
        assert select.select([descriptor], [], [], TIMEOUT)[0]
        with pytest.raises(UsageError, match=r"handed out by fileno\(\)"):
            irq.wait(0)
    with ims_driver.device.interrupts.open_msix(ims_driver.ims.eligible_vectors[0]) as vector:
        vector.fileno()
        with pytest.raises(UsageError, match=r"handed out by fileno\(\)"):
            vector.wait(0)
    check_spread(ims_driver)


def test_a_closed_member_of_a_group_is_named(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate_group(3) as irqs:
        irqs[1].close()
        with pytest.raises(ClosedError, match=f"use slot {irqs.slots[1]}: it was closed"):
            list(irqs)
