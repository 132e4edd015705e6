# SPDX-License-Identifier: Apache-2.0
"""Each fault does what its name says, says that it did, and leaves nothing behind when it is taken off."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from typing import Any

import pytest

import vfio_ims
from vfio_ims.driver import Driver
from vfio_ims.errors import (
    ClosedError,
    DeviceBusy,
    DeviceError,
    RemovedError,
    SetupError,
    UsageError,
    VfioImsError,
)
from vfio_ims.faults import Fault, FaultWarning, inject, inject_opened, manual_clock, parse_faults
from vfio_ims.ports.values import IrqIndex
from vfio_ims.testing import silent
from vfio_ims.testing.server import ServedModel


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = ServedModel("minimal", tmp_path_factory.mktemp("served"))
    yield server.name
    server.close()


@pytest.fixture(params=["mock", "vfio-user"])
def driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    name = "mock:minimal" if request.param == "mock" else request.getfixturevalue("socket")
    with vfio_ims.open_driver(name) as opened:
        yield opened


# --- what the kernel answers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("fail:set_irqs:ENOSPC", SetupError),
        ("fail:VFIO_DEVICE_SET_IRQS:EBUSY", DeviceBusy),
        ("fail:window:ENODEV", RemovedError),
        ("short:2", DeviceError),
    ],
)
def test_a_call_that_fails(fault: str, kind: type[VfioImsError]) -> None:
    with (
        inject_opened(fault) as records,
        pytest.raises(kind) as raised,
        vfio_ims.open_driver("mock:minimal") as opened,
    ):
        opened.ims.allocate()
    assert f"injected: {fault}" in str(raised.value)
    assert len(records[0].happened) == 1


def test_only_the_call_that_was_meant_fails(driver: Driver) -> None:
    with inject(driver, "fail:reset:EIO@2") as faults:
        driver.device.port.reset()
        with pytest.raises(DeviceError) as raised:
            driver.device.port.reset()
        assert raised.value.errno == errno.EIO
        driver.device.port.reset()
    assert "call 2, reset: failed" in str(faults)


def test_from_then_on(driver: Driver) -> None:
    with inject(driver, "fail:any:ENODEV@2+"):
        driver.device.port.device_info()
        for _ in range(3):
            with pytest.raises(RemovedError):
                driver.device.port.device_info()
    driver.device.port.device_info()


# --- what registers read as -------------------------------------------------------------------------------------------


def test_a_stuck_field(driver: Driver) -> None:
    regs = driver.device.bar(0)
    with inject(driver, "stuck:STATUS.bad_slot:1") as faults:
        assert regs.read32(0x10) == 2
        assert regs.window.poll(0x10, 4, mask=2, expected=2, timeout=10) == 2
        assert regs.read_block(0x0C, 2) == bytes(4) + b"\2\0\0\0"
    assert "STATUS.bad_slot read as 0x2, not 0x0" in str(faults)
    assert regs.read32(0x10) == 0


def test_flipped_bits_once(driver: Driver) -> None:
    with inject(driver, "flip:ID:0x81"):
        values = [driver.device.bar(0).read32(0) for _ in range(2)]
    assert values == [0x494D_5331 ^ 0x81, 0x494D_5331]


def test_a_register_by_its_place(driver: Driver) -> None:
    with inject(driver, "stuck:bar0+0x0:7", "stuck:config+0x0:0xffffffff"):
        assert driver.device.bar(0).read32(0) == 7
        assert driver.device.config.read(0, 4) == 0xFFFF_FFFF


def test_a_lost_device_reads_ones_and_sends_nothing(driver: Driver) -> None:
    with driver.ims.allocate() as irq, inject(driver, "lost@write=FIRE") as faults:
        with pytest.raises(RemovedError, match="STATUS reads as all ones"):
            driver.fire(irq.slot)
        assert driver.device.bar(0).read32(0) == 0xFFFF_FFFF
        assert silent(irq)
        with pytest.raises(DeviceError):
            driver.device.port.reset()
    assert "the device was lost" in str(faults)


# --- what a device sends ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["drop", "refuse"])
def test_a_message_that_does_not_arrive(driver: Driver, fault: str) -> None:
    with driver.ims.allocate() as irq, inject(driver, fault) as faults:
        driver.fire(irq.slot)
        assert silent(irq)
        driver.fire(irq.slot)
        assert irq.wait(timeout=10)
    assert len(faults.happened) == 1
    port: Any = driver.device.port
    assert port.platform.faults.total == (fault == "refuse")


def test_what_is_closed_stays_closed_on_a_lost_device() -> None:
    device = vfio_ims.open("mock:minimal")
    bar = device.bar(0)
    with inject(device, "lost@1"):
        assert device.config.read(0, 4) == bar.read32(0) == 0xFFFFFFFF
        device.close()
        accesses = (
            lambda: bar.read32(0),
            lambda: bar.write32(0, 1),
            lambda: bar.read_block(0, 4),
            lambda: bar.write_block(0, bytes(16)),
            lambda: bar.poll(0, 4, 1, 1, timeout=0.01),
            lambda: bar.store64(0, bytes(64)),
        )
        for access in accesses:
            with pytest.raises(ClosedError, match=r"access offset 0x0: closed by .*test_inject"):
                access()


def test_a_device_that_is_lost_before_its_slots_are_quiesced_is_said_to_be_gone() -> None:
    with pytest.raises(RemovedError, match="its vendor id reads as all ones"), inject_opened("lost@call=write_table"):
        vfio_ims.open_driver("mock:minimal,flr=no").ims.allocate()


def test_a_message_that_arrives_twice() -> None:
    with (
        vfio_ims.open_driver("mock:minimal,merge=never") as driver,
        driver.device.interrupts.open_msix(3) as vector,
        inject(driver, "double"),
    ):
        driver.device.bar(0).write32(0x0C, 3)
        assert os.eventfd_read(vector.fileno()) == 2


def test_a_late_message_by_a_clock_that_the_test_moves() -> None:
    with (
        manual_clock() as clock,
        vfio_ims.open_driver("mock:minimal") as driver,
        driver.ims.allocate() as irq,
        driver.ims.allocate() as second,
        inject(driver, "late:0.5"),
    ):
        driver.fire(irq.slot)
        driver.fire(second.slot)  # keeps behind the first
        clock.advance(0.4)
        assert silent(irq)
        assert not second.wait(timeout=0)
        clock.advance(0.2)
        assert irq.wait(timeout=10)
        assert second.wait(timeout=10)


@pytest.mark.parametrize("index", [IrqIndex.REQ, IrqIndex.ERR])
def test_events_of_the_host(driver: Driver, index: IrqIndex) -> None:
    interrupts = driver.device.interrupts
    opened = interrupts.open_req() if index is IrqIndex.REQ else interrupts.open_err()
    with opened as event, inject(driver, f"{index.name.lower()}@read=ID"):
        driver.device.bar(0).read32(4)
        assert silent(event)
        driver.device.bar(0).read32(0)
        assert event.wait(timeout=10)


def test_a_reset_behind_our_back(driver: Driver) -> None:
    with driver.ims.allocate() as irq, inject(driver, "reset@write=FIRE"):
        driver.fire(irq.slot)
        assert silent(irq)  # the slot was wiped
        with pytest.raises(DeviceError, match="the device was reset, not by this driver"):
            driver.ims.check()
        driver.reset()
        irq.wait(timeout=0)  # every owner is woken once
        driver.fire(irq.slot)
        assert irq.wait(timeout=10)


# --- what is asked for ------------------------------------------------------------------------------------------------


def test_what_never_happened_is_reported(driver: Driver) -> None:
    with (
        pytest.warns(FaultWarning, match="fail:hot_reset never happened, in 0 calls"),
        inject(driver, "fail:hot_reset"),
    ):
        pass


def test_faults_in_a_name() -> None:
    with vfio_ims.open_driver("mock:minimal,fault=drop@2+flip:ID:2@2") as driver:
        assert driver.device.bar(0).read32(0) == 0x494D_5333  # the driver's own read was the first
        with driver.ims.allocate() as irq:
            for wanted in (True, False, True):
                driver.fire(irq.slot)
                assert irq.wait(timeout=10) if wanted else silent(irq)


def test_by_chance_and_seed() -> None:
    runs = []
    for seed in (1, 1, 2):
        with vfio_ims.open_driver("mock:minimal") as driver, inject(driver, f"flip:ID@p=0.5@seed={seed}"):
            runs.append([driver.device.bar(0).read32(0) for _ in range(40)])
    assert runs[0] == runs[1] != runs[2]


def test_parsing_keeps_what_a_plus_means() -> None:
    assert [str(one) for one in parse_faults("drop@3++stuck:bar0+0x10:1+req@call=set_irqs")] == [
        "drop@3+",
        "stuck:bar0+0x10:1",
        "req@call=set_irqs",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dorp", "did you mean 'drop'?"),
        ("fail", "it is written fail:VERB[:ERRNO]"),
        ("fail:set_irq", "did you mean 'set_irqs'?"),
        ("fail:reset:EFOO", "ERRNO must be a name such as EBUSY"),
        ("late:soon", "SECONDS must be a number"),
        ("@call=reset", "what goes wrong comes first, then when: "),
        ("drop@0", "@0 is no moment"),
        ("drop@call=nothing", "@call=nothing is no moment"),
        ("drop@p=2", "@p=2 is no moment"),
        ("drop@write=FIRE", "@write=REGISTER is an access"),
        ("dma@read=ID", "@read=REGISTER is an access"),
        ("stuck:ID:1@write=FIRE", "@write=REGISTER is a write"),
        ("late:-1", "SECONDS must be a number from 0"),
        ("short:-3", "BYTES must be a number"),
        ("stuck:ID:x", "VALUE must be a number"),
    ],
)
def test_a_fault_that_is_none(text: str, said: str) -> None:
    with pytest.raises(UsageError) as raised:
        Fault.parse(text)
    assert said in str(raised.value)


def test_an_unknown_register(driver: Driver) -> None:
    with pytest.raises(UsageError, match="did you mean 'STATUS'"), inject(driver, "stuck:STATSU:1"):
        pass


def test_an_unknown_register_of_a_moment(driver: Driver) -> None:
    said = r"did you mean 'STATUS'.*\n.*vfio-ims read DEVICE"
    with pytest.raises(UsageError, match=said), inject(driver, "fail:read:EIO@read=STATSU"):
        pass
    assert driver.device.bar(0).read32(0) == 0x494D_5331


@pytest.mark.parametrize("register", ["ID", "bar0+0x0"])
def test_a_moment_by_name_and_by_place(driver: Driver, register: str) -> None:
    with inject(driver, f"slow:0@read={register}") as faults:
        driver.device.bar(0).read32(0)
    assert faults.happened


def test_a_device_that_cannot_share_is_closed() -> None:
    with vfio_ims.open("mock:minimal") as first:
        with inject_opened("fail:page_sizes", "fail:ranges") as records, pytest.raises(DeviceError):
            vfio_ims.open("mock:minimal", share=first)
        assert records[0].happened
        port: Any = first.port
        assert len(port.platform.functions) == 1
