# SPDX-License-Identifier: Apache-2.0
"""MSI-X of a bare device, with the kernel's software trigger in the device's part."""

from __future__ import annotations

import asyncio
import os
import select
import threading
import time

import pytest

from tests.behaviour.common import EVERYWHERE, TIMEOUT, arrives
from vfio_ims.device import Device
from vfio_ims.errors import ClosedError, DeviceBusy, UnsupportedError, UsageError
from vfio_ims.interrupts import VectorInterrupt
from vfio_ims.ports.values import IrqIndex
from vfio_ims.testing import silent

pytestmark = EVERYWHERE


@pytest.fixture
def vectors(vfio_device: Device) -> list[VectorInterrupt]:
    """Three vectors, open; they close with the device."""
    return [vfio_device.interrupts.open_msix(vector) for vector in range(3)]


def readable(descriptor: int, timeout: float = TIMEOUT) -> bool:
    return bool(select.select([descriptor], [], [], timeout)[0])


def test_a_trigger_arrives_on_its_vector_only(vectors: list[VectorInterrupt]) -> None:
    first, second, third = vectors
    second.trigger()
    assert arrives(second)
    assert silent(first)
    assert silent(third)
    assert second.count == 1


def test_a_wait_that_nothing_ends_times_out(vectors: list[VectorInterrupt]) -> None:
    began = time.monotonic()
    assert not vectors[0].wait(0.05)
    assert time.monotonic() - began >= 0.05
    assert not vectors[0].wait(0)


def test_growing_leaves_the_live_vectors_alone(vfio_device: Device) -> None:
    interrupts = vfio_device.interrupts
    with interrupts.open_msix(0) as first:
        before = interrupts.msix.message(0)
        with interrupts.open_msix(2), interrupts.open_msix(1):
            assert interrupts.msix.attached == (0, 1, 2)
            messages = [interrupts.msix.message(vector) for vector in range(3)]
            assert messages[0] == before
            assert len(set(messages)) == 3
            first.trigger()
            assert arrives(first)
        assert interrupts.msix.attached == (0,)
        first.trigger()
        assert arrives(first)


def test_a_vector_has_one_user(vfio_device: Device, vectors: list[VectorInterrupt]) -> None:
    with pytest.raises(DeviceBusy, match="attach vector 1: it is attached already"):
        vfio_device.interrupts.open_msix(1)
    vectors[1].trigger()
    assert arrives(vectors[1])


def test_a_vector_outside_the_table_is_refused(vfio_device: Device) -> None:
    count = vfio_device.interrupts.msix.count
    for vector in (count, -1, 1 << 20):
        with pytest.raises(UsageError, match=f"the function has {count} MSI-X vectors, 0 to {count - 1}"):
            vfio_device.interrupts.open_msix(vector)


def test_every_vector_can_be_used(vfio_device: Device) -> None:
    count = min(vfio_device.interrupts.msix.count, 16)
    opened = [vfio_device.interrupts.open_msix(vector) for vector in range(count)]
    for interrupt in reversed(opened):
        interrupt.trigger()
        assert arrives(interrupt)
    assert not any(interrupt.wait(0) for interrupt in opened)


def test_a_closed_vector_is_free_again(vfio_device: Device) -> None:
    for _ in range(3):
        with vfio_device.interrupts.open_msix(1) as interrupt:
            interrupt.trigger()
            assert arrives(interrupt)
        interrupt.close()
        with pytest.raises(ClosedError, match=r"closed by .*test_msix\.py"):
            interrupt.wait(0)
    assert vfio_device.interrupts.msix.attached == ()


def test_a_vector_can_be_waited_for_until_its_cause_is_seen(vectors: list[VectorInterrupt]) -> None:
    first = vectors[0]
    assert first.wait_until(lambda: True, 0)
    assert not first.wait_until(lambda: False, 0.02)
    timer = threading.Timer(0.02, first.trigger)
    timer.start()
    assert first.wait_until(lambda: first.count == 1, TIMEOUT)
    assert not first.wait(0), "the wake-up was taken"
    timer.join()


