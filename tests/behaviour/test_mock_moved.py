# SPDX-License-Identifier: Apache-2.0
"""Without interrupt remapping a moved vector is noticed in every way of waiting."""

from __future__ import annotations

import asyncio
import select
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

import vfio_ims
from tests.behaviour.common import TIMEOUT, delivered, fire
from vfio_ims.driver import Driver
from vfio_ims.errors import DeviceError
from vfio_ims.ims import ImsInterrupt
from vfio_ims.testing import silent


@pytest.fixture
def bare_host() -> Iterator[Driver]:
    with vfio_ims.open_driver("mock:minimal,remapping=no") as driver:
        yield driver


def lose(driver: Driver, irq: ImsInterrupt) -> None:
    """Move the vector as irqbalance does, and fire: the message goes to a place that was freed."""
    port: Any = driver.device.port
    cpu = irq.message.address >> 12 & 0xFF
    port.platform.set_affinity(port.function, irq.donor, (cpu + 1) % 4)
    fire(driver, irq)
    assert port.platform.faults.total > 0


def lose_later(driver: Driver, irq: ImsInterrupt) -> threading.Timer:
    """While another thread or task waits already."""
    timer = threading.Timer(0.1, lose, (driver, irq))
    timer.start()
    return timer


def readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], TIMEOUT)[0])


@pytest.mark.parametrize("timeout", [None, 2 * TIMEOUT])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_thread_that_waits(bare_host: Driver, timeout: float | None, threads: int) -> None:
    irqs = [bare_host.ims.allocate(vector=vector) for vector in range(threads)]
    woken: list[int] = []

    def wait(irq: ImsInterrupt) -> None:
        assert irq.wait(timeout)
        woken.append(irq.slot)

    waiting = [threading.Thread(target=wait, args=(irq,), daemon=True) for irq in irqs]
    for thread in waiting:
        thread.start()
    time.sleep(0.05)
    for irq in irqs:
        lose(bare_host, irq)
    for thread in waiting:
        thread.join(TIMEOUT)
    assert sorted(woken) == [irq.slot for irq in irqs]
    assert all(delivered(bare_host, irq) for irq in irqs)


def test_a_task_that_awaits(bare_host: Driver) -> None:
    async def main() -> None:
        irq = bare_host.ims.allocate()
        timer = lose_later(bare_host, irq)
        async with asyncio.timeout(TIMEOUT):
            await irq
        timer.join()

    asyncio.run(main())


def test_a_stream(bare_host: Driver) -> None:
    async def main() -> int:
        irq, woken = bare_host.ims.allocate(), 0
        lose(bare_host, irq)
        async with asyncio.timeout(TIMEOUT):
            async for _ in irq:
                woken += 1
                if woken == 2:
                    break
                lose(bare_host, irq)
        return woken

    assert asyncio.run(main()) == 2


def test_the_hubs_descriptor(bare_host: Driver) -> None:
    irq, other = bare_host.ims.allocate(), bare_host.ims.allocate()
    hub = bare_host.ims.hub
    lose(bare_host, irq)
    assert hub.drain() == 0
    assert readable(hub.fileno())
    assert hub.drain() == 0, "the timer is no event of a vector"
    assert irq.wait(0)
    assert not other.wait(0)


def test_an_exclusive_slots_own_descriptor(bare_host: Driver) -> None:
    irq = bare_host.ims.allocate(exclusive=True)
    descriptor = irq.fileno()
    assert not select.select([descriptor], [], [], 0)[0]
    lose(bare_host, irq)
    assert readable(descriptor)
    assert irq.message == bare_host.device.interrupts.msix.message(irq.donor)


def test_the_thread_for_descriptors_ends_with_the_last_of_them(bare_host: Driver) -> None:
    def watchers() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith("moved vectors")]

    with bare_host.ims.allocate(exclusive=True) as first:
        first.fileno()
        with bare_host.ims.allocate(exclusive=True) as second:
            second.fileno()
            (watcher,) = watchers()
    watcher.join(TIMEOUT)
    assert not watchers()


def test_the_owners_in_every_domain_of_the_device() -> None:
    from tests.behaviour.test_mock_donors import two_tables

    with two_tables(remapping=False) as two:
        first, second = two.first.allocate(vector=0), two.second.allocate(vector=0)
        lose(two.driver, first)
        assert first.wait()
        assert second.wait()
        assert two.first.check() == two.second.check() == []
        for irq in (first, second):
            irq.wakeup.take()
            assert two.delivered(irq)


def test_messages_that_cannot_be_read_end_the_waits(bare_host: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that does not answer will not interrupt either."""

    def gone(*_: object) -> bool:
        raise DeviceError("read the message of vector 0", device="mock:minimal", why="it reads as all ones")

    irq = bare_host.ims.allocate()
    monkeypatch.setattr(bare_host.device.interrupts.msix, "holds", gone)
    with pytest.raises(DeviceError, match="all ones"):
        irq.wait()

    async def main() -> None:
        async with asyncio.timeout(TIMEOUT):
            await irq

    with pytest.raises(DeviceError, match="all ones"):
        asyncio.run(main())
    monkeypatch.undo()
    bare_host.reset()
    irq.wait(0)
    assert delivered(bare_host, irq)


@pytest.mark.parametrize("remapping", ["yes", "no"])
def test_checks_cost_nothing_where_interrupts_are_remapped(remapping: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with vfio_ims.open_driver(f"mock:minimal,remapping={remapping}") as driver:
        looks: list[int] = []
        pool = driver.device.interrupts.donors
        real = pool.refresh

        def refresh() -> list[int]:
            looks.append(1)
            return real()

        monkeypatch.setattr(pool, "refresh", refresh)
        with driver.ims.allocate(exclusive=True) as irq, driver.ims.allocate() as other:
            irq.fileno()
            before = threading.active_count()
            assert silent(other)
            deadline = time.monotonic() + 2.5
            while time.monotonic() < deadline and not (remapping == "no" and looks):
                select.select([driver.ims.hub.fileno()], [], [], 0.1)
                driver.ims.hub.drain()
            assert bool(looks) == (remapping == "no")
            names = [thread.name for thread in threading.enumerate() if thread.name.startswith("moved vectors")]
            assert len(names) == (remapping == "no")
            assert threading.active_count() <= before
