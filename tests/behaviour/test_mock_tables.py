# SPDX-License-Identifier: Apache-2.0
"""Slot tables of other shapes than Intel's: no mask, short data, one address for all, entries far apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from tests.behaviour.common import arrives, delivered, is_quiet
from vfio_ims.backends.software.device import SoftwareDevice
from vfio_ims.backends.software.in_process import InProcessLink
from vfio_ims.device import Device
from vfio_ims.drivers.minimal.driver import Minimal
from vfio_ims.drivers.minimal.model import MinimalModel
from vfio_ims.drivers.minimal.registers import SLOTS, Bar0
from vfio_ims.errors import DeviceBusy, DeviceError, UnsupportedError, UsageError
from vfio_ims.ims import SlotArray
from vfio_ims.messages import Message, MessageLimits, Slot
from vfio_ims.models import DeviceModel, ModelBar
from vfio_ims.platform import Platform
from vfio_ims.registers import SlotLayout
from vfio_ims.selftest import check_idle
from vfio_ims.testing import silent

MASKLESS = replace(SLOTS, mask=None, pending=None, control=None, stride=12)
SHORT_DATA = replace(SLOTS, limits=MessageLimits(data_bits=5))
NARROW = replace(SLOTS, limits=MessageLimits(data_bits=8))
ONE_ADDRESS = replace(SLOTS, limits=MessageLimits(one_address=True))
SHARED = SlotLayout(
    bar=0, offset=0x1000, count=14, stride=2, low=None, high=None, data=0, control=None, mask=None, pending=None,
    shared_address=(0x1100, 0x1104),
)  # fmt: skip
BITMAPS = SlotLayout(
    bar=0, offset=0x1000, count=40, stride=24, low=8, high=12, data=0, control=None, mask=None, pending=None,
    mask_bitmap=0x1800, pending_bitmap=0x1810,
)  # fmt: skip
SET_CLEAR = SlotLayout(  # masks are read in a third register; one address for all; a 1 drops what pends
    bar=0, offset=0x1000, count=40, stride=4, shared_address=(0x1700, 0x1704), mask_set=0x1800, mask_clear=0x1810,
    mask_bitmap=0x1820, pending_bitmap=0x1830, pending_when=0, pending_access="rw1c",
)  # fmt: skip
SPREAD = replace(SLOTS, stride=256, low=16, high=20, data=0, control=64, mask=31, pending=30, count=14)


@contextmanager
def device_with(layout: SlotLayout, **host: Any) -> Iterator[Device]:
    """The example device with another table, bare."""

    class Model(MinimalModel):
        bars = {0: ModelBar(0x4000, Bar0, slots=layout)}

    with Device(SoftwareDevice(InProcessLink(Model()), Platform(**host), "mock:odd")) as device:
        yield device


@contextmanager
def driver_with(layout: SlotLayout, **host: Any) -> Iterator[Minimal]:
    class Odd(Minimal):
        def ims_table(self) -> SlotArray:
            return SlotArray(self.device, layout)

    with device_with(layout, **host) as device, Odd.start_on(device) as driver:
        yield driver


MASKED = {
    "spread": SPREAD,
    "one address": ONE_ADDRESS,
    "short data": NARROW,
    "bitmaps": BITMAPS,
    "set and clear": SET_CLEAR,
}
EVERY = {**MASKED, "plain": SLOTS, "no mask": MASKLESS, "one address, no mask": SHARED}


@pytest.mark.parametrize("layout", MASKED.values(), ids=MASKED)
def test_entries_of_another_shape_work_alike(layout: SlotLayout) -> None:
    # Remappable messages have handles in their addresses; compatibility ones the same address and data that differ.
    remapping = not layout.limits.one_address
    with driver_with(layout, remapping=remapping, cpus=1) as driver, driver.ims.allocate_group(5) as irqs:
        if layout.limits.one_address is False:
            assert len({irq.donor for irq in irqs}) == 4
        for irq in irqs:
            assert delivered(driver, irq)
        irqs.mask()
        driver.fire(irqs.slots[0])
        assert irqs[0].pending
        irqs.unmask()
        assert arrives(irqs[0])
        slots = irqs.slots
        irqs.close()
        assert all(is_quiet(driver.ims.table, slot) for slot in slots)


@pytest.mark.parametrize("layout", MASKED.values(), ids=MASKED)
def test_masking_many_slots_leaves_the_rest_of_their_entries(layout: SlotLayout) -> None:
    with on_one_cpu(layout) as driver, driver.ims.allocate_group(5) as irqs:
        table, slots = driver.ims.table, irqs.slots
        assert isinstance(table, SlotArray)
        before = table.read_many(slots)
        irqs.mask()
        assert table.read_many(slots) == [entry.with_mask(True) for entry in before]
        for outside in (-1, layout.count):
            with pytest.raises(UsageError):
                table.write_controls([slots[0], outside], before[:2])
        assert table.read_many(slots) == [entry.with_mask(True) for entry in before], "nothing was written"
        table.write_controls([], [])
        table.write_controls(slots[::2], before[::2])
        assert [entry.masked for entry in table.read_many(slots)] == [False, True, False, True, False]


def test_a_table_with_one_address_takes_donors_that_share_it() -> None:
    """With remapping each vector has an address of its own, so one donor fits and the error says why no other does."""
    with driver_with(ONE_ADDRESS) as driver:
        assert all(delivered(driver, irq) for irq in driver.ims.allocate_group(8))
        assert len(driver.ims.report().donors) == 1
        with pytest.raises(DeviceBusy, match=r"vector 1 does not fit: the table has one address for all"):
            driver.ims.allocate(exclusive=True)


def test_a_table_whose_data_is_too_short_says_so() -> None:
    with driver_with(SHORT_DATA, remapping=False) as driver:
        with pytest.raises(
            (DeviceBusy, UnsupportedError), match=r"vector 0 does not fit: the table keeps 5 bits of data"
        ):
            driver.ims.allocate()
        assert driver.device.interrupts.msix.attached == ()
        with driver.ims.allocate_polled() as slot:
            driver.fire(slot.slot)
            assert slot.poll()


def test_a_table_without_a_mask_parks_its_slots_on_our_memory() -> None:
    with driver_with(MASKLESS) as driver:
        domain = driver.ims
        table = domain.table
        parked = table.read(3)
        driver.device.dma.find(parked.message.address)  # a word of ours, or this raises
        with domain.allocate(slot=3) as irq:
            assert delivered(driver, irq)
            with pytest.raises(UnsupportedError, match="no mask"):
                irq.mask()
            assert not irq.pending
        assert table.read(3).message == parked.message
        driver.fire(3)
        with domain.allocate(slot=3) as irq:
            assert silent(irq)
            assert delivered(driver, irq)
        with pytest.raises(UnsupportedError, match="no mask"):
            domain.allocate(masked=True)
        with pytest.raises(UnsupportedError, match="no mask"):
            domain.allocate_group(2).mask()


def test_a_table_without_a_mask_survives_a_reset() -> None:
    with driver_with(MASKLESS) as driver, driver.ims.allocate() as irq:
        driver.reset()
        irq.wait(0)
        assert delivered(driver, irq)
        assert silent(irq)


def test_a_table_that_does_not_keep_its_words_is_refused_and_nothing_stays_open() -> None:
    class Forgetful(MinimalModel):
        def _slot_store(self, layout: SlotLayout) -> Any:
            store = super()._slot_store(layout)
            store.load = lambda offset, size: b"\xff" * size  # type: ignore[method-assign]
            store.reads_plainly = False  # every read comes by ``load``
            return store

    device = Device(SoftwareDevice(InProcessLink(Forgetful()), Platform(), "mock:forgetful"))
    with pytest.raises(DeviceError, match=r"quiesce slot 0: it was written as .* and reads back as") as caught:
        Minimal.start_on(device)
    assert "is the table where its layout says" in caught.value.hint
    assert device.closed


# --- a user who was killed --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flr", ["yes", "no"])
def test_a_killed_users_slots_cannot_fire(flr: str) -> None:
    """The kernel clears bus mastering and frees the vectors; without a function reset the slots stay as they are.

    The next user is given the same vectors, hence the same messages.
    """
    model, platform = MinimalModel("mock:kept", flr=flr), Platform()
    first = Minimal.start_on(opened(model, platform))
    irqs = first.ims.allocate_group(4)
    stale = irqs[0].message
    polled = first.ims.allocate_polled()
    first.device.port.close()  # what the kernel does; nothing of Python's part runs
    assert (model.slots.slot(irqs.slots[0]).message == stale) == (flr == "no")
    device = opened(model, platform)
    vectors = [device.interrupts.open_msix(vector) for vector in range(2)]
    assert stale in [device.interrupts.msix.message(vector) for vector in range(2)]
    with Minimal.start_on(device) as second:
        for slot in (*irqs.slots, polled.slot):
            model.fire(slot)
        assert all(silent(vector) for vector in vectors)
        assert platform.faults.total == 0
        with second.ims.allocate() as irq:
            assert delivered(second, irq)
            assert silent(irq)
    model.close()
    with pytest.raises(Exception, match="closed"):
        first.close()


def opened(model: DeviceModel, platform: Platform) -> Device:
    return Device(SoftwareDevice(InProcessLink(model, keep=True), platform))


# --- neighbours -------------------------------------------------------------------------------------------------------


def on_one_cpu(layout: SlotLayout) -> Any:
    """A host on which several donors fit any of these tables: their messages differ in data only."""
    return driver_with(layout, remapping=False, cpus=1)


@pytest.mark.parametrize("layout", EVERY.values(), ids=EVERY)
def test_closing_a_slot_leaves_its_neighbours_alone(layout: SlotLayout) -> None:
    with on_one_cpu(layout) as driver:
        below, middle, above = (driver.ims.allocate(slot=slot) for slot in range(3))
        for irq in (below, middle, above):
            assert delivered(driver, irq)
        if driver.ims.table.has_mask:
            middle.mask()
            assert delivered(driver, below)
            assert delivered(driver, above)
            middle.unmask()
        middle.close()
        assert delivered(driver, below)
        assert delivered(driver, above)
        with driver.ims.allocate(slot=1) as again:
            assert all(delivered(driver, irq) for irq in (again, below, above))
        with driver.ims.allocate_group(4) as group:
            assert all(delivered(driver, irq) for irq in (*group, below, above))
        assert delivered(driver, below)
        assert all(entry.in_order for entry in driver.ims.report().slots)


@pytest.mark.parametrize("layout", EVERY.values(), ids=EVERY)
def test_slots_of_every_shape_are_quiet_after_the_last_one_closed(layout: SlotLayout) -> None:
    with on_one_cpu(layout) as driver:
        domain, size = driver.ims, layout.count
        opened = domain.table.read_many(range(size))
        with domain.allocate_group(5) as irqs:
            assert all(delivered(driver, irq) for irq in irqs)
        assert domain.table.read_many(range(size)) == opened
        if not layout.has_mask:
            driver.device.dma.find(opened[0].message.address)  # a word of ours, or this raises
        assert check_idle(driver) == ()


@pytest.mark.parametrize("layout", EVERY.values(), ids=EVERY)
def test_slots_of_every_shape_survive_a_reset(layout: SlotLayout) -> None:
    with on_one_cpu(layout) as driver, driver.ims.allocate_group(5) as irqs:
        driver.reset()
        for irq in irqs:
            irq.wait(0)
            assert delivered(driver, irq)


@pytest.mark.parametrize("layout", [ONE_ADDRESS, SHARED], ids=["masked", "no mask"])
def test_an_address_that_slots_share_stays_while_one_of_them_is_in_use(layout: SlotLayout) -> None:
    with on_one_cpu(layout) as driver:
        domain = driver.ims
        with domain.allocate() as irq:
            with pytest.raises(UnsupportedError, match=r"one address for all, now 0xfee"):
                domain.allocate_polled()
            memory = driver.device.dma.allocate(4096)
            other = domain.allocate()
            with pytest.raises(UnsupportedError, match="one address for all"):
                domain.write(other.slot, Message(memory.iova, 1))
            assert delivered(driver, irq)
            other.close()
        with domain.allocate_polled() as polled:
            driver.fire(polled.slot)
            assert polled.poll()
            with pytest.raises(DeviceBusy, match="vector 0 does not fit: the table has one address for all"):
                domain.allocate()
            driver.fire(polled.slot)
            assert polled.poll()
        with domain.allocate() as irq:
            assert delivered(driver, irq)


def test_what_is_parked_fits_the_data_that_a_table_keeps() -> None:
    with driver_with(replace(MASKLESS, limits=MessageLimits(data_bits=16))) as driver:
        parked = driver.ims.table.read(0).message
        assert parked.data == 0x726B
        with driver.ims.allocate() as irq:
            assert delivered(driver, irq)


def test_a_message_that_a_table_cannot_hold_is_refused() -> None:
    with driver_with(replace(SLOTS, limits=MessageLimits(data_bits=16))) as driver, driver.ims.allocate() as irq:
        memory = driver.device.dma.allocate(4096)
        with pytest.raises(UnsupportedError, match=r"keeps 16 bits of data, the message has 0x1234567"):
            driver.ims.write(irq.slot, Message(memory.iova, 0x1234567))
        assert delivered(driver, irq)


# --- pending bits of a former owner -----------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", MASKED.values(), ids=MASKED)
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a slot in use"])
def test_a_pending_bit_of_a_former_owner_is_not_the_next_ones(layout: SlotLayout, beside: bool) -> None:
    """The device raises a slot without an owner: it pends. The next owner finds no pending bit and is not woken."""
    with on_one_cpu(layout) as driver:
        neighbour = driver.ims.allocate(slot=0) if beside else None
        driver.fire(5)
        assert driver.ims.table.pending(5)
        with driver.ims.allocate(slot=5, masked=True) as irq:
            assert not irq.pending
            assert driver.ims.table.read(5) == Slot(irq.message, masked=True)
            irq.wait(0)  # where one address serves all, a spurious wake-up is allowed
            irq.unmask()
            assert silent(irq)
            assert delivered(driver, irq)
        if neighbour is not None:
            neighbour.wait(0)
            assert delivered(driver, neighbour)


def test_what_pends_is_dropped_without_a_wake_up_where_the_device_can() -> None:
    """Beside a slot in use the one address cannot go to the scratch word; without a 1 to write, its owner is woken."""
    with on_one_cpu(SET_CLEAR) as driver, driver.ims.allocate() as neighbour:
        with driver.ims.allocate(slot=5, masked=True) as irq:
            driver.fire(5)
            assert irq.pending
            irq.mask()
            assert irq.pending  # a write of the mask drops nothing
        assert not driver.ims.table.pending(5)
        assert silent(neighbour)
        driver.fire(7)
        with driver.ims.allocate(slot=7) as irq:
            assert silent(irq)
            assert silent(neighbour)
            assert delivered(driver, irq)


def test_a_pending_bit_goes_to_the_donor_where_the_table_takes_no_memory_address() -> None:
    limits = MessageLimits(address_mask=0x000F_FFFC, address_fixed=0xFEE0_0000)
    with on_one_cpu(replace(SLOTS, limits=limits)) as driver:
        driver.fire(3)
        with driver.ims.allocate(slot=3, masked=True) as irq:
            assert not irq.pending
            irq.wait(0)
            irq.unmask()
            assert silent(irq)
            assert delivered(driver, irq)
            driver.ims.set_masked(3, True)
            driver.fire(3)
            assert irq.pending
        assert not driver.ims.table.pending(3)
        assert check_idle(driver) == ()
