# SPDX-License-Identifier: Apache-2.0
"""How work ends other than well: aborts, stops, resets, closed channels, and what can be done after each."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from tests.synopsys_edma.conftest import MAPS, Opener
from vfio_ims.driver import FireReport
from vfio_ims.drivers.synopsys_edma.driver import Edma, Transfer, TransferAborted
from vfio_ims.errors import ClosedError, DeviceBusy, DeviceError, DeviceTimeout, UsageError
from vfio_ims.ims import FireStatus

NOWHERE = 0x7000_0000_0000


def slow(edma: Edma, count: int = 80) -> Transfer:
    """A list that takes a while where the model was given a pace."""
    channel = edma.channels[0]
    window = edma.window(channel)
    return channel.start([window.address] * count, [edma.device.dma.allocate(4096).iova] * count, 4)


def works(edma: Edma) -> None:
    """The first write channel moves data, and wakes by its interrupt."""
    host = edma.device.dma.allocate(4096)
    with edma.write_channel() as channel:
        window = edma.window(channel)
        window.write(0, b"good" * 16)
        channel.copy(window.address, host.iova, 64)
    assert bytes(host.view[:64]) == b"good" * 16


def test_an_abort_says_why_and_work_goes_on(engine: Edma) -> None:
    with engine.read_channel() as channel:
        window = engine.window(channel)
        assert engine.status() == ""
        with pytest.raises(TransferAborted, match="read channel 0 was aborted"):
            channel.copy(NOWHERE, window.address, 64)
        assert engine.status().startswith("read channel 0 is halted: ")
        host = engine.device.dma.allocate(4096)
        host.view[:4] = b"next"
        channel.copy(host.iova, window.address, 4)
        assert window.read(0, 4) == b"next"
    works(engine)


@pytest.mark.parametrize("completion", ["ims", "poll"])
def test_an_abort_of_v0_has_its_error_registers_in_words(opened: Opener, completion: str) -> None:
    """Also where the interrupt was acknowledged first, which clears them."""
    edma = opened()
    with edma.read_channel(completion=completion) as channel:
        with pytest.raises(TransferAborted, match=r"the host did not answer a read \(unsupported request\)"):
            channel.copy(NOWHERE, edma.window(channel).address, 64)
        with pytest.raises(TransferAborted, match="the device's own memory answered with an error"):
            channel.copy(edma.device.dma.allocate(4096).iova, NOWHERE, 64)


def test_an_abort_ends_everything_behind_it(opened: Opener) -> None:
    edma = opened("abort_at=50,pace=200")
    with edma.write_channel(), edma.write_channel(1) as other:
        first, second = slow(edma), slow(edma)
        for transfer in (first, second):
            with pytest.raises(TransferAborted):
                transfer.wait()
            with pytest.raises(TransferAborted):
                transfer.done()
        window = edma.window(other)
        other.copy(window.address, edma.device.dma.allocate(4096).iova, 4)
    works(edma)


def test_an_await_of_aborted_work_raises(opened: Opener) -> None:
    edma = opened("abort_at=1")
    with edma.write_channel():

        async def main() -> None:
            with pytest.raises(TransferAborted):
                await slow(edma, 1)

        asyncio.run(main())


@pytest.mark.parametrize("name", MAPS)
def test_a_channel_is_stopped_and_used_again(opened: Opener, name: str) -> None:
    kind, _, options = name.partition(",")
    edma = opened(f"{options},pace=3000".strip(","), kind)
    with edma.write_channel() as channel:
        transfer = slow(edma)
        began = time.monotonic()
        channel.stop()
        assert time.monotonic() - began < 0.2
        with pytest.raises(DeviceError, match="write channel 0 was stopped"):
            transfer.wait()
        channel.stop()
        slow(edma, 2).wait()
    works(edma)


def test_closing_a_channel_stops_its_work_and_frees_its_slot(opened: Opener) -> None:
    edma = opened("pace=3000")
    with edma.write_channel():
        transfer = slow(edma)
        assert edma.ims.allocated == [0]
    assert edma.ims.allocated == []
    with pytest.raises(ClosedError, match="write channel 0 was closed"):
        transfer.wait()
    works(edma)


def test_a_channel_has_one_user(opened: Opener) -> None:
    edma = opened()
    with edma.write_channel(), pytest.raises(DeviceBusy, match="take write channel 0: it is in use"):
        edma.write_channel()
    with edma.ims.allocate(slot=3) as irq:
        with pytest.raises(DeviceBusy, match="slot 3 is in use"):
            edma.read_channel(1)
        with edma.read_channel(1, completion=irq) as channel:
            channel.copy(edma.device.dma.allocate(4096).iova, edma.window(channel).address, 4)
        assert not irq.closed
        with pytest.raises(UsageError, match="the interrupt of slot 2"):
            edma.read_channel(0, completion=irq)
    with pytest.raises(UsageError, match="number must be below 2, not 2"):
        edma.read_channel(2)


def test_work_that_takes_too_long_says_how_far_it_is(opened: Opener) -> None:
    edma = opened("pace=20000")
    with edma.write_channel():
        transfer = slow(edma, 20)
        with pytest.raises(DeviceTimeout, match=r"write channel 0 is running after \d+ of 20 elements, 0.1 s later"):
            transfer.wait(0.1)
        transfer.wait(30)


def test_a_reset_ends_what_is_under_way_and_rewrites_the_stores(engine: Edma) -> None:
    with engine.write_channel() as channel, engine.read_channel() as other:
        before = [engine.ims.table.read(slot) for slot in engine.ims.allocated]
        engine.reset()
        assert [engine.ims.table.read(slot) for slot in engine.ims.allocated] == before
        for one in (channel, other):
            one.interrupt.wait(0)  # type: ignore[union-attr]
            window, host = engine.window(one), engine.device.dma.allocate(4096)
            pair = (window.address, host.iova) if one is channel else (host.iova, window.address)
            one.copy(*pair, 64)


def test_waits_of_other_threads_end_with_a_reset(opened: Opener) -> None:
    edma = opened("pace=5000")
    with edma.write_channel():
        transfer, failures = slow(edma), []

        def wait() -> None:
            try:
                transfer.wait(60)
            except DeviceError as failure:
                failures.append(str(failure))

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.02)
        edma.reset()
        thread.join(10)
        assert not thread.is_alive()
    (text,) = failures
    assert "move data: the engine was" in text


def test_a_reset_behind_the_drivers_back_is_found_out(opened: Opener) -> None:
    edma = opened("pace=2000")
    with edma.write_channel():
        transfer = slow(edma)
        edma.device.reset()
        edma.device.config.memory = edma.device.config.bus_master = True
        with pytest.raises(DeviceError):
            transfer.wait(1)
        with pytest.raises(DeviceError, match="the device was reset, not by this driver"):
            edma.ims.check()
        edma.reset()
    works(edma)


def test_an_engine_that_someone_disabled_is_found_out(engine: Edma) -> None:
    with engine.ims.allocate():
        assert engine.ims.check() == []
        engine.engine.stop()
        with pytest.raises(DeviceError, match="the DMA engine is disabled"):
            engine.ims.check()
        engine.reset()
        assert engine.ims.check() == []


def test_fires_queue_behind_the_channels_own_work(opened: Opener) -> None:
    edma = opened("pace=1000")
    with edma.write_channel() as channel:
        transfer = slow(edma, 40)
        assert edma.fire(0) == FireReport(FireStatus.SENT)
        assert transfer.done()
        assert channel.interrupt is not None
        assert channel.interrupt.wait(10)


def test_a_fire_that_is_aborted_is_refused(opened: Opener) -> None:
    report = opened("abort_at=1").fire(0)
    assert report.status is FireStatus.REFUSED
    assert "the device's own memory answered with an error" in report.detail


@pytest.mark.parametrize("kind", ["synopsys-edma", "amd-hdma"])
def test_a_fire_has_left_when_it_returns(opened: Opener, kind: str) -> None:
    """The interrupt comes when the channel stops, a moment after its position says that the bytes were moved."""
    edma = opened("pace=20000", kind)
    with edma.ims.allocate() as irq:
        for _ in range(5):
            edma.fire(irq.slot)
            assert irq.wait(0), "it came after the fire that was its cause"
            assert not irq.wait(0)


@pytest.mark.parametrize("kind", ["synopsys-edma", "amd-hdma"])
def test_a_channel_that_stops_between_two_looks_is_not_started_for_nothing(
    opened: Opener, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a slow guest: its position was read before it was done, its state after. A start for nothing interrupts."""
    edma = opened("pace=1000", kind)
    registers = edma.channels[0].work.registers
    position, ring, before = registers.position, registers.ring, []
    started = 0

    def start() -> None:
        nonlocal started
        started += 1
        before.append(position())
        ring()

    def read_before_it_was_done() -> int:
        if not before:
            return position()
        time.sleep(0.05)
        return before.pop()

    monkeypatch.setattr(registers, "ring", start)
    monkeypatch.setattr(registers, "position", read_before_it_was_done)
    edma.fire(0)
    assert started == 1
