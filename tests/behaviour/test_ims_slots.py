# SPDX-License-Identifier: Apache-2.0
"""One IMS slot: allocated, fired, waited for, held back, given back."""

from __future__ import annotations

import os
import select

import pytest

import vfio_ims
from tests.behaviour.common import MAPPED, TIMEOUT, arrives, delivered, fire, is_quiet
from vfio_ims.driver import Driver
from vfio_ims.errors import ClosedError, DeviceBusy, UnsupportedError, UsageError
from vfio_ims.ims import FireStatus
from vfio_ims.messages import Slot
from vfio_ims.testing import silent

pytestmark = MAPPED


def test_the_verdict_says_that_ims_can_be_used_and_why(ims_driver: Driver) -> None:
    verdict = ims_driver.verdict
    assert verdict.usable
    assert verdict.slots == ims_driver.ims.table.size
    assert verdict.donors == ims_driver.device.interrupts.msix.count - len(ims_driver.reserved_vectors)
    assert f"IMS usable: {verdict.slots} slots, {verdict.donors} donors" in str(verdict)
    assert verdict.link("slot table").word == verdict.link("MSI-X table mappable").word == "yes"
    assert verdict.link("interrupt remapping").word in ("yes", "no")
    with pytest.raises(UsageError, match=r"link must be one of .*interrupt remapping"):
        verdict.link("remaping")