def test_by_file_descriptor(vectors: list[VectorInterrupt]) -> None:
    descriptor = vectors[0].fileno()
    assert not readable(descriptor, 0)
    vectors[0].trigger()
    assert readable(descriptor)
    assert os.eventfd_read(descriptor) == 1
    assert not readable(descriptor, 0)


def test_a_closed_vector_says_so_however_it_was_read_before(vectors: list[VectorInterrupt]) -> None:
    closed = vectors[0]
    closed.fileno()
    closed.close()

    async def by_await() -> None:
        await closed

    async def by_async_for() -> None:
        async for _ in closed:
            pass

    for wait in (by_await, by_async_for):
        with pytest.raises(ClosedError, match=r"closed by .*test_msix\.py"):
            asyncio.run(wait())
    for block in (closed.wait, lambda: closed.wait_until(lambda: True)):
        with pytest.raises(ClosedError, match=r"closed by .*test_msix\.py"):
            block()


def test_by_the_hub(vfio_device: Device, vectors: list[VectorInterrupt]) -> None:
    hub = vfio_device.interrupts.hub
    assert hub.drain() == 0
    vectors[0].trigger()
    vectors[2].trigger()
    assert readable(hub.fileno())
    deadline, drained = time.monotonic() + TIMEOUT, 0
    while drained < 2 and time.monotonic() < deadline:
        drained += hub.drain()
    assert drained == 2
    assert [vector.wait(0) for vector in vectors] == [True, False, True]
    assert not readable(hub.fileno(), 0)


def test_by_await(vectors: list[VectorInterrupt]) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.01, vectors[1].trigger)
        async with asyncio.timeout(TIMEOUT):
            await vectors[1]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await vectors[0]

    asyncio.run(main())


def test_by_async_for(vectors: list[VectorInterrupt]) -> None:
    async def main() -> int:
        woken = 0
        vectors[0].trigger()
        async with asyncio.timeout(TIMEOUT):
            async for _ in vectors[0]:
                woken += 1
                if woken == 5:
                    return woken
                vectors[0].trigger()
        return woken

    assert asyncio.run(main()) == 5


def test_closing_ends_a_wait_in_another_thread(vectors: list[VectorInterrupt]) -> None:
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            vectors[0].wait()
        except ClosedError as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.05)
    vectors[0].close()
    thread.join(TIMEOUT)
    assert not thread.is_alive()
    assert raised


def test_vfio_has_no_mask_for_msix(vectors: list[VectorInterrupt]) -> None:
    with pytest.raises((UnsupportedError, UsageError)):
        vectors[0].mask()


def test_err_and_req_can_be_opened(vfio_device: Device) -> None:
    for index in (IrqIndex.ERR, IrqIndex.REQ):
        opener = getattr(vfio_device.interrupts, f"open_{index.name.lower()}")
        if vfio_device.interrupts.info(index).count == 0:
            with pytest.raises(UnsupportedError, match=f"open {index.name}: the function has none"):
                opener()
            continue
        for _ in range(2):
            with opener() as interrupt:
                assert not interrupt.wait(0)
                interrupt.trigger()
                assert arrives(interrupt)


def test_a_kind_that_the_function_lacks_is_refused(vfio_device: Device) -> None:
    lacking = [kind for kind in (IrqIndex.MSI, IrqIndex.INTX) if vfio_device.interrupts.info(kind).count == 0]
    assert lacking == [IrqIndex.MSI, IrqIndex.INTX], "none of these functions has either: test_intx_and_msi.py"
    with pytest.raises(UsageError, match="the function has no MSI"):
        vfio_device.interrupts.open_msi()
    with pytest.raises(UnsupportedError, match="open INTX: the function has none"):
        vfio_device.interrupts.open_intx()
