# SPDX-License-Identifier: Apache-2.0
"""What a platform in software shows on demand: old kernels, no remapping, moved vectors, merging, other devices."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import vfio_ims
from tests.behaviour.common import arrives, delivered, fire
from vfio_ims.backends.software.device import SoftwareDevice
from vfio_ims.driver import Driver
from vfio_ims.errors import UnsupportedError, UsageError
from vfio_ims.ims import FireStatus, ImsInterrupt
from vfio_ims.messages import Message
from vfio_ims.platform import KINDS
from vfio_ims.platform.faults import FaultKind
from vfio_ims.testing import silent


def port_of(driver: Driver) -> SoftwareDevice:
    port = driver.device.port
    assert isinstance(port, SoftwareDevice)
    return port


def move(driver: Driver, irq: ImsInterrupt, cpu: int, *, settle: bool = True) -> None:
    """As irqbalance does."""
    port = port_of(driver)
    port.platform.set_affinity(port.function, irq.donor, cpu, settle=settle)


def cpu_beside(irq: ImsInterrupt) -> int:
    return 1 + (irq.message.address >> 12 & 0xFF) % 3


# --- no dynamic MSI-X (before Linux 6.5): all vectors up front --------------------------------------------------------


@pytest.fixture
def old_kernel() -> Iterator[Driver]:
    with vfio_ims.open_driver("mock:minimal,dynamic=no") as driver:
        yield driver


def test_without_dynamic_msix_donors_are_there_from_the_start(old_kernel: Driver) -> None:
    verdict = old_kernel.verdict
    assert verdict.usable
    assert "all vectors are taken up front (NORESIZE)" in str(verdict.link("dynamic MSI-X"))
    with old_kernel.ims.allocate() as first:
        before = first.message
        others = [old_kernel.ims.allocate(exclusive=True) for _ in range(3)]
        assert first.message == before == old_kernel.device.interrupts.msix.message(first.donor)
        assert all(delivered(old_kernel, irq) for irq in (first, *others))


def test_without_dynamic_msix_vectors_come_and_go(old_kernel: Driver) -> None:
    interrupts = old_kernel.device.interrupts
    for _ in range(2):
        with interrupts.open_msix(3) as third, interrupts.open_msix(0) as first:
            assert interrupts.msix.message(0) != interrupts.msix.message(3)
            third.trigger()
            assert arrives(third)
            assert silent(first)
        assert interrupts.msix.attached == ()


# --- no interrupt remapping: a vector that moves has another message --------------------------------------------------


@pytest.fixture
def bare_host() -> Iterator[Driver]:
    with vfio_ims.open_driver("mock:minimal,remapping=no") as driver:
        yield driver


def test_the_verdict_says_that_nothing_remaps(bare_host: Driver) -> None:
    verdict = bare_host.verdict
    assert verdict.usable
    assert "remapping OFF: slots are rewritten when a vector moves" in str(verdict)
    assert bare_host.ims.needs_checks


def test_check_notices_a_moved_vector_and_repairs_its_slots(bare_host: Driver) -> None:
    domain = bare_host.ims
    donor = domain.eligible_vectors[0]
    irqs = [domain.allocate(vector=donor) for _ in range(3)]
    bystander = domain.allocate(exclusive=True)
    assert domain.check() == []
    stale = irqs[0].message
    move(bare_host, irqs[0], cpu_beside(irqs[0]))
    fire(bare_host, irqs[0])
    assert port_of(bare_host).platform.faults.counts[FaultKind.MESSAGE] == 1
    assert domain.check() == [donor]
    assert domain.check() == []
    assert irqs[0].message != stale
    assert all(slot.in_order for slot in domain.report().slots)
    assert all(irq.wait(0) for irq in irqs), "owners that fired meanwhile must look"
    assert silent(bystander)
    assert all(delivered(bare_host, irq) for irq in (*irqs, bystander))


def test_a_stale_slot_is_found_before_a_timeout_is_reported(bare_host: Driver) -> None:
    irq = bare_host.ims.allocate()
    move(bare_host, irq, cpu_beside(irq))
    fire(bare_host, irq)  # the message goes to a CPU vector that was freed
    assert irq.wait(0.05), "the interrupt was lost, so its owner must be woken, and no timeout reported"
    assert delivered(bare_host, irq)
    assert silent(irq)


def test_masks_survive_a_repair(bare_host: Driver) -> None:
    irq = bare_host.ims.allocate(masked=True)
    move(bare_host, irq, cpu_beside(irq))
    bare_host.fire(irq.slot)
    assert bare_host.ims.check() == [irq.donor]
    irq.wait(0)
    assert irq.pending
    assert silent(irq)
    irq.unmask()
    assert arrives(irq)


def test_the_old_vector_lives_until_a_message_reaches_the_new_one(bare_host: Driver) -> None:
    irq = bare_host.ims.allocate()
    move(bare_host, irq, cpu_beside(irq), settle=False)
    assert delivered(bare_host, irq)
    assert bare_host.ims.check() == [irq.donor]
    irq.wait(0)
    assert delivered(bare_host, irq)


def test_reset_repairs_too(bare_host: Driver) -> None:
    irq = bare_host.ims.allocate()
    move(bare_host, irq, cpu_beside(irq))
    bare_host.reset()
    irq.wait(0)
    assert delivered(bare_host, irq)


def test_with_remapping_a_moved_vector_keeps_its_message() -> None:
    with vfio_ims.open_driver("mock:minimal") as driver, driver.ims.allocate() as irq:
        before = irq.message
        move(driver, irq, 2)
        assert not driver.ims.needs_checks
        assert driver.ims.check() == []
        assert irq.message == before
        assert delivered(driver, irq)


# --- a table that cannot be mapped ------------------------------------------------------------------------------------


@pytest.fixture
def unmappable() -> Iterator[Driver]:
    with vfio_ims.open_driver("mock:minimal,mappable=no") as driver:
        yield driver


def test_the_verdict_names_the_table_that_cannot_be_mapped(unmappable: Driver) -> None:
    verdict = unmappable.verdict
    assert verdict.usable is False
    assert [link.name for link in verdict.broken] == ["MSI-X table mappable"]
    assert "IMS unusable: MSI-X table mappable: no, the MSI-X table cannot be mapped" in str(verdict)
    assert "Linux 4.16" in str(verdict)


@pytest.mark.parametrize("exclusive", [False, True])
def test_allocating_says_why_and_leaves_nothing(unmappable: Driver, exclusive: bool) -> None:
    with pytest.raises(UnsupportedError, match=r"message of vector \d: the MSI-X table cannot be mapped") as caught:
        unmappable.ims.allocate(exclusive=exclusive)
    assert "Linux 4.16" in caught.value.hint
    assert unmappable.device.interrupts.msix.attached == ()
    assert not unmappable.ims.report().slots
    with pytest.raises(UnsupportedError):
        unmappable.ims.allocate_group(3)


def test_what_needs_no_message_works_all_the_same(unmappable: Driver) -> None:
    with unmappable.ims.allocate_polled() as slot, unmappable.device.interrupts.open_msix(1) as vector:
        unmappable.fire(slot.slot)
        assert slot.poll()
        vector.trigger()
        assert arrives(vector)
        unmappable.fire_vector(1)
        assert arrives(vector)


# --- other devices on the same host -----------------------------------------------------------------------------------


@pytest.mark.parametrize("platform", KINDS)
def test_a_foreign_message_is_stopped_by_remapping_alone(platform: str) -> None:
    name = f"mock:minimal,platform={platform}"
    with vfio_ims.open_driver(name) as victim, vfio_ims.open_driver(name, share=victim.device) as attacker:
        target = [victim.ims.allocate(exclusive=True) for _ in range(2)][1]
        irq = attacker.ims.allocate()
        host = port_of(victim).platform
        attacker.ims.write(irq.slot, target.message, unsafe=True)
        assert attacker.fire(irq.slot).status is FireStatus.SENT
        if host.remapping:
            assert silent(target)
            (fault,) = host.faults
            assert fault.requester == port_of(attacker).function.requester
            assert fault.address == target.message.address
        else:
            assert arrives(target), "here the sender is not checked"
        assert delivered(victim, target)


@pytest.mark.parametrize("platform", KINDS)
def test_a_foreign_message_is_refused_unasked_and_named_by_the_platform(platform: str) -> None:
    with vfio_ims.open_driver(f"mock:minimal,platform={platform}") as driver:
        irq = driver.ims.allocate()
        foreign = Message(irq.message.address, irq.message.data + 0x40)
        with pytest.raises(UsageError) as caught:
            driver.ims.write(irq.slot, foreign)
        known = driver.device.port.message_platform().of_vector(foreign)
        assert f"{known} is neither of a vector of this device nor of its DMA memory" in str(caught.value)


def test_a_message_of_a_detached_vector_reaches_no_eventfd() -> None:
    with vfio_ims.open_driver("mock:minimal") as driver:
        with driver.device.interrupts.open_msix(3):
            stale = driver.device.interrupts.msix.message(3)
        irq = driver.ims.allocate()
        driver.ims.write(irq.slot, stale, unsafe=True)
        fire(driver, irq)
        platform = port_of(driver).platform
        assert platform.faults.counts[FaultKind.MESSAGE] == 1
        assert silent(irq)


def test_memory_that_is_not_mapped_is_a_fault_in_the_log() -> None:
    with vfio_ims.open_driver("mock:minimal") as driver:
        irq = driver.ims.allocate()
        driver.ims.write(irq.slot, Message(0x7000_0000, 1), unsafe=True)
        driver.fire(irq.slot)
        (fault,) = port_of(driver).platform.faults
        assert (fault.kind, fault.address) == (FaultKind.DMA_WRITE, 0x7000_0000)


# --- merging ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("merge", "least", "most"), [("always", 1, 1), ("never", 64, 64), ("random,seed=7", 2, 63)])
def test_messages_in_flight_together_merge_by_the_knob(merge: str, least: int, most: int) -> None:
    with vfio_ims.open_driver(f"mock:minimal,merge={merge}") as driver:
        irq = driver.ims.allocate(exclusive=True)
        descriptor = irq.fileno()
        for _ in range(64):
            fire(driver, irq)
        assert least <= os.eventfd_read(descriptor) <= most


@pytest.mark.parametrize("merge", ["always", "never", "random"])
def test_every_owner_of_a_shared_donor_is_woken_however_messages_merge(merge: str) -> None:
    with vfio_ims.open_driver(f"mock:minimal,merge={merge}") as driver, driver.ims.allocate_group(16) as irqs:
        fires = 0
        for _ in range(5):
            for irq in irqs:
                fire(driver, irq)
                fires += 1
            assert all(arrives(irq) for irq in irqs)
        events = sum(donor.events for donor in driver.ims.report().donors)
        assert 4 <= events <= fires
