# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C at any instruction: locks are free, the books say what the device holds, no interrupt is lost."""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
import time
import warnings
from collections.abc import Callable

import vfio_ims
from tests.behaviour.common import EVERYWHERE, TIMEOUT, delivered
from tests.behaviour.interrupting import sweep
from vfio_ims.driver import Driver
from vfio_ims.ims import FireStatus, ImsDomain
from vfio_ims.interrupts.vector import VectorInterrupt
from vfio_ims.testing import held

pytestmark = EVERYWHERE

_SEED = 13
_PRESSES = 40


def in_time(job: Callable[[], object]) -> None:
    """Run ``job`` in another thread, which finds every lock that this one has kept."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            job()
        except BaseException as failure:  # noqa: BLE001 - raised below, in the test's thread
            failures.append(failure)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(TIMEOUT)
    assert not thread.is_alive(), "it hangs: a lock was kept"
    if failures:
        raise failures[0]


def works(driver: Driver) -> None:
    """A slot can be had, fired, waited for and given back, and more often than any queue has entries."""

    def job() -> None:
        with driver.ims.allocate() as irq:
            for _ in range(20):
                assert driver.fire(irq.slot).status is FireStatus.SENT
            assert delivered(driver, irq)

    in_time(job)


def agree(domain: ImsDomain) -> None:
    """What is allocated reads back as it is recorded, and nothing else is armed."""
    report = domain.report()
    assert {entry.slot for entry in report.slots} == set(domain.allocated)
    for entry in report.slots:
        assert domain.table.read(entry.slot) == domain.expected(entry.slot)


def test_a_fire_and_a_wait(ims_driver: Driver) -> None:
    irq = ims_driver.ims.allocate()

    def act() -> None:
        ims_driver.fire(irq.slot)
        assert irq.wait(TIMEOUT)

    def check() -> None:
        in_time(lambda: delivered(ims_driver, irq))
        agree(ims_driver.ims)

    assert sweep(act, check)
    works(ims_driver)


def test_an_interrupt_that_came_is_not_lost_with_the_wait(ims_driver: Driver) -> None:
    """A wait that is broken off after it has taken the wake-up leaves one behind."""
    irq, report = ims_driver.ims.allocate(), []

    def act() -> None:
        report.clear()
        report.append(ims_driver.fire(irq.slot))
        irq.wait(TIMEOUT)
        report.clear()

    def check() -> None:
        if report:
            assert irq.wait(TIMEOUT), "it was fired, and its owner was not woken"

    assert sweep(act, check)


def test_allocating_and_closing(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    keep = domain.allocate()

    def act() -> None:
        with domain.allocate() as irq:
            irq.mask()
            irq.unmask()
        with domain.allocate_group(3) as group:
            group.mask()

    def check() -> None:
        agree(domain)
        for slot in domain.allocated:  # an owner that was broken off before it had its slot has lost it
            if slot != keep.slot:
                domain.interrupt(slot).close()
        assert domain.allocated == [keep.slot]
        in_time(lambda: delivered(ims_driver, keep))

    assert sweep(act, check)
    works(ims_driver)


def test_vectors_and_memory(ims_driver: Driver) -> None:
    device = ims_driver.device
    vector = device.interrupts.msix.count - 1

    def act() -> None:
        with device.interrupts.open_msix(vector), device.dma.allocate(64):
            pass

    def check() -> None:
        gc.collect()
        for child in [child() for child in device._children]:
            if isinstance(child, VectorInterrupt) and not child.closed:
                child.close()  # its owner was broken off before it had it
        with device.interrupts.open_msix(vector) as irq:
            irq.trigger()
            assert irq.wait(TIMEOUT)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert sweep(act, check)


def test_a_reset(ims_driver: Driver) -> None:
    irq = ims_driver.ims.allocate()

    def check() -> None:
        if ims_driver.ims.fault is not None:
            ims_driver.reset()
        in_time(lambda: delivered(ims_driver, irq))
        agree(ims_driver.ims)

    assert sweep(ims_driver.reset, check, most=20)


def test_closing_the_driver(vfio_name: str) -> None:
    opened: list[Driver] = []

    def act() -> None:
        if not opened:
            driver = vfio_ims.open_driver(vfio_name)
            opened.append(driver)
            driver.ims.allocate()
        opened[0].close()

    def check() -> None:
        if opened:
            in_time(opened.pop().close)
        gc.collect()
        deadline = time.monotonic() + TIMEOUT
        while (leaked := held().since(before)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not leaked

    act()
    opened.clear()
    before = held()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert sweep(act, check, most=40)


def test_a_tight_loop_under_ctrl_c(ims_driver: Driver) -> None:
    """As a user does it: at any moment, while another thread does the same."""
    chance, irq, other = random.Random(_SEED), ims_driver.ims.allocate(), ims_driver.ims.allocate()
    over, failures = threading.Event(), []

    def beside() -> None:
        while not over.is_set():
            ims_driver.fire(other.slot)
            if not other.wait(TIMEOUT):
                failures.append("lost")
                return

    def press() -> None:
        for _ in range(_PRESSES):
            if not expecting.wait(TIMEOUT):
                failures.append("Ctrl-C was lost")
                return
            time.sleep(chance.uniform(0.001, 0.02))
            expecting.clear()
            os.kill(os.getpid(), signal.SIGINT)
        if not expecting.wait(TIMEOUT):
            failures.append("the last Ctrl-C was lost")
        over.set()

    expecting = threading.Event()
    threads = [threading.Thread(target=beside), threading.Thread(target=press)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 4 * TIMEOUT
    expected = False
    while not over.is_set() and not failures and time.monotonic() < deadline:
        try:
            if not expected:
                expected = True
                expecting.set()  # from here on the next one may come
            while not over.is_set():
                ims_driver.fire(irq.slot)
                assert irq.wait(TIMEOUT)
        except KeyboardInterrupt:
            expected = False
    for thread in threads:
        thread.join(TIMEOUT)
    assert not any(thread.is_alive() for thread in threads)
    assert not failures
    works(ims_driver)
