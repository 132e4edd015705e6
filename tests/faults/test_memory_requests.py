# SPDX-License-Identifier: Apache-2.0
"""Memory requests of a device that the IOMMU refuses, or that land late: on models in process and on a served one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import vfio_ims
from vfio_ims.driver import Driver
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.operation_error import OperationError
from vfio_ims.drivers.synopsys_edma.driver import Edma
from vfio_ims.errors import DeviceError
from vfio_ims.faults import inject, manual_clock
from vfio_ims.testing.server import ServedModel

SIZE = 4096
DATA = bytes(range(256)) * (SIZE // 256)


@pytest.fixture(params=["mock", "served"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Driver]]:
    with ExitStack() as stack:

        def opener(name: str) -> Driver:
            if request.param == "mock":
                return stack.enter_context(vfio_ims.open_driver(f"mock:{name}"))
            server = ServedModel(name, tmp_path)
            stack.callback(server.close)
            return stack.enter_context(vfio_ims.open_driver(server.name))

        yield opener


@pytest.mark.parametrize(("fault", "said"), [("dma@1", "page fault at"), ("dma@2", "page fault (on a write) at")])
def test_a_refused_request_fails_its_operation_only(opened: Callable[[str], Driver], fault: str, said: str) -> None:
    driver = opened(f"intel-dsa,fault={fault}")
    assert isinstance(driver, Dsa)
    source, target = driver.device.dma.allocate(SIZE), driver.device.dma.allocate(SIZE)
    source.view[:] = DATA
    with driver.ims.allocate() as irq, driver.wq(0, irq) as queue:
        with pytest.raises(OperationError) as raised:
            queue.memmove(target, source, SIZE)
        assert f"{said} {(source if fault == 'dma@1' else target).iova:#x} after 0 bytes" in str(raised.value)
        assert bytes(target.view) == bytes(SIZE)
        queue.memmove(target, source, SIZE)
        assert target.view == source.view


@pytest.mark.parametrize("size", [64, SIZE * 3])
def test_each_request_of_a_device_can_be_refused(size: int) -> None:
    """Whatever way the model takes to its memory, none is refused and done all the same. The platform logs it."""
    with vfio_ims.open_driver("mock:intel-dsa") as driver:
        assert isinstance(driver, Dsa)
        source, target = driver.device.dma.allocate(size), driver.device.dma.allocate(size)
        source.view[:] = b"x" * size
        with driver.ims.allocate() as irq, driver.wq(0, irq) as queue:
            for number in range(1, 2 * (size // SIZE or 1) + 1):
                with inject(driver, f"dma@{number}"), pytest.raises(OperationError, match="page fault"):
                    queue.memmove(target, source, size)
            with inject(driver, "dma"), pytest.raises(OperationError, match="page fault"):
                queue.crc(source, size)
        port: Any = driver.device.port
        log = port.platform.faults
        assert log.total >= 3
        assert log.last is not None
        assert "injected: dma" in log.last.why


@pytest.mark.parametrize("name", ["synopsys-edma", "amd-hdma"])
def test_an_engine_without_records_reports_it_too(name: str) -> None:
    with vfio_ims.open_driver(f"mock:{name}") as driver, driver.device.dma.allocate(SIZE) as buffer:
        assert isinstance(driver, Edma)
        with driver.read_channel() as channel:
            window = driver.window(channel)
            with inject(driver, "dma"), pytest.raises(DeviceError, match="abort"):
                channel.copy(buffer.iova, window.address, 256)
            buffer.view[:] = DATA
            channel.copy(buffer.iova, window.address, 256)
            assert window.read(0, 256) == DATA[:256]


def test_a_late_completion_by_a_clock_that_the_test_moves() -> None:
    with manual_clock() as clock, vfio_ims.open_driver("mock:intel-dsa") as driver:
        assert isinstance(driver, Dsa)
        source, target = driver.device.dma.allocate(SIZE), driver.device.dma.allocate(SIZE)
        with driver.ims.allocate() as irq, driver.wq(0, irq) as queue, inject(driver, "delay:30") as faults:
            copy = queue.submit.memmove(target, source, SIZE)
            clock.advance(29)
            assert not copy.done
            assert not irq.wait(timeout=0)  # behind its record, as posted writes are
            clock.advance(1)
            copy.wait()
            assert "came 30 s late" in str(faults)


@pytest.mark.parametrize("opened", ["served"], indirect=True)
def test_a_late_completion_of_a_server(opened: Callable[[str], Driver]) -> None:
    driver = opened("intel-dsa,fault=delay:0.5")
    assert isinstance(driver, Dsa)
    buffer = driver.device.dma.allocate(SIZE)
    with driver.ims.allocate() as irq, driver.wq(0, irq) as queue:
        began = time.monotonic()
        queue.fill(buffer, 0x55, SIZE)
        assert time.monotonic() - began >= 0.5
        queue.fill(buffer, b"\x66" * 8, SIZE)
        assert bytes(buffer.view) == b"\x66" * SIZE
