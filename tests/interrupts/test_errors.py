# SPDX-License-Identifier: Apache-2.0
"""ERR: an error of the device reaches the application with what AER says, on models here and behind a socket."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import vfio_ims
from tests.interrupts.legacy_model import HEADER, Bar0, LegacyModel
from vfio_ims.backends.software.device import SoftwareDevice
from vfio_ims.backends.software.in_process import InProcessLink
from vfio_ims.device import Device, ReportedError
from vfio_ims.errors import UnsupportedError
from vfio_ims.host import RemovalWatch
from vfio_ims.pci.capabilities import Correctable, PowerState, Uncorrectable
from vfio_ims.platform import Platform
from vfio_ims.ports.values import ResetMethod
from vfio_ims.testing import silent
from vfio_ims.vfio_user import Server

WAIT = 30.0
TIMEOUT, POISONED, INTERNAL = Uncorrectable.COMPLETION_TIMEOUT, Uncorrectable.POISONED_TLP, Uncorrectable.INTERNAL
MALFORMED = Uncorrectable.MALFORMED_TLP


@pytest.fixture(params=["mock", "vfio-user"])
def device(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Device]:
    model = LegacyModel("legacy")
    if request.param == "mock":
        with Device(SoftwareDevice(InProcessLink(model), Platform())) as opened:
            yield opened
        return
    path = tmp_path / "legacy.sock"
    with Server(model, path), vfio_ims.open(f"vfio-user:{path}") as opened:
        yield opened
    model.close()


@pytest.fixture
def regs(device: Device) -> Bar0:
    device.config.memory = True
    return device.bar(0).bind(Bar0)


def test_nothing_is_recorded_at_first(device: Device) -> None:
    report = device.read_errors()
    assert report is not None
    assert not report.uncorrectable
    assert report.first is None
    assert str(report) == "no error is recorded"


def test_err_arrives_and_aer_says_what_happened(device: Device, regs: Bar0) -> None:
    with device.interrupts.open_err() as err:
        regs.FAIL.write(TIMEOUT | MALFORMED)
        assert err.wait(WAIT)
    report = device.read_errors()
    assert report is not None
    assert report.uncorrectable == TIMEOUT | MALFORMED
    assert report.fatal == MALFORMED, "by the severity register's reset value"
    assert report.correctable == Correctable(0)
    assert report.first == TIMEOUT, "the lowest bit of those that came together"
    assert report.header == (0x20000040, 0x0100000F, 0x00000001, 0xFEE00000)
    assert b"".join(word.to_bytes(4, "big") for word in report.header) == HEADER
    text = str(report)
    assert "fatal: malformed_tlp; nonfatal: completion_timeout" in text
    assert "packet header of completion_timeout: 20000040 0100000f 00000001 fee00000" in text


def test_a_masked_error_is_recorded_and_not_reported(device: Device, regs: Bar0) -> None:
    with device.interrupts.open_err() as err:
        regs.FAIL.write(INTERNAL)
        assert silent(err)
    report = device.read_errors()
    assert report is not None
    assert report.uncorrectable == INTERNAL
    assert report.header == (0, 0, 0, 0)


def test_the_first_error_keeps_the_log_until_it_is_cleared(device: Device, regs: Bar0) -> None:
    regs.FAIL.write(TIMEOUT)
    regs.FAIL.write(POISONED)
    report = device.read_errors()
    assert report is not None
    assert (report.first, report.uncorrectable) == (TIMEOUT, TIMEOUT | POISONED)
    device.clear_errors()
    report = device.read_errors()
    assert report is not None
    assert (report.first, report.uncorrectable) == (None, 0)
    regs.FAIL.write(POISONED)
    report = device.read_errors()
    assert report is not None
    assert report.first == POISONED


def test_the_watch_calls_with_each_error(device: Device, regs: Bar0) -> None:
    seen: list[ReportedError] = []
    came = threading.Semaphore(0)

    def on_error(error: ReportedError) -> None:
        seen.append(error)
        device.clear_errors()
        came.release()

    with RemovalWatch(device, on_error=on_error) as watch:
        for error in (TIMEOUT, MALFORMED):
            regs.FAIL.write(error)
            assert came.acquire(timeout=WAIT)
        assert watch.reason is None
        assert not device.closed
    assert [error.report and error.report.uncorrectable for error in seen] == [TIMEOUT, MALFORMED]
    assert "nonfatal: completion_timeout" in seen[0].why
    assert "fatal: malformed_tlp" in str(seen[1])
    assert str(seen[0]).startswith(device.name)


def test_a_device_without_aer_says_so() -> None:
    seen: list[ReportedError] = []
    came = threading.Event()
    with vfio_ims.open("mock:minimal") as device:
        assert device.read_errors() is None
        with pytest.raises(UnsupportedError, match="no AER capability"):
            device.clear_errors()
        with RemovalWatch(device, on_error=lambda error: (seen.append(error), came.set())):
            device.port.set_irqs(3, 1 | 32, 0, 1)  # the kernel's software trigger stands for the device
            assert came.wait(WAIT)
    assert seen[0].report is None
    assert "no AER capability" in seen[0].why


# --- and what resets do to this device --------------------------------------------------------------------------------


def test_a_power_cycle_resets_registers_and_keeps_config_space(device: Device, regs: Bar0) -> None:
    assert ResetMethod.D3 in device.reset_methods()
    device.config.bus_master = True
    regs.KEEP.write(7)
    vectors = device.interrupts.open_msi(2)
    before = device.config.snapshot().data[:0x40]
    device.reset(ResetMethod.D3)
    assert device.power_state is PowerState.D0
    assert device.config.snapshot().data[:0x40] == before
    assert regs.KEEP.read() == 0
    regs.RAISE.write(1)
    assert vectors[1].wait(WAIT)


def test_a_function_in_d3hot_sends_nothing(device: Device, regs: Bar0) -> None:
    (vector,) = device.interrupts.open_msi()
    device.config.bus_master = True
    device.power_state = PowerState.D3HOT
    with pytest.raises(vfio_ims.VfioImsError):
        regs.RAISE.write(0)
    assert silent(vector)
    device.power_state = PowerState.D0
