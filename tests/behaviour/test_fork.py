# SPDX-License-Identifier: Apache-2.0
"""A child that is forked while other threads are at work: errors say whose device it is; it never waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from tests.behaviour.common import EVERYWHERE, TIMEOUT, arrives, delivered, in_child
from vfio_ims.driver import Driver, open_driver
from vfio_ims.errors import ClosedError, VfioImsError
from vfio_ims.locks import _LOCKS

pytestmark = EVERYWHERE

_ROUNDS = 20
_SEED = 13


@contextlib.contextmanager
def every_lock_held() -> Iterator[None]:
    """Another thread holds all of them, as one that is in the middle of its work may hold any."""
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        taken = [lock for lock in list(_LOCKS) if lock.acquire(timeout=0.1)]
        held.set()
        go.wait(TIMEOUT)
        for lock in taken:
            lock.release()

    thread = threading.Thread(target=hold)
    thread.start()
    assert held.wait(TIMEOUT)
    try:
        yield
    finally:
        go.set()
        thread.join(TIMEOUT)


def refused(use: Callable[[], object]) -> str:
    """Why ``use`` is refused here; "" where it is because the device is another process's."""
    try:
        return f"it returned {use()!r}"
    except ClosedError as error:
        return "" if "fork of it" in str(error) or "closed by" in str(error) else str(error)
    except VfioImsError as error:
        return f"{type(error).__name__}: {error}"


def test_a_child_is_refused_whatever_another_thread_holds(ims_driver: Driver) -> None:
    irq, other = ims_driver.ims.allocate(), ims_driver.ims.allocate_group(2)
    buffer = ims_driver.device.dma.allocate(64)
    polled = ims_driver.ims.allocate_polled()
    device = ims_driver.device
    uses: dict[str, Callable[[], object]] = {
        "fire": lambda: ims_driver.fire(irq.slot),
        "fire a vector": lambda: ims_driver.fire_vector(1),
        "wait": irq.wait,
        "mask": irq.mask,
        "mask a group": other.mask,
        "poll": polled.poll,
        "allocate": ims_driver.ims.allocate,
        "check": ims_driver.ims.check,
        "report": ims_driver.ims.report,
        "reset": ims_driver.reset,
        "read": lambda: device.bar(0).read32(0),
        "config": lambda: device.config.read(0, 2),
        "dma": lambda: device.dma.allocate(1),
        "view": lambda: buffer.view,
        "vector": lambda: device.interrupts.open_msix(device.interrupts.msix.count - 1),
        "drain": device.interrupts.hub.drain,
    }

    def child() -> str:
        return "; ".join(f"{name}: {why}" for name, use in uses.items() if (why := refused(use)))

    with every_lock_held():
        said = in_child(child)
    assert said == ""
    assert delivered(ims_driver, irq)


@pytest.mark.parametrize("raised", [False, True])
def test_a_task_of_a_child_is_refused(ims_driver: Driver, raised: bool) -> None:
    irq = ims_driver.ims.allocate()

    async def wait() -> None:
        await irq

    if raised:
        irq.wakeup.wake()
    with every_lock_held():
        said = in_child(lambda: refused(lambda: asyncio.run(asyncio.wait_for(wait(), TIMEOUT))))
    assert said == ""


def test_closing_in_a_child_comes_back_and_touches_nothing(ims_driver: Driver) -> None:
    irq, group = ims_driver.ims.allocate(), ims_driver.ims.allocate_group(2)
    polled, buffer = ims_driver.ims.allocate_polled(), ims_driver.device.dma.allocate(64)
    closings: list[Callable[[], None]] = [
        irq.close,
        group.close,
        polled.close,
        buffer.close,
        ims_driver.ims.close,
        ims_driver.close,
        ims_driver.device.close,
    ]

    def child() -> str:
        for close in closings:
            close()
        return "closed"

    with every_lock_held():
        said = in_child(child)
    assert said == "closed"
    assert delivered(ims_driver, irq)
    assert delivered(ims_driver, group[1])


def test_leaving_a_block_in_a_child(ims_driver: Driver) -> None:
    def child() -> str:
        irq.__exit__(None, None, None)
        ims_driver.device.__exit__(None, None, None)
        return "left"

    with ims_driver.ims.allocate() as irq:
        with every_lock_held():
            said = in_child(child)
        assert said == "left"
        assert delivered(ims_driver, irq)


def test_forks_while_threads_fire_and_wait(ims_driver: Driver) -> None:
    """As an application does it: no lock is held on purpose, the children come at any moment."""
    chance = random.Random(_SEED)
    irqs = ims_driver.ims.allocate_group(4)
    over = threading.Event()
    failures: list[str] = []

    def work(number: int) -> None:
        irq = irqs[number]
        while not over.is_set():
            ims_driver.fire(irq.slot)
            if not arrives(irq):
                failures.append(f"slot {irq.slot}: lost")
                return

    threads = [threading.Thread(target=work, args=(number,)) for number in range(len(irqs))]
    for thread in threads:
        thread.start()

    def child() -> str:
        why = refused(lambda: ims_driver.fire(irqs[0].slot)) + refused(lambda: irqs[0].wait(1))
        irqs[1].close()
        irqs.close()
        ims_driver.close()
        return why

    try:
        said = []
        for _ in range(_ROUNDS):
            time.sleep(chance.uniform(0, 0.01))
            said.append(in_child(child))
    finally:
        over.set()
        for thread in threads:
            thread.join(4 * TIMEOUT)
    assert said == [""] * _ROUNDS
    assert not failures


def test_what_was_closed_before_closes_nothing_of_the_childs(vfio_name: str) -> None:
    """Its descriptors' numbers are other files' by then, also where it has not been collected."""
    kept = []
    for _ in range(2):
        driver = open_driver(vfio_name)
        interrupt, buffer = driver.ims.allocate(), driver.device.dma.allocate(64)
        assert delivered(driver, interrupt)
        kept.append((driver, driver.device.bar(0), interrupt, buffer))
        driver.close()
    numbers = [os.eventfd(0) for _ in range(64)]

    def child() -> str:
        gone = []
        for number in numbers:
            try:
                os.fstat(number)
            except OSError:
                gone.append(number)
        return f"{len(kept)} devices were closed, {gone} as well"

    said = in_child(child)
    for number in numbers:
        os.close(number)
    assert said == "2 devices were closed, [] as well"
