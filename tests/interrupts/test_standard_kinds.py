# SPDX-License-Identifier: Apache-2.0
"""INTx and MSI raised by a device, on every mount: a model in process, behind a socket, and in a guest of the VM lab.

In a guest (tests/vm/test_standard_kinds.py) VFIO_IMS_LEGACY names the devices there, instead of models here.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

import vfio_ims
from tests.interrupts.legacy_model import Bar0, LegacyModel
from vfio_ims.backends.software.device import SoftwareDevice
from vfio_ims.backends.software.in_process import InProcessLink
from vfio_ims.device import Device
from vfio_ims.errors import DeviceBusy, DeviceError, UnsupportedError, UsageError
from vfio_ims.interrupts import VectorInterrupt
from vfio_ims.platform import Platform
from vfio_ims.ports.values import IrqFlags, IrqIndex
from vfio_ims.testing import silent
from vfio_ims.vfio_user import Server

TIMEOUT = 30.0
NAMED = os.environ.get("VFIO_IMS_LEGACY", "").split()
EDU = 0x1234_11E8


class Source(Protocol):
    """How a device of one kind raises its interrupts. ``vectors``: of MSI."""

    vectors: int

    def line(self, asserted: bool) -> None: ...
    def message(self, vector: int) -> None: ...


class Legacy:
    """The test model."""

    vectors = 4

    def __init__(self, device: Device) -> None:
        self._regs = device.bar(0).bind(Bar0)

    def line(self, asserted: bool) -> None:
        self._regs.LINE.write(int(asserted))
        self._regs.ID.read()

    def message(self, vector: int) -> None:
        self._regs.RAISE.write(vector)


class Edu:
    """QEMU's edu device (its docs/specs/edu.rst): 0x60 raises, 0x64 acknowledges; MSI where enabled, else INTx."""

    vectors = 1

    def __init__(self, device: Device) -> None:
        self._bar = device.bar(0)

    def line(self, asserted: bool) -> None:
        self._bar.write32(0x60 if asserted else 0x64, 1)

    def message(self, vector: int) -> None:
        self._bar.write32(0x60, 1)
        self._bar.write32(0x64, 1)


@pytest.fixture(params=NAMED or ["mock", "vfio-user"])
def device(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Device]:
    if request.param == "mock":
        with Device(SoftwareDevice(InProcessLink(LegacyModel("legacy")), Platform())) as opened:
            yield opened
    elif request.param == "vfio-user":
        model = LegacyModel("legacy")
        path = tmp_path / "legacy.sock"
        with Server(model, path), vfio_ims.open(f"vfio-user:{path}") as opened:
            yield opened
        model.close()
    else:
        with vfio_ims.open(request.param) as opened:
            yield opened


@pytest.fixture
def source(device: Device) -> Source:
    device.config.memory = True
    device.config.bus_master = True
    ids = device.config.read(0, 2) << 16 | device.config.read(2, 2)
    return Edu(device) if ids == EDU else Legacy(device)


def arrives(interrupt: VectorInterrupt) -> bool:
    began = time.monotonic()
    return interrupt.wait(TIMEOUT) and time.monotonic() - began < TIMEOUT / 2


def test_what_vfio_says_of_them(device: Device, source: Source) -> None:
    line, msi = device.interrupts.info(IrqIndex.INTX), device.interrupts.info(IrqIndex.MSI)
    assert (line.count, msi.count) == (1, source.vectors)
    assert IrqFlags.MASKABLE | IrqFlags.AUTOMASKED in line.flags
    assert IrqFlags.NORESIZE in msi.flags


def test_intx_arrives_and_is_masked_until_unmasked(device: Device, source: Source) -> None:
    with device.interrupts.open_intx() as interrupt:
        assert not interrupt.wait(0)
        for _ in range(3):
            source.line(True)
            assert arrives(interrupt)
            source.line(False)
            interrupt.unmask()
            assert silent(interrupt), "a line that is released is not delivered again"


def test_a_line_that_stays_asserted_comes_again_at_each_unmask(device: Device, source: Source) -> None:
    with device.interrupts.open_intx() as interrupt:
        source.line(True)
        assert arrives(interrupt)
        assert silent(interrupt), "masked"
        for _ in range(3):
            interrupt.unmask()
            assert arrives(interrupt)
        source.line(False)
        interrupt.unmask()
        silent(interrupt)  # one that was on its way may still come
        interrupt.unmask()
        assert silent(interrupt)


