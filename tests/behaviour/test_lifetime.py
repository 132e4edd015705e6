# SPDX-License-Identifier: Apache-2.0
"""Closing: once, in order, with everything that hangs on it; what is used after says who closed it."""

from __future__ import annotations

import gc

import pytest

import vfio_ims
from tests.behaviour.common import EVERYWHERE, arrives, delivered
from vfio_ims.driver import Driver
from vfio_ims.errors import ClosedError

pytestmark = EVERYWHERE


def test_use_after_close_says_who_closed_it(vfio_name: str) -> None:
    device = vfio_ims.open(vfio_name)
    device.config.memory = True
    bar, config, interrupts, dma = device.bar(0), device.config, device.interrupts, device.dma
    device.close()
    device.close()
    assert device.closed
    assert "closed" in repr(device)
    for use in (
        lambda: bar.read32(0),
        lambda: bar.write32(0, 0),
        lambda: config.read(0, 4),
        lambda: config.snapshot(),
        lambda: interrupts.open_msix(0),
        lambda: interrupts.info(2),
        lambda: dma.allocate(1),
        lambda: device.bar(0),
        lambda: device.dma,
        lambda: device.reset(),
        lambda: device.__enter__(),
    ):
        with pytest.raises(ClosedError, match=r"closed by .*test_lifetime\.py:\d+") as caught:
            use()
        assert vfio_name.partition(",")[0] in str(caught.value)


def test_a_driver_takes_its_device_along(vfio_name: str) -> None:
    driver = vfio_ims.open_driver(vfio_name)
    device, irq, buffer = driver.device, driver.ims.allocate(), driver.device.dma.allocate(1)
    driver.close()
    driver.close()
    assert device.closed
    assert irq.closed
    assert buffer.closed
    for use in (driver.ims.allocate, lambda: driver.verdict, driver.reset):
        with pytest.raises(ClosedError, match=r"test_lifetime\.py"):
            use()


def test_a_device_may_be_closed_under_its_driver(vfio_name: str) -> None:
    driver = vfio_ims.open_driver(vfio_name)
    irq = driver.ims.allocate()
    driver.device.close()
    with pytest.raises(ClosedError):
        irq.wait(0)
    driver.close()


def test_what_was_forgotten_warns_and_is_closed(vfio_name: str) -> None:
    device = vfio_ims.open(vfio_name)
    with pytest.warns(ResourceWarning, match=r"was not closed \(opened at .*test_lifetime\.py:\d+\)"):  # noqa: PT031
        del device
        gc.collect()
    with vfio_ims.open_driver(vfio_name) as driver, driver.ims.allocate() as irq:
        assert delivered(driver, irq)


def test_a_driver_that_was_forgotten_too(vfio_name: str) -> None:
    driver = vfio_ims.open_driver(vfio_name)
    driver.ims.allocate()
    driver.device.dma.allocate(1)
    with pytest.warns(ResourceWarning, match="was not closed"):  # noqa: PT031
        del driver
        gc.collect()
    vfio_ims.open(vfio_name).close()


def test_an_error_in_the_block_is_not_hidden_by_closing(vfio_name: str) -> None:
    with pytest.raises(ZeroDivisionError), vfio_ims.open_driver(vfio_name) as driver:
        view = driver.device.dma.allocate(64).view
        driver.ims.allocate()
        view[0] = 1 // 0


def test_a_failed_start_closes_the_device(vfio_name: str) -> None:
    class Failing(Driver):
        def start(self) -> None:
            raise ZeroDivisionError

        def stop(self) -> None:
            raise AssertionError("it never started")

        def ims_table(self):  # type: ignore[no-untyped-def]
            return kind.ims_table(self)  # type: ignore[arg-type]

        fire = None  # type: ignore[assignment]

    with vfio_ims.open(vfio_name) as device:
        from tests.behaviour.common import driver_class

        kind = driver_class(device)
        with pytest.raises(ZeroDivisionError):
            Failing.start_on(device)
        assert device.closed
    vfio_ims.open(vfio_name).close()


def test_opening_again_and_again(vfio_name: str) -> None:
    for _ in range(5):
        with vfio_ims.open_driver(vfio_name) as driver, driver.ims.allocate() as irq:
            driver.fire(irq.slot)
            assert arrives(irq)
