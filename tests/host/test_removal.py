# SPDX-License-Identifier: Apache-2.0
"""A device that the host wants back is given back in time; one that is lost fails its waiters instead of hanging."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

import vfio_ims
from vfio_ims.driver import Driver
from vfio_ims.errors import ClosedError, RemovedError
from vfio_ims.host import RemovalWatch
from vfio_ims.verbs import IrqIndex, IrqSet


def ask_back(driver: Driver) -> None:
    """What the kernel does when somebody removes the function: it signals REQ."""
    flags = IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER
    driver.device.port.set_irqs(IrqIndex.REQ, flags, 0, 1)


@pytest.fixture
def driver() -> Iterator[Driver]:
    with vfio_ims.open_driver("mock:minimal") as opened:
        yield opened


def test_the_application_is_told_and_the_device_given_back(driver: Driver) -> None:
    told: list[RemovedError] = []
    with RemovalWatch(driver, told.append) as watch:
        ask_back(driver)
        assert watch.given_back.wait(2)
    assert driver.closed
    assert driver.device.closed
    with pytest.raises(ClosedError, match="closed by the removal watch: the host takes the device back"):
        driver.device.reset()
    assert "the host takes the device back" in str(told[0])


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
    with RemovalWatch(driver, lambda reason: True, grace=0.6) as watch:
        began = time.monotonic()
        ask_back(driver)
        assert not watch.given_back.wait(0.3)
        assert driver.device.config.read(0, 2) == 0x1234  # it still works
        assert watch.given_back.wait(2)
        assert 0.5 < time.monotonic() - began < 2
    assert driver.closed


def test_an_application_may_close_it_itself(driver: Driver) -> None:
    def told(reason: RemovedError) -> bool:
        threading.Timer(0.1, driver.close).start()
        return True

    with RemovalWatch(driver, told, grace=5) as watch:
        began = time.monotonic()
        ask_back(driver)
        assert watch.given_back.wait(3)
        assert time.monotonic() - began < 2


def test_a_callback_that_hangs_or_fails_delays_no_longer(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    def broken(reason: RemovedError) -> None:
        raise ValueError("oops")

    with RemovalWatch(driver, broken) as watch:
        ask_back(driver)
        assert watch.given_back.wait(2)
    assert "callback on removal failed" in caplog.text
    other = vfio_ims.open_driver("mock:minimal")
    hang = threading.Event()
    with RemovalWatch(other, lambda reason: hang.wait(20), grace=0.3) as watch:
        ask_back(other)
        assert watch.given_back.wait(2)
    hang.set()


def test_a_loss_that_nobody_announces(driver: Driver) -> None:
    alive = [True]
    irq = driver.ims.allocate()
    with RemovalWatch(driver, alive=lambda: alive[0], interval=0.02) as watch:
        assert not watch.given_back.wait(0.1)
        alive[0] = False
        with pytest.raises(RemovedError, match="does not answer any more"):
            irq.wait(timeout=5)
        assert watch.given_back.wait(2)
        assert watch.reason is not None


def test_closing_the_watch_leaves_the_device_alone(driver: Driver) -> None:
    RemovalWatch(driver).close()
    assert not driver.closed
    with RemovalWatch(driver) as again:  # REQ is free for another one
        ask_back(driver)
        assert again.given_back.wait(2)


def test_closing_the_device_ends_the_watch(driver: Driver) -> None:
    with RemovalWatch(driver, interval=0.02) as watch:
        driver.close()
        watch._thread.join(2)
        assert not watch._thread.is_alive()
        assert not watch.given_back.is_set()
