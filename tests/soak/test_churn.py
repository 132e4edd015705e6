# SPDX-License-Identifier: Apache-2.0
"""Slots allocated and closed, exclusive and shared, in two domains, while MSI-X vectors are opened and closed.

Of 4 vectors at most 3 are exclusive or the application's at a time, so by the rules in docs/ims.md nothing may be
refused. ``VFIO_IMS_CHURN`` is the number of allocations; the full churn is a hundred thousand:

    VFIO_IMS_CHURN=100000 pytest tests/soak/test_churn.py --timeout=7200
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from tests.behaviour.test_mock_donors import Two, TwoTables
from vfio_ims.backends.software.device import SoftwareDevice
from vfio_ims.backends.software.in_process import InProcessLink
from vfio_ims.device import Device
from vfio_ims.drivers.minimal.driver import Minimal
from vfio_ims.ims import ImsDomain, ImsInterrupt
from vfio_ims.platform import Platform
from vfio_ims.testing import held

ALLOCATIONS = int(os.environ.get("VFIO_IMS_CHURN", "4000"))
THREADS = 4
VECTORS = 4
TIMEOUT = 30.0


class Churn:
    """What the threads share: the device, how many vectors may be taken for one user alone, and what went wrong."""

    def __init__(self, two: Two) -> None:
        self.two = two
        self.interrupts = two.driver.device.interrupts
        self.alone = threading.Semaphore(VECTORS - 1)
        self.slots = {two.first: threading.Semaphore(16), two.second: threading.Semaphore(8)}
        self.opened: set[int] = set()
        self.done: Counter[str] = Counter()
        self.problems: list[str] = []

    def run(self, seed: int, allocations: int) -> None:
        random = Random(seed)
        steps: list[Callable[[Random], int]] = [self.shared, self.shared, self.group, self.exclusive, self.msix]
        left = allocations
        try:
            while left > 0 and not self.problems:
                left -= random.choice(steps)(random)
        except Exception as error:  # noqa: BLE001 - a refusal is what the test looks for
            self.problems.append(f"thread {seed}: {type(error).__name__}: {error}")

    def domain(self, random: Random) -> ImsDomain:
        return random.choice((self.two.first, self.two.second))

    def deliver(self, irq: ImsInterrupt) -> None:
        """A wake-up may be of another slot on the donor, or of a move: at least one must come after the fire."""
        irq.wakeup.take()
        if irq.domain is self.two.first:
            self.two.driver.fire(irq.slot)
        else:
            with self.two.model.lock:
                self.two.model.slots_in(2).fire(irq.slot)
        if not irq.wait(TIMEOUT):
            self.problems.append(f"lost: {irq}")

    def shared(self, random: Random) -> int:
        domain = self.domain(random)
        with self.slots[domain], domain.allocate() as irq:
            self.deliver(irq)
        self.done["shared"] += 1
        return 1

    def group(self, random: Random) -> int:
        domain = self.domain(random)
        with self.slots[domain], self.slots[domain], domain.allocate_group(2) as irqs:
            for irq in irqs:
                self.deliver(irq)
        self.done["group"] += 2
        return 2

    def exclusive(self, random: Random) -> int:
        domain = self.domain(random)
        with self.slots[domain], self.alone, domain.allocate(exclusive=True) as irq:
            if random.random() < 0.3:
                descriptor = irq.fileno()
                self.two.driver.fire(irq.slot) if domain is self.two.first else self.fire_second(irq)
                if os.eventfd_read(descriptor) < 1:
                    self.problems.append(f"lost: {irq}")
            else:
                self.deliver(irq)
        self.done["exclusive"] += 1
        return 1

    def fire_second(self, irq: ImsInterrupt) -> None:
        with self.two.model.lock:
            self.two.model.slots_in(2).fire(irq.slot)

    def msix(self, random: Random) -> int:
        """A vector by number: whichever is the donor of exclusive slots may refuse, so one that is not."""
        pool = self.interrupts.donors
        with self.alone:
            with pool.lock:
                alone = {one.vector for one in pool.vectors.values() if one.exclusive}
                number = random.choice([one for one in range(VECTORS) if one not in alone | self.opened])
                vector = self.interrupts.open_msix(number)
                self.opened.add(number)
            try:
                vector.trigger()
                if not vector.wait(TIMEOUT):
                    self.problems.append(f"lost: a trigger of vector {number}")
            finally:
                with pool.lock:
                    vector.close()
                    self.opened.discard(number)
        self.done["msix"] += 1
        return 0


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("remapping", [True, False])
def test_nothing_is_refused_or_lost_and_all_is_given_back(remapping: bool) -> None:
    before = held()
    model = TwoTables("mock:two")
    device = Device(SoftwareDevice(InProcessLink(model), Platform(remapping=remapping), "mock:two"))
    with device, Minimal.start_on(device) as driver:
        churn = Churn(Two(model, driver))
        threads = [threading.Thread(target=churn.run, args=(seed, ALLOCATIONS // THREADS)) for seed in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not churn.problems, churn.problems[:3]
        done = churn.done
        assert done["shared"] + done["group"] + done["exclusive"] >= ALLOCATIONS // THREADS * THREADS
        assert min(done.values()) > 0
        assert not driver.ims.report().slots
        with driver.ims.allocate_group(16) as irqs:
            assert {irq.donor for irq in irqs} == set(range(VECTORS))
            assert all(churn.two.delivered(irq) for irq in irqs)
    assert not held().since(before)
    print(f"\n{dict(done)}")