def test_a_fire_arrives_once(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate() as irq:
        assert delivered(ims_driver, irq)
        assert silent(irq)
        for _ in range(3):
            assert delivered(ims_driver, irq)


def test_the_slot_holds_its_donors_message(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate() as irq:
        assert irq.message == ims_driver.device.interrupts.msix.message(irq.donor)
        assert ims_driver.ims.table.read(irq.slot) == Slot(irq.message, masked=False)
        assert str(irq) == f"slot {irq.slot} <- vector {irq.donor}: {irq.message}"


def test_a_donor_is_never_a_reserved_vector(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate_group(min(ims_driver.ims.table.size, 16)) as irqs:
        assert not {irq.donor for irq in irqs} & set(ims_driver.reserved_vectors)


def test_many_slots_are_looked_up_as_each_is(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    with domain.allocate_group(min(domain.table.size, 6)) as irqs:
        first = irqs[1]
        found = domain.interrupts(irqs.slots)
        assert found == irqs[:] == list(irqs)
        assert found[1] is first
        assert domain.vectors_of(irqs.slots) == [irq.donor for irq in found]
        assert domain.donors_of(irqs.slots[2:]) == [domain.donor_of(slot) for slot in irqs.slots[2:]]
        for irq in found:
            assert delivered(ims_driver, irq)
        found[-1].close()
        with pytest.raises(ClosedError, match=f"slot {found[-1].slot}: it was closed"):
            domain.interrupts(irqs.slots)
    with domain.allocate_polled() as polled, pytest.raises(UsageError, match="it copies no donor"):
        domain.vectors_of([polled.slot])


def test_a_masked_slot_holds_its_interrupt_until_unmasked(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate(masked=True) as irq:
        assert irq.masked
        assert not irq.pending
        assert ims_driver.fire(irq.slot).status is FireStatus.PENDING
        assert irq.pending
        assert silent(irq)
        irq.unmask()
        assert arrives(irq)
        assert not irq.pending
        assert silent(irq)


def test_after_mask_returns_nothing_leaves(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate() as irq:
        irq.mask()
        ims_driver.fire(irq.slot)
        ims_driver.fire(irq.slot)
        assert silent(irq)
        assert irq.pending
        irq.mask()
        irq.unmask()
        assert arrives(irq)
        assert delivered(ims_driver, irq)


def test_waiting_times_out(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate() as irq:
        assert not irq.wait(0)
        assert not irq.wait(0.02)
        assert delivered(ims_driver, irq)


def test_an_exclusive_donor_gives_its_descriptor(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate(exclusive=True) as irq, ims_driver.ims.allocate(exclusive=True) as other:
        assert irq.donor != other.donor
        descriptor = irq.fileno()
        assert not select.select([descriptor], [], [], 0)[0]
        fire(ims_driver, irq)
        assert select.select([descriptor], [], [], TIMEOUT)[0]
        assert os.eventfd_read(descriptor) == 1
        assert silent(other)


def test_a_shared_donor_keeps_its_descriptor(ims_driver: Driver) -> None:
    with (
        ims_driver.ims.allocate() as irq,
        pytest.raises(UsageError, match=f"its donor, vector {irq.donor}, is shared") as caught,
    ):
        irq.fileno()
    assert "exclusive=True" in caught.value.hint


def test_exclusive_donors_run_out_with_a_reason(ims_driver: Driver) -> None:
    domain, taken = ims_driver.ims, []
    donors = ims_driver.verdict.donors
    for _ in range(donors):
        taken.append(domain.allocate(exclusive=True))
    with pytest.raises(DeviceBusy, match=f"of {donors} eligible vectors {donors} are exclusive"):
        domain.allocate(exclusive=True)
    with pytest.raises(DeviceBusy):
        domain.allocate()
    assert len(domain.report().slots) == donors
    taken.pop().close()
    with domain.allocate(exclusive=True) as irq:
        assert delivered(ims_driver, irq)


def test_a_slot_and_a_vector_can_be_asked_for(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    last = domain.table.size - 1
    vector = domain.eligible_vectors[-1]
    with domain.allocate(slot=last, vector=vector) as irq:
        assert (irq.slot, irq.donor) == (last, vector)
        assert delivered(ims_driver, irq)
        with pytest.raises(DeviceBusy, match=f"slot {last} is in use"):
            domain.allocate(slot=last)
        with domain.allocate(vector=vector) as second:
            assert second.donor == vector
    with domain.allocate(slot=last) as irq:
        assert delivered(ims_driver, irq)


def test_a_slot_outside_the_table_is_refused(ims_driver: Driver) -> None:
    size = ims_driver.ims.table.size
    for slot in (size, -1):
        with pytest.raises(UsageError, match=f"slot must be below {size}, not {slot}"):
            ims_driver.ims.allocate(slot=slot)
        with pytest.raises(UsageError):
            ims_driver.ims.table.read(slot)
        with pytest.raises(UsageError):
            ims_driver.ims.table.write(slot, Slot())
        with pytest.raises(UsageError):
            ims_driver.ims.table.write_many([(0, Slot()), (slot, Slot())])
    assert not ims_driver.ims.report().slots


def test_a_vector_that_cannot_be_a_donor_is_refused(ims_driver: Driver) -> None:
    count = ims_driver.device.interrupts.msix.count
    for vector in (count, *ims_driver.reserved_vectors):
        with pytest.raises((DeviceBusy, UsageError), match=rf"vector {vector}|vector must be below {count}"):
            ims_driver.ims.allocate(vector=vector)
    with ims_driver.ims.allocate(exclusive=True) as irq, pytest.raises(DeviceBusy, match="exclusive"):
        ims_driver.ims.allocate(vector=irq.donor)
    assert not ims_driver.ims.report().slots


def test_a_cookie_goes_with_its_slot(ims_driver: Driver) -> None:
    queue = object()
    with ims_driver.ims.allocate(cookie=queue) as irq:
        assert irq.cookie is queue
        assert ims_driver.ims.report().slots[0].cookie is queue
    with ims_driver.ims.allocate(slot=irq.slot) as irq:
        assert irq.cookie is None


def test_a_pasid_needs_a_table_that_keeps_one(ims_driver: Driver) -> None:
    if ims_driver.ims.table.has_pasid:
        with ims_driver.ims.allocate(pasid=0x1234) as irq:
            assert irq.pasid == 0x1234
            assert ims_driver.ims.table.read(irq.slot).pasid == 0x1234
            report = ims_driver.fire(irq.slot)  # work without a PASID must not raise a PASID's slot
            assert report.status is FireStatus.REFUSED
            assert report.detail
            assert silent(irq)
    else:
        with pytest.raises(UnsupportedError, match="PASID"):
            ims_driver.ims.allocate(pasid=1)
        with ims_driver.ims.allocate() as irq, pytest.raises(UnsupportedError, match="no PASID"):
            ims_driver.fire(irq.slot, pasid=1)
    assert not ims_driver.ims.report().slots


# --- giving it back ---------------------------------------------------------------------------------------------------


def test_a_closed_slot_is_left_masked_and_zeroed(ims_driver: Driver) -> None:
    table = ims_driver.ims.table
    irq = ims_driver.ims.allocate()
    assert not is_quiet(table, irq.slot)
    irq.close()
    irq.close()
    assert is_quiet(table, irq.slot)
    assert irq.closed
    assert str(irq) == f"slot {irq.slot} (closed)"
    for use in (irq.wait, irq.mask, irq.unmask, irq.fileno, lambda: irq.pending, lambda: irq.donor, irq.__enter__):
        with pytest.raises(ClosedError, match=f"slot {irq.slot}: closed by its owner"):
            use()


def test_closing_one_leaves_its_neighbours_on_the_donor(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate() as kept, ims_driver.ims.allocate(vector=kept.donor) as gone:
        gone.close()
        assert delivered(ims_driver, kept)


def test_a_former_owners_pending_interrupt_wakes_no_owner(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate(masked=True) as former:
        ims_driver.fire(former.slot)
        assert former.pending
    with ims_driver.ims.allocate(slot=former.slot) as irq:
        assert not irq.pending
        assert silent(irq)
        assert delivered(ims_driver, irq)
        assert silent(irq)


def test_a_former_owners_wakeup_wakes_no_owner(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate() as former:
        fire(ims_driver, former)
    with ims_driver.ims.allocate(slot=former.slot, vector=ims_driver.ims.eligible_vectors[-1]) as irq:
        assert silent(irq)


def test_the_domain_leaves_every_slot_quiet(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    table = domain.table
    slots = [domain.allocate().slot, domain.allocate(masked=True).slot, domain.allocate_polled().slot]
    ims_driver.fire(slots[1])
    domain.close()
    assert all(is_quiet(table, slot) for slot in slots)
    assert not table.pending_among(slots)
    assert ims_driver.device.interrupts.msix.attached == ()
    with pytest.raises(ClosedError, match=r"closed by .*test_ims_slots\.py"):
        domain.allocate()


def test_a_closed_device_is_quiet_for_the_next_user(vfio_name: str) -> None:
    with vfio_ims.open_driver(vfio_name) as driver:
        irq = driver.ims.allocate()
        polled = driver.ims.allocate_polled()
    assert irq.closed
    for use in (irq.wait, lambda: irq.pending, lambda: polled.value, polled.poll):
        with pytest.raises(ClosedError):
            use()
    with vfio_ims.open_driver(vfio_name) as driver:
        assert all(is_quiet(driver.ims.table, slot) for slot in (irq.slot, polled.slot))
        with driver.ims.allocate() as irq:
            assert delivered(driver, irq)


def test_polled_slots_are_allocated_together_or_not_at_all(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    if domain.table.limits.one_address:
        pytest.skip("its slots share one address: it can be one word's only")
    with domain.allocate() as other:
        words = domain.allocate_polled_group(3)
        for word in words:
            ims_driver.fire(word.slot)
            assert [each.wait(1 if each is word else 0) for each in words] == [each is word for each in words]
        with pytest.raises(DeviceBusy):
            domain.allocate_polled_group(domain.table.size)
        assert len(domain.allocated) == 4
        for word in words:
            word.close()
        assert domain.allocated == [other.slot]
