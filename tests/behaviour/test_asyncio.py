# SPDX-License-Identifier: Apache-2.0
"""Interrupts in tasks: many waiters, streams, cancellation, closing, several loops."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from tests.behaviour.common import EVERYWHERE, TIMEOUT, arrives, delivered, fire
from vfio_ims.driver import Driver
from vfio_ims.errors import ClosedError
from vfio_ims.ims import ImsInterrupt

pytestmark = EVERYWHERE


async def one(driver: Driver, irq: ImsInterrupt, times: int = 1) -> None:
    for _ in range(times):
        fire(driver, irq)
        async with asyncio.timeout(TIMEOUT):
            await irq


def test_a_task_awaits_one_wakeup(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate() as irq:
        asyncio.run(one(ims_driver, irq))
        assert not irq.wait(0)


def test_many_tasks_wait_at_once(ims_driver: Driver) -> None:
    count = min(16, ims_driver.ims.table.size)

    async def main() -> None:
        with ims_driver.ims.allocate_group(count) as irqs:
            async with asyncio.TaskGroup() as tasks:
                for irq in irqs:
                    tasks.create_task(one(ims_driver, irq, 3))

    asyncio.run(main())


def test_all_wait_before_the_first_fires(ims_driver: Driver) -> None:
    count = min(16, ims_driver.ims.table.size)

    async def main() -> None:
        with ims_driver.ims.allocate_group(count) as irqs:
            woken: list[int] = []

            async def wait(irq: ImsInterrupt) -> None:
                await irq
                woken.append(irq.slot)

            async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as tasks:
                for irq in irqs:
                    tasks.create_task(wait(irq))
                await asyncio.sleep(0.01)
                for irq in reversed(irqs[:]):
                    fire(ims_driver, irq)
            assert sorted(woken) == sorted(irqs.slots)

    asyncio.run(main())


def test_a_stream_of_wakeups(ims_driver: Driver) -> None:
    async def main() -> int:
        with ims_driver.ims.allocate() as irq:
            seen = 0
            fire(ims_driver, irq)
            async with asyncio.timeout(TIMEOUT):
                async for _ in irq:
                    seen += 1
                    if seen == 10:
                        break
                    fire(ims_driver, irq)
        return seen

    assert asyncio.run(main()) == 10


def test_a_fire_before_the_await_is_not_missed(ims_driver: Driver) -> None:
    async def main() -> None:
        with ims_driver.ims.allocate() as irq:
            fire(ims_driver, irq)
            await asyncio.sleep(0.01)
            async with asyncio.timeout(TIMEOUT):
                await irq

    asyncio.run(main())


def test_a_cancelled_wait_loses_no_interrupt(ims_driver: Driver) -> None:
    async def main() -> None:
        with ims_driver.ims.allocate() as irq:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await irq
            fire(ims_driver, irq)
            async with asyncio.timeout(TIMEOUT):
                await irq

    asyncio.run(main())


def test_one_of_two_waiters_on_a_slot_may_be_cancelled(ims_driver: Driver) -> None:
    async def main() -> None:
        with ims_driver.ims.allocate() as irq:

            async def wait() -> None:
                await irq

            first, second = asyncio.create_task(wait()), asyncio.create_task(wait())
            await asyncio.sleep(0.01)
            first.cancel()
            await asyncio.sleep(0)
            fire(ims_driver, irq)
            async with asyncio.timeout(TIMEOUT):
                await second
            assert first.cancelled()

    asyncio.run(main())


def test_closing_ends_an_await(ims_driver: Driver) -> None:
    async def main() -> None:
        irq = ims_driver.ims.allocate()

        async def wait() -> None:
            await irq

        task = asyncio.create_task(wait())
        await asyncio.sleep(0.01)
        irq.close()
        with pytest.raises(ClosedError, match="closed by its owner"):
            async with asyncio.timeout(TIMEOUT):
                await task

    asyncio.run(main())


def test_a_reset_wakes_tasks(ims_driver: Driver) -> None:
    async def main() -> None:
        with ims_driver.ims.allocate() as irq:

            async def wait() -> None:
                await irq

            task = asyncio.create_task(wait())
            await asyncio.sleep(0.01)
            await asyncio.to_thread(ims_driver.reset)
            async with asyncio.timeout(TIMEOUT):
                await task

    asyncio.run(main())


def test_one_loop_after_another(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate() as irq:
        for _ in range(3):
            asyncio.run(one(ims_driver, irq))
        assert delivered(ims_driver, irq)


def test_two_loops_in_two_threads(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate_group(2) as irqs:
        failures: list[BaseException] = []

        def run(irq: ImsInterrupt) -> None:
            try:
                asyncio.run(one(ims_driver, irq, 10))
            except BaseException as failure:  # noqa: BLE001 - looked at below
                failures.append(failure)

        threads = [threading.Thread(target=run, args=(irq,)) for irq in irqs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(4 * TIMEOUT)
        assert not failures
        assert not any(thread.is_alive() for thread in threads)


def test_a_thread_and_a_task_do_not_take_each_others_events(ims_driver: Driver) -> None:
    """Either drain wakes both: the thread may be about to sleep in the kernel when the task takes its event."""
    rounds = 200
    with ims_driver.ims.allocate_group(2) as irqs:
        slow: list[float] = []

        def block() -> None:
            for _ in range(rounds):
                fire(ims_driver, irqs[0])
                began = time.monotonic()
                assert arrives(irqs[0])
                slow.append(time.monotonic() - began)

        async def main() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.to_thread(block))
                tasks.create_task(one(ims_driver, irqs[1], rounds))

        asyncio.run(main())
        assert max(slow) < TIMEOUT / 2


def test_tasks_beside_a_thread(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate_group(2) as irqs:
        found: list[bool] = []

        def block() -> None:
            for _ in range(10):
                fire(ims_driver, irqs[0])
                found.append(arrives(irqs[0]))

        async def main() -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.to_thread(block))
                tasks.create_task(one(ims_driver, irqs[1], 10))

        asyncio.run(main())
        assert found == [True] * 10
