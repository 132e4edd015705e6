# SPDX-License-Identifier: Apache-2.0
"""A function that a server has opened: its client uses it as VFIO shows it in the server's process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import vfio_ims
from vfio_ims import tracing
from vfio_ims.errors import DeviceBusy, RemovedError, UnsupportedError, UsageError
from vfio_ims.names import open_device
from vfio_ims.ports.values import IrqIndex
from vfio_ims.vfio_user import Server
from vfio_ims.vfio_user.exported import ExportedFunction


@contextmanager
def exported(name: str, path: Path, *, trap: bool = False) -> Iterator[str]:
    """Open ``name``, and serve it; the client's name for it."""
    with open_device(name) as opened:
        function = ExportedFunction(opened.port, trap=trap)
        try:
            with Server(function, path) as server:
                function.lost = lambda reason: server.stop()
                yield f"vfio-user:{path}"
        finally:
            function.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "exported.sock"


@pytest.mark.parametrize("model", ["minimal", "intel-dsa,slots=256", "amd-hdma", "minimal,platform=amd"])
def test_slots_fire_with_the_messages_of_the_servers_host(model, path):
    with exported(f"mock:{model}", path) as name, vfio_ims.open_driver(name) as driver:
        assert driver.verdict.usable
        with driver.ims.allocate() as first, driver.ims.allocate() as second:
            for irq in (second, first):
                driver.fire(irq.slot)
                assert irq.wait(timeout=30)


def test_a_recorded_client_reads_the_messages_too(path, tmp_path):
    with (
        exported("mock:minimal", path) as name,
        vfio_ims.open_driver(name) as driver,
        tracing.trace(driver, tmp_path / "run.jsonl"),
        driver.ims.allocate() as irq,
    ):
        driver.fire(irq.slot)
        assert irq.wait(timeout=30)


def test_an_export_of_an_export(path, tmp_path):
    with (
        exported("mock:minimal", path) as inner,
        exported(inner, tmp_path / "outer.sock") as outer,
        vfio_ims.open_driver(outer) as driver,
        driver.ims.allocate() as irq,
    ):
        driver.fire(irq.slot)
        assert irq.wait(timeout=30)


def test_the_device_is_as_new_for_the_next_client(path):
    with exported("mock:minimal", path) as name:
        for _ in range(2):
            with vfio_ims.open_driver(name) as driver:
                assert driver.ims_table().read(0).masked
                irq = driver.ims.allocate()
                driver.fire(irq.slot)
                assert irq.wait(timeout=30)


def test_a_client_that_dies_leaves_nothing_behind(path):
    with open_device("mock:minimal") as opened:
        function = ExportedFunction(opened.port)
        with Server(function, path) as server:
            code = (
                "import os, sys, vfio_ims; driver = vfio_ims.open_driver(sys.argv[1]);"
                "driver.device.dma.allocate(4096); driver.ims.allocate(); os._exit(0)"
            )
            subprocess.run([sys.executable, "-c", code, f"vfio-user:{path}"], check=True, timeout=120)
            with vfio_ims.open_driver(f"vfio-user:{path}") as driver:
                assert driver.device.dma.allocate(4096).iova
        assert not opened.config.bus_master
        assert opened.port.space.unmap_all() == 0
        assert server.closed
        function.close()


def test_a_second_client_learns_who_is_in_the_way(path):
    with exported("mock:minimal", path) as name, open_device(name):
        from vfio_ims.vfio_user import SocketLink

        with pytest.raises(DeviceBusy, match="serves another client"):
            SocketLink(path, timeout=0.2)


def test_what_a_client_does_is_recorded_in_the_server(path, tmp_path):
    with open_device("mock:minimal") as opened, tracing.trace(opened, tmp_path / "run.jsonl"):
        function = ExportedFunction(opened.port, trap=True)
        name = f"vfio-user:{path}"
        with Server(function, path), vfio_ims.open_driver(name) as driver, driver.ims.allocate() as irq:
            driver.fire(irq.slot)
            assert irq.wait(timeout=30)
        function.close()
    events = tracing.read_recording(tmp_path / "run.jsonl").events
    assert {"w", "r", "irqs", "irq"} <= {event["k"] for event in events}
    assert any(event.get("name") == "RESET" for event in events if event["k"] == "w")


def test_the_kernel_wants_it_back(path):
    with open_device("mock:minimal") as opened:
        function = ExportedFunction(opened.port)
        with Server(function, path) as server:
            function.lost = lambda reason: server.stop()
            with vfio_ims.open_driver(f"vfio-user:{path}") as driver:
                wanted = driver.device.interrupts.open_req()
                request(opened)
                assert wanted.wait(timeout=30)  # the client is asked first
                assert function.loss is None
                request(opened)  # as the kernel repeats it
                with pytest.raises(RemovedError):
                    while True:
                        driver.device.config.read(0, 2)
        assert isinstance(function.loss, RemovedError)
        assert "the kernel wants the function back" in str(function.loss)
        function.close()


def request(opened: vfio_ims.Device) -> None:
    opened.port.set_irqs(IrqIndex.REQ, 1 | 32, 0, 1)


def test_what_means_nothing_there_is_refused(path):
    with exported("mock:minimal", path) as name:
        with pytest.raises(UsageError, match="the option platform means nothing there"):
            open_device(f"{name},platform=amd")
        with open_device(name) as device:
            with pytest.raises(UnsupportedError, match="hot reset"):
                device.port.hot_reset()
            with pytest.raises(UnsupportedError, match="memory without a file"):
                device.port.space.map(0x10000, 0x1000, 4096)
            assert device.port.pasid_bits() == 0