def test_a_line_that_is_asserted_at_open_arrives(device: Device, source: Source) -> None:
    source.line(True)
    for _ in range(2):
        with device.interrupts.open_intx() as interrupt:
            assert arrives(interrupt)
    source.line(False)


def test_intx_is_held_back_by_the_user(device: Device, source: Source) -> None:
    with device.interrupts.open_intx() as interrupt:
        interrupt.mask()
        source.line(True)
        assert silent(interrupt)
        interrupt.unmask()
        assert arrives(interrupt)
        source.line(False)


def test_intx_is_triggered_by_software(device: Device, source: Source) -> None:
    with device.interrupts.open_intx() as interrupt:
        interrupt.trigger()
        assert arrives(interrupt)


def test_every_msi_vector_arrives_and_no_other(device: Device, source: Source) -> None:
    interrupts = device.interrupts.open_msi(source.vectors)
    for vector, interrupt in enumerate(interrupts):
        for _ in range(2):
            source.message(vector)
            assert arrives(interrupt)
        assert all(silent(other) for other in interrupts)


def test_msi_is_open_for_as_many_as_asked_for(device: Device, source: Source) -> None:
    for count in {1, source.vectors}:
        interrupts = device.interrupts.open_msi(count)
        assert [one.vector for one in interrupts] == list(range(count))
        interrupts[-1].trigger()
        assert arrives(interrupts[-1])
        for interrupt in interrupts:
            interrupt.close()
    for wrong in (0, source.vectors + 1):
        with pytest.raises(UsageError, match=f"count must be 1 to {source.vectors}"):
            device.interrupts.open_msi(wrong)
    for wrong in ("x", True):
        with pytest.raises(UsageError, match="count must be a number"):
            device.interrupts.open_msi(wrong)  # type: ignore[arg-type]


def test_no_donor_is_taken_while_msi_is_open(device: Device, source: Source) -> None:
    device.interrupts.open_msi(1)
    with pytest.raises(DeviceBusy, match="take a donor vector: MSI is open"):
        device.interrupts.donors.take(0)


def test_msi_has_no_mask(device: Device, source: Source) -> None:
    (interrupt,) = device.interrupts.open_msi()
    with pytest.raises(UnsupportedError, match="INTx"):
        interrupt.mask()


def test_one_kind_at_a_time(device: Device, source: Source) -> None:
    (message,) = device.interrupts.open_msi()
    with pytest.raises(DeviceBusy, match="open INTX: MSI is open, and a function uses one of"):
        device.interrupts.open_intx()
    message.close()
    with device.interrupts.open_intx() as line:
        with pytest.raises(DeviceBusy, match="enable MSI: INTX is open, and a function uses one of"):
            device.interrupts.open_msi()
        source.line(True)
        assert arrives(line)
        source.line(False)


def test_a_kind_is_opened_once_and_closes_without_error(device: Device, source: Source) -> None:
    first = device.interrupts.open_msi(min(2, source.vectors))
    with pytest.raises(DeviceBusy, match=f"enable MSI: MSI is open already, {len(first)} of it") as caught:
        device.interrupts.open_msi()
    assert "close what is open" in caught.value.hint
    source.message(0)
    assert arrives(first[0])
    for interrupt in first:
        interrupt.close()
    with device.interrupts.open_intx() as line:
        with pytest.raises(DeviceBusy, match="open INTX: INTX is open already"):
            device.interrupts.open_intx()
        source.line(True)
        assert arrives(line)
        source.line(False)
    (again,) = device.interrupts.open_msi()
    source.message(0)
    assert arrives(again)
    again.close()


def test_msi_needs_bus_mastering(device: Device, source: Source) -> None:
    (interrupt,) = device.interrupts.open_msi()
    device.config.bus_master = False
    source.message(0)
    assert silent(interrupt)
    device.config.bus_master = True
    source.message(0)
    assert arrives(interrupt)


def test_a_device_without_memory_decoding_says_so(device: Device, source: Source) -> None:
    device.config.memory = False
    with pytest.raises(DeviceError):
        source.message(0)
