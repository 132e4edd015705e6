# SPDX-License-Identifier: Apache-2.0
"""Many fires from four threads over shared donors and 2048 slots: none is lost, none moves another donor.

``VFIO_IMS_SOAK`` is the number of fires for each way of merging, and for AMD and ITS; the full soak is a million:

    VFIO_IMS_SOAK=1000000 pytest tests/soak --timeout=7200
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from random import Random
from typing import Any

import pytest

import vfio_ims
from vfio_ims.driver import Driver
from vfio_ims.ims import FireStatus, ImsInterrupt

FIRES = int(os.environ.get("VFIO_IMS_SOAK", "20000"))
THREADS = 4
BURST = 8
TIMEOUT = 30.0


class Owner(threading.Thread):
    """Fires slots of its own in bursts, and waits for each: messages of a burst are in flight together."""

    def __init__(self, driver: Driver, interrupts: list[ImsInterrupt], fires: int, seed: int) -> None:
        super().__init__(name=f"owner {seed}")
        self._driver, self._interrupts, self._left, self._random = driver, interrupts, fires, Random(seed)
        self.fired: Counter[int] = Counter()
        self.lost: list[int] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while self._left > 0 and not self.lost:
                self._burst(min(self._left, self._random.randint(1, BURST)))
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            self.error = error

    def _burst(self, count: int) -> None:
        chosen = self._random.sample(self._interrupts, count)
        self._left -= count
        for interrupt in chosen:
            interrupt.wakeup.take()
            assert self._driver.fire(interrupt.slot).status is FireStatus.SENT
            self.fired[interrupt.slot] += 1
        self.lost += [interrupt.slot for interrupt in chosen if not interrupt.wait(TIMEOUT)]


def count_messages(driver: Driver) -> Counter[int]:
    """What the device says that it sent, by slot: counted inside the model."""
    port: Any = driver.device.port
    store, sent = port.link.model.slots, Counter[int]()
    emit = store.emit

    def counted(index: int, slot: Any) -> None:
        sent[index] += 1  # with the model's lock held
        emit(index, slot)

    store.emit = counted
    return sent


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(
    "host", ["merge=always", "merge=random", "merge=never", "platform=amd", "platform=its-smmu,merge=random"]
)
def test_every_fire_is_found_by_its_owner(host: str) -> None:
    with vfio_ims.open_driver(f"mock:intel-dsa,{host}") as driver:
        sent, fired = count_messages(driver), Counter[int]()
        domain = driver.ims
        group = list(domain.allocate_group(domain.table.size))
        assert len(group) == 2048
        vectors = {interrupt.slot: interrupt.donor for interrupt in group}
        donors = sorted(set(vectors.values()))
        assert len(donors) == 8
        for turn, idle in enumerate(donors):  # one donor's slots rest: nothing may move it
            fires = FIRES // len(donors) // THREADS
            before = {vector: domain.donors[vector].count for vector in donors}
            owners = []
            for number in range(THREADS):
                own = [each for each in group if each.slot % THREADS == number and vectors[each.slot] != idle]
                owners.append(Owner(driver, own, fires, turn * THREADS + number))
            for owner in owners:
                owner.start()
            for owner in owners:
                owner.join()
            for owner in owners:
                if owner.error is not None:
                    raise owner.error
                assert not owner.lost
                assert owner.fired.total() == fires
            domain.hub.drain()
            turns = sum((owner.fired for owner in owners), Counter[int]())
            for vector in donors:
                here = sum(count for slot, count in turns.items() if vectors[slot] == vector)
                events = domain.donors[vector].count - before[vector]
                assert events == here if host == "merge=never" else events <= here
                assert (events > 0) == (here > 0)
            assert domain.donors[idle].count == before[idle]
            fired += turns
        port: Any = driver.device.port
        assert port.platform.faults.total == 0
        assert fired == sent
        assert sum(donor.count for donor in domain.donors.values()) <= fired.total()
