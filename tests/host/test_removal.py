# SPDX-License-Identifier: Apache-2.0
"""A device that the host wants back is given back in time; one that is lost fails its waiters instead of hanging."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest

import vfio_ims
from vfio_ims.backends.software.device import SoftwareDevice
from vfio_ims.backends.software.in_process import InProcessLink
from vfio_ims.device import Device
from vfio_ims.driver import Driver
from vfio_ims.drivers.minimal.driver import Minimal
from vfio_ims.drivers.minimal.model import MinimalModel
from vfio_ims.errors import ClosedError, DeviceError, RemovedError
from vfio_ims.host import RemovalWatch
from vfio_ims.platform import Platform
from vfio_ims.ports.values import IrqIndex, IrqSet, RegionIndex


def ask_back(driver: Driver) -> None:
    """What the kernel does when root removes the function: it signals REQ."""
    flags = IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER
    driver.device.port.set_irqs(IrqIndex.REQ, flags, 0, 1)


@pytest.fixture
def driver() -> Iterator[Driver]:
    with vfio_ims.open_driver("mock:minimal") as opened:
        yield opened


def test_the_application_is_notified_and_the_device_given_back(driver: Driver) -> None:
    reported: list[RemovedError] = []
    with RemovalWatch(driver, reported.append) as watch:
        ask_back(driver)
        assert watch.given_back.wait(20)
    assert driver.closed
    assert driver.device.closed
    with pytest.raises(ClosedError, match="closed by the removal watch: the host takes the device back"):
        driver.device.reset()
    assert "the host takes the device back" in str(reported[0])


def test_waiters_wake_with_the_reason(driver: Driver) -> None:
    seen: list[BaseException] = []
    irq = driver.ims.allocate()

    def wait() -> None:
        try:
            irq.wait(timeout=20)
        except RemovedError as error:
            seen.append(error)

    waiter = threading.Thread(target=wait)
    waiter.start()
    with RemovalWatch(driver):
        time.sleep(0.1)
        ask_back(driver)
        waiter.join(3)
    assert not waiter.is_alive()
    assert "takes the device back" in str(seen[0])


def test_tasks_wake_with_the_reason() -> None:
    asyncio.run(tasks_wake())


async def tasks_wake() -> None:
    driver = vfio_ims.open_driver("mock:minimal")
    irq = driver.ims.allocate()
    with RemovalWatch(driver):
        asyncio.get_running_loop().call_later(0.1, ask_back, driver)
        with pytest.raises(RemovedError):
            async with asyncio.timeout(5):
                await irq


def test_an_application_that_needs_time_has_the_grace_and_no_more(driver: Driver) -> None:
    with RemovalWatch(driver, lambda reason: True, grace=2) as watch:
        began = time.monotonic()
        ask_back(driver)
        assert not watch.given_back.wait(0.3)
        assert driver.device.config.read(0, 2) == 0x1234  # it still works
        assert watch.given_back.wait(20)
        assert 1.9 < time.monotonic() - began < 20
    assert driver.closed


def test_an_application_may_close_it_itself(driver: Driver) -> None:
    def reported(reason: RemovedError) -> bool:
        threading.Timer(0.1, driver.close).start()
        return True

    with RemovalWatch(driver, reported, grace=60) as watch:
        began = time.monotonic()
        ask_back(driver)
        assert watch.given_back.wait(30)
        assert time.monotonic() - began < 30


def test_a_callback_that_hangs_or_fails_delays_no_longer(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    def broken(reason: RemovedError) -> None:
        raise ValueError("oops")

    with RemovalWatch(driver, broken) as watch:
        ask_back(driver)
        assert watch.given_back.wait(20)
    assert "callback on removal failed" in caplog.text
    other = vfio_ims.open_driver("mock:minimal")
    hang = threading.Event()
    with RemovalWatch(other, lambda reason: hang.wait(60), grace=0.3) as watch:
        ask_back(other)
        assert watch.given_back.wait(20)
    hang.set()


def test_a_loss_without_an_announcement(driver: Driver) -> None:
    alive = [True]
    irq = driver.ims.allocate()
    with RemovalWatch(driver, alive=lambda: alive[0], interval=0.02) as watch:
        assert not watch.given_back.wait(0.1)
        alive[0] = False
        with pytest.raises(RemovedError, match="does not answer any more"):
            irq.wait(timeout=5)
        assert watch.given_back.wait(20)
        assert watch.reason is not None


def test_closing_the_watch_leaves_the_device_alone(driver: Driver) -> None:
    RemovalWatch(driver).close()
    assert not driver.closed
    with RemovalWatch(driver) as again:  # REQ is free for another one
        ask_back(driver)
        assert again.given_back.wait(20)


def test_closing_the_device_ends_the_watch(driver: Driver) -> None:
    with RemovalWatch(driver, interval=0.02) as watch:
        driver.close()
        watch._thread.join(2)
        assert not watch._thread.is_alive()
        assert not watch.given_back.is_set()


def until(true: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.01)
    return true()


def test_a_device_that_is_reset_by_another_process_is_reported_and_can_be_put_right(driver: Driver) -> None:
    irq = driver.ims.allocate()
    reported: list[DeviceError] = []

    def put_right(fault: DeviceError) -> None:
        reported.append(fault)
        driver.reset()

    with RemovalWatch(driver, faulty=put_right, interval=0.02) as watch:
        driver.device.reset()
        driver.device.config.memory = driver.device.config.bus_master = True
        with contextlib.suppress(DeviceError):  # unless it is put right before this thread runs again
            irq.wait()
        assert until(lambda: bool(reported) and watch.fault is None)
        assert len(reported) == 1
        assert "the device was reset, not by this driver" in str(reported[0])
        assert not watch.given_back.is_set()
        irq.wait(0)
        driver.fire(irq.slot)
        assert irq.wait(timeout=5)


class Sleeper(MinimalModel):
    """In D3hot: config space answers, nothing else does."""

    asleep = False

    def read(self, region: int, offset: int, size: int) -> bytes:
        if self.asleep and region != RegionIndex.CONFIG:
            return b"\xff" * size
        return super().read(region, offset, size)


def test_a_device_that_falls_asleep(caplog: pytest.LogCaptureFixture) -> None:
    model = Sleeper("mock:sleeper")
    port = SoftwareDevice(InProcessLink(model), Platform(), "mock:sleeper")
    with Minimal.start_on(Device(port)) as driver, RemovalWatch(driver, interval=0.02) as watch:
        irq = driver.ims.allocate()
        model.asleep = True
        with pytest.raises(DeviceError, match="its slots read as all ones, though config space answers"):
            irq.wait(timeout=5)
        assert not watch.given_back.is_set()
        assert until(lambda: "its slots read as all ones" in caplog.text)
        with pytest.raises(DeviceError, match="all ones"):
            driver.ims.allocate()
        model.asleep = False
        driver.reset()
        irq.wait(0)
        driver.fire(irq.slot)
        assert irq.wait(timeout=5)
