# SPDX-License-Identifier: Apache-2.0
"""A vfio-user server that is killed while it is used: errors at once, closing works, nothing is left."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import vfio_ims
from tests.behaviour.common import TIMEOUT, delivered
from vfio_ims.errors import RemovedError, VfioImsError
from vfio_ims.testing.server import ServedModel


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServedModel]:
    served = ServedModel("minimal", tmp_path)
    yield served
    served.close()


def kill(server: ServedModel) -> None:
    os.kill(server.pid, signal.SIGKILL)
    while server.alive:
        time.sleep(0.001)


def test_every_access_says_that_the_device_is_gone(server: ServedModel) -> None:
    with vfio_ims.open_driver(server.name) as driver:
        irq = driver.ims.allocate()
        assert delivered(driver, irq)
        kill(server)
        for use in (
            lambda: driver.device.bar(0).read32(0),
            lambda: driver.device.bar(0).write32(0x10, 0),
            lambda: driver.device.config.read(0, 4),
            lambda: driver.fire(irq.slot),
            irq.mask,
            driver.device.reset,
            lambda: driver.ims.allocate(),
        ):
            began = time.monotonic()
            with pytest.raises(RemovedError) as caught:
                use()
            assert server.name in str(caught.value)
            assert time.monotonic() - began < TIMEOUT / 2


def test_closing_a_device_that_is_gone_is_no_error(server: ServedModel) -> None:
    driver = vfio_ims.open_driver(server.name)
    irq, polled, buffer = driver.ims.allocate(), driver.ims.allocate_polled(), driver.device.dma.allocate(64)
    kill(server)
    driver.close()
    assert driver.closed
    assert driver.device.closed
    assert buffer.closed
    assert irq.closed
    for use in (irq.wait, polled.poll):
        with pytest.raises(VfioImsError):
            use()


def test_closing_ends_a_wait_on_a_device_that_is_gone(server: ServedModel) -> None:
    driver = vfio_ims.open_driver(server.name)
    irq = driver.ims.allocate()
    raised: list[VfioImsError] = []

    def wait() -> None:
        try:
            irq.wait()
        except VfioImsError as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    kill(server)
    driver.close()
    thread.join(TIMEOUT)
    assert not thread.is_alive()
    assert raised


def test_the_next_server_on_the_path_is_another_device(server: ServedModel, tmp_path: Path) -> None:
    with vfio_ims.open_driver(server.name) as driver:
        kill(server)
        again = ServedModel("minimal", tmp_path)
        try:
            with pytest.raises(RemovedError):
                driver.device.config.read(0, 4)
            with vfio_ims.open_driver(again.name) as second, second.ims.allocate() as irq:
                assert delivered(second, irq)
        finally:
            again.close()
