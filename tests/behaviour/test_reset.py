# SPDX-License-Identifier: Apache-2.0
"""Function reset: vectors and donors survive, slots are gone and are written again, every waiter is woken once."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from tests.behaviour.common import MAPPED, TIMEOUT, arrives, delivered
from vfio_ims.device import Device
from vfio_ims.driver import Driver
from vfio_ims.errors import ClosedError, DeviceError, UnsupportedError
from vfio_ims.ims import ImsInterrupt
from vfio_ims.testing import silent

pytestmark = MAPPED


def test_vectors_keep_their_messages(vfio_device: Device) -> None:
    msix = vfio_device.interrupts.msix
    vectors = [vfio_device.interrupts.open_msix(vector) for vector in (0, 2)]
    before = [msix.message(vector.vector) for vector in vectors]
    vfio_device.reset()
    vfio_device.config.memory = True
    assert [msix.message(vector.vector) for vector in vectors] == before
    for vector in vectors:
        vector.trigger()
        assert arrives(vector)


def test_the_callers_sink_is_notified(vfio_device: Device) -> None:
    notified: list[int] = []
    vfio_device.after_reset(lambda: notified.append(1))
    vfio_device.reset()
    vfio_device.reset()
    assert notified == [1, 1]


def test_config_space_is_as_before(vfio_device: Device) -> None:
    vfio_device.config.memory = True
    vfio_device.config.bus_master = True
    before = vfio_device.config.snapshot().data[:0x40]
    vfio_device.reset()
    assert vfio_device.config.snapshot().data[:0x40] == before


def test_interrupts_survive(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    shared, exclusive = domain.allocate(cookie="mine"), domain.allocate(exclusive=True)
    before = [(irq.slot, irq.donor, irq.message) for irq in (shared, exclusive)]
    ims_driver.reset()
    assert [(irq.slot, irq.donor, irq.message) for irq in (shared, exclusive)] == before
    assert shared.cookie == "mine"
    assert all(slot.in_order for slot in domain.report().slots)
    for irq in (shared, exclusive):
        irq.wait(0)  # the wake-up of the reset itself
        assert delivered(ims_driver, irq)
        assert silent(irq)


def test_every_owner_is_woken_once(ims_driver: Driver) -> None:
    irqs = [ims_driver.ims.allocate() for _ in range(3)]
    ims_driver.reset()
    assert all(irq.wait(0) for irq in irqs)
    assert all(silent(irq) for irq in irqs)


def test_a_sleeping_thread_is_woken(ims_driver: Driver) -> None:
    irq = ims_driver.ims.allocate()
    woken: list[bool] = []
    thread = threading.Thread(target=lambda: woken.append(arrives(irq)))
    thread.start()
    time.sleep(0.05)
    ims_driver.reset()
    thread.join(TIMEOUT)
    assert woken == [True]


def test_masks_survive_and_pending_bits_do_not(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate(masked=True) as irq:
        ims_driver.fire(irq.slot)
        ims_driver.reset()
        irq.wait(0)
        assert irq.masked
        assert ims_driver.ims.table.read(irq.slot).masked
        assert not irq.pending
        ims_driver.fire(irq.slot)
        assert irq.pending
        irq.unmask()
        assert arrives(irq)


def test_polled_slots_survive(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate_polled() as slot:
        ims_driver.reset()
        ims_driver.fire(slot.slot)
        assert arrives(slot)


def test_slots_are_gone_until_they_are_written_again(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    irqs = domain.allocate_group(3)
    ims_driver.device.reset()
    ims_driver.device.config.memory = True
    ims_driver.device.config.bus_master = True
    assert not any(slot.in_order for slot in domain.report().slots)
    ims_driver.start()
    domain.resync()
    assert all(slot.in_order for slot in domain.report().slots)
    assert all(delivered(ims_driver, irq) for irq in irqs)


def test_a_reset_is_a_good_start_for_the_next(ims_driver: Driver) -> None:
    for _ in range(3):
        ims_driver.reset()
        with ims_driver.ims.allocate() as irq:
            assert delivered(ims_driver, irq)


@pytest.mark.vfio(model="minimal,flr=no", mount=("mock", "vfio-user"))
def test_a_device_without_a_function_reset_says_so_and_is_restarted_all_the_same(ims_driver: Driver) -> None:
    with pytest.raises(UnsupportedError, match="the function has no reset method"):
        ims_driver.device.reset()
    with ims_driver.ims.allocate() as irq:
        ims_driver.reset()
        irq.wait(0)
        assert delivered(ims_driver, irq)


def reset_behind(driver: Driver) -> None:
    """As `echo 1 > …/reset` does to a device that a driver has: slots and state are lost, config space is put back."""
    config = driver.device.config
    memory, master = config.memory, config.bus_master
    driver.device.reset()
    config.memory, config.bus_master = memory, master


def all_is_well_after_a_reset(driver: Driver, *irqs: ImsInterrupt) -> None:
    driver.reset()
    assert driver.ims.check() == []
    for irq in irqs:
        irq.wait(0)  # the wake-up of the reset itself
        assert delivered(driver, irq)


def test_a_reset_by_others_is_noticed(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    irqs = list(domain.allocate_group(3))
    assert domain.check() == []
    reset_behind(ims_driver)
    with pytest.raises(DeviceError) as found:
        domain.check()
    assert "3 of 3 slots do not hold what was written" in str(found.value)
    assert "the device was reset, not by this driver" in str(found.value)
    assert "the driver's reset() starts the device again" in found.value.hint
    for use in (irqs[0].wait, domain.allocate, domain.check):
        with pytest.raises(DeviceError, match="the device was reset, not by this driver"):
            use()
    all_is_well_after_a_reset(ims_driver, *irqs)


def test_waits_are_woken_when_that_is_noticed(ims_driver: Driver) -> None:
    irq = ims_driver.ims.allocate()
    seen: list[BaseException] = []

    def wait() -> None:
        try:
            irq.wait()
        except (DeviceError, ClosedError) as error:  # closed: where a fault ended the test before
            seen.append(error)

    async def wait_in_a_task() -> None:
        other = ims_driver.ims.interrupt(irq.slot)
        with pytest.raises(DeviceError, match="not by this driver"):
            async with asyncio.timeout(TIMEOUT):
                await other

    waiter = threading.Thread(target=wait)
    waiter.start()
    time.sleep(0.05)
    reset_behind(ims_driver)
    with pytest.raises(DeviceError):
        ims_driver.ims.check()
    waiter.join(TIMEOUT)
    assert "not by this driver" in str(seen[0])
    asyncio.run(wait_in_a_task())
    all_is_well_after_a_reset(ims_driver, irq)


@pytest.mark.parametrize(("switch", "says"), [("memory", "memory decoding is off"), ("bus_master", "bus mastering is")])
def test_a_command_register_written_by_others(ims_driver: Driver, switch: str, says: str) -> None:
    irq = ims_driver.ims.allocate()
    setattr(ims_driver.device.config, switch, False)
    with pytest.raises(DeviceError, match=says):
        ims_driver.ims.check()
    with pytest.raises(DeviceError, match=says):
        irq.wait()
    all_is_well_after_a_reset(ims_driver, irq)


def test_what_is_put_right_again_is_noticed_too(ims_driver: Driver) -> None:
    irq = ims_driver.ims.allocate()
    ims_driver.device.config.memory = False
    with pytest.raises(DeviceError):
        ims_driver.ims.check()
    ims_driver.device.config.memory = True
    assert ims_driver.ims.check() == []
    assert delivered(ims_driver, irq)
