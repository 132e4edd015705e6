# SPDX-License-Identifier: Apache-2.0
"""Polled slots, foreign messages, and slots that a former user left programmed."""

from __future__ import annotations

import time

import pytest

import vfio_ims
from tests.behaviour.common import MAPPED, TIMEOUT, arrives, delivered, driver_class, is_quiet, table_of
from vfio_ims.driver import Driver
from vfio_ims.errors import ClosedError, DeviceBusy, UsageError
from vfio_ims.ims.polled import poll_each
from vfio_ims.messages import Message, Slot
from vfio_ims.native.access import poll_memory
from vfio_ims.testing import silent

pytestmark = MAPPED


def test_a_polled_slot_is_a_flag_that_its_owner_clears(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate_polled() as slot:
        assert slot.value == 0
        assert not slot.poll()
        assert not slot.wait(0.01)
        ims_driver.fire(slot.slot)
        assert arrives(slot)
        assert not slot.poll()
        ims_driver.fire(slot.slot)
        ims_driver.fire(slot.slot)
        time.sleep(0.2)  # a device may say that it fired before its message has landed
        assert slot.value == 1
        assert slot.value == 1
        assert slot.poll()
        assert silent(slot)


def test_many_polled_slots_are_looked_at_and_cleared_at_once(ims_driver: Driver) -> None:
    slots = ims_driver.ims.allocate_polled_group(min(ims_driver.ims.table.size, 5))
    for slot in slots[1::2]:
        ims_driver.fire(slot.slot)
    time.sleep(0.2)  # a device may say that it fired before its message has landed
    assert poll_each(slots) == [number % 2 == 1 for number in range(len(slots))]
    assert not any(poll_each(slots))
    slots[0].close()
    with pytest.raises(ClosedError, match=f"slot {slots[0].slot}: closed by its owner"):
        poll_each(slots)
    for slot in slots:
        slot.close()


def test_polled_slots_need_no_donor(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    count = min(domain.table.size, 32)
    slots = [domain.allocate_polled() for _ in range(count)]
    assert ims_driver.device.interrupts.msix.attached == ()
    for slot in slots[::5]:
        ims_driver.fire(slot.slot)
    assert [slot.poll() for slot in slots] == [index % 5 == 0 for index in range(count)]
    assert len({slot.message for slot in slots}) == count


def test_a_polled_slot_raises_no_interrupt(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate() as irq, ims_driver.ims.allocate_polled() as slot:
        ims_driver.fire(slot.slot)
        assert arrives(slot)
        assert silent(irq)
        assert delivered(ims_driver, irq)
        assert not slot.poll()


def test_a_closed_polled_slot_is_quiet_and_free(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    slot = domain.allocate_polled()
    with domain.allocate(slot=None) as irq, pytest.raises(DeviceBusy):
        domain.allocate_polled(slot=irq.slot)
    slot.close()
    slot.close()
    assert is_quiet(domain.table, slot.slot)
    with pytest.raises(ClosedError, match=f"slot {slot.slot}: closed by its owner"):
        slot.poll()
    with domain.allocate_polled(slot=slot.slot) as again:
        assert not again.poll()


# --- whose messages ---------------------------------------------------------------------------------------------------


def test_a_foreign_message_is_refused(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    with domain.allocate() as irq:
        own = irq.message
        foreign = [Message(own.address ^ 0x20 * 997, own.data), Message(0xFEE0_0000, 0xEF), Message(0xDEAD_0000, 1)]
        for message in foreign:
            with pytest.raises(UsageError, match="neither of a vector of this device nor of its DMA memory") as caught:
                domain.write(irq.slot, message)
            assert "unsafe=True" in caught.value.hint
        assert domain.table.read(irq.slot) == Slot(own, masked=False)
        assert delivered(ims_driver, irq)


def test_own_memory_and_own_messages_are_taken(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    with domain.allocate() as irq, domain.allocate() as other, ims_driver.device.dma.allocate(8) as buffer:
        domain.write(irq.slot, Message(buffer.iova + 4, 0xABCD))
        ims_driver.fire(irq.slot)
        poll_memory(buffer.address + 4, 4, 0xFFFF_FFFF, 0, TIMEOUT, differs=True)  # it fired before its message landed
        assert list(buffer.view[:].cast("I")) == [0, 0xABCD]
        with pytest.raises(UsageError, match="neither"):
            domain.write(irq.slot, Message(buffer.iova + 8, 1))
        domain.write(irq.slot, other.message)
        assert domain.table.read(irq.slot).message == other.message


def test_only_an_allocated_slot_is_written(ims_driver: Driver) -> None:
    message = Message(0x1000, 0)
    for slot in (0, ims_driver.ims.table.size, -1):
        with pytest.raises(UsageError, match=f"slot {slot} is not allocated"):
            ims_driver.ims.write(slot, message, unsafe=True)
    assert is_quiet(ims_driver.ims.table, 0)


# --- what a former user left ------------------------------------------------------------------------------------------


def test_a_slot_left_programmed_does_not_fire_when_the_next_user_masters_the_bus(vfio_name: str) -> None:
    """The former user's slots hold messages that are live again: the same vectors, the same memory."""
    with vfio_ims.open(vfio_name) as device:
        device.config.memory = True
        victim = device.interrupts.open_msix(0)
        memory = device.dma.allocate(4)
        kind = driver_class(device)
        former = kind(device)
        table = former.ims_table()
        message = device.interrupts.msix.message(0)
        table.write_many([(0, Slot(message, masked=False)), (1, Slot(Message(memory.iova, 7), masked=False))])
        assert table.read(0).message == message
        with former, kind.start_on(device) as driver:
            assert device.config.bus_master
            assert is_quiet(table, 0)
            assert is_quiet(table, 1)
            assert silent(victim)
            assert not any(memory.view)
            with driver.ims.allocate(slot=0) as irq:
                assert delivered(driver, irq)
                assert silent(victim)


def test_the_table_can_be_read_before_anything_started(vfio_name: str) -> None:
    with vfio_ims.open(vfio_name) as device, table_of(device) as table:
        assert table.size > 0
        table.read(0)
        table.read(table.size - 1)
        assert not device.config.bus_master


def test_a_former_owners_flag_is_nobodys(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate_polled() as former:
        ims_driver.fire(former.slot)
        assert former.wait(TIMEOUT)
        ims_driver.fire(former.slot)
        word = former.message
    with ims_driver.ims.allocate_polled() as polled:
        assert polled.message == word, "the same word of memory"
        assert not polled.value
        assert not polled.poll()
