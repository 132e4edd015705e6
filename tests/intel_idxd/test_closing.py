# SPDX-License-Identifier: Apache-2.0
"""A driver that is closed or reset while other threads are at work: they raise, and touch nothing that is gone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from array import array
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from tests.intel_idxd.conftest import Opener
from vfio_ims.drivers.intel_idxd.driver.configuration import Configuration
from vfio_ims.drivers.intel_idxd.hardware.descriptors import DsaOpcode
from vfio_ims.drivers.intel_idxd.hardware.status import Status
from vfio_ims.errors import DeviceTimeout
from vfio_ims.ims import FireStatus
from vfio_ims.interruption import uninterrupted

TIMEOUT = 30.0

_ROUNDS, _THREADS = 6, 4
_CLOSED = f"""
import sys, threading, time, random
import vfio_ims
from vfio_ims.errors import VfioImsError
kind, use, seed = sys.argv[1:]
chance = random.Random(int(seed))
def work(driver, irqs, number):
    irq = irqs[number]
    try:
        while True:
            if use == "fire": driver.fire(irq.slot)
            elif use == "vector": driver.fire_vector(1 + number)
            elif use == "wait": driver.fire(irq.slot); irq.wait(5)
            elif use == "poll": polled[number].poll(); polled[number].value
            else:
                with driver.wq(number, "ims") as wq: wq.nop() if hasattr(wq, "nop") else driver.fire(irq.slot)
    except VfioImsError:
        pass
for _ in range({_ROUNDS}):
    driver = vfio_ims.open_driver(f"mock:{{kind}},slots=256")
    irqs = driver.ims.allocate_group({_THREADS})
    polled = [driver.ims.allocate_polled() for _ in range({_THREADS})]
    threads = [threading.Thread(target=work, args=(driver, irqs, n)) for n in range({_THREADS})]
    for thread in threads: thread.start()
    time.sleep(chance.uniform(0.001, 0.03))
    driver.close()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
print("done")
"""


@pytest.mark.parametrize("kind", ["intel-dsa", "intel-iaa"])
@pytest.mark.parametrize("use", ["fire", "vector", "wait", "poll", "work"])
def test_closing_under_threads_at_work(kind: str, use: str) -> None:
    """In a process of its own: what it must not do is to end by SIGSEGV."""
    ended = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", _CLOSED, kind, use, "13"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr[-3000:]


def test_a_fire_during_a_reset_waits_for_its_end(opened: Opener) -> None:
    """It was lost with the device's queues, and timed out after 5 s."""
    dsa = opened()
    irqs = dsa.ims.allocate_group(4)
    over = threading.Event()
    slow: list[str] = []

    def work(slot: int) -> None:
        while not over.is_set():
            began = time.monotonic()
            try:
                report = dsa.fire(slot)  # pending where the reset has quiesced the slot, and not written it again yet
                if report.status is FireStatus.REFUSED:
                    slow.append(str(report))
            except DeviceTimeout as error:
                slow.append(f"{error} after {time.monotonic() - began:.3g} s")

    threads = [threading.Thread(target=work, args=(irq.slot,)) for irq in irqs]
    for thread in threads:
        thread.start()
    for _ in range(15):
        dsa.reset()
    over.set()
    for thread in threads:
        thread.join(TIMEOUT)
    assert not slow
    assert all(irq.wait(TIMEOUT) for irq in irqs)


def test_what_a_shared_queue_refuses_is_not_counted(opened: Opener) -> None:
    """ "All 16 entries are taken" of a queue that is idle."""
    dsa = opened()
    even = Configuration.even(dsa.capabilities)
    queues = tuple(replace(q, dedicated=False, threshold=q.size) if q.index == 3 else q for q in even.queues)
    dsa.configure(replace(even, queues=queues))
    queue = dsa.queues[3]

    def refuse(offset: int, data: object) -> bool:
        return False

    record = dsa.records.take()
    really, queue._portals.enqueue64 = queue._portals.enqueue64, refuse  # type: ignore[method-assign]
    try:
        for _ in range(queue.size + 1):
            with uninterrupted(), pytest.raises(DeviceTimeout, match="answered retry"):
                queue.submit(bytes(64), record, ims=False, timeout=0)
    finally:
        queue._portals.enqueue64 = really  # type: ignore[method-assign]
    assert queue.in_flight == 0
    with dsa.wq(3) as wq:
        wq.nop()


@pytest.mark.parametrize("taken", [0, 3])
def test_of_many_that_a_shared_queue_refuses_only_those_it_took_are_counted(opened: Opener, taken: int) -> None:
    """The queue is usable once these have completed, and closing the session waits for no others."""
    dsa = opened()
    even = Configuration.even(dsa.capabilities)
    queues = tuple(replace(q, dedicated=False, threshold=q.size) if q.index == 3 else q for q in even.queues)
    dsa.configure(replace(even, queues=queues))
    queue, calls = dsa.queues[3], count()
    really = queue._portals.enqueue64

    def enqueue(offset: int, data: bytes) -> bool:
        return next(calls) < taken and really(offset, data)

    with dsa.wq(3, timeout=0.05) as wq:
        queue._portals.enqueue64 = enqueue  # type: ignore[method-assign]
        try:
            with pytest.raises(DeviceTimeout, match="answered retry"):
                wq.submit_many(DsaOpcode.NOP, size=array("I", [8] * 6))
        finally:
            queue._portals.enqueue64 = really  # type: ignore[method-assign]
        assert queue.in_flight == taken
        with dsa.wq(3) as other:
            assert other.nop().ok
            assert list(other.submit_many(DsaOpcode.NOP, size=array("I", [8] * 6)).wait()) == [Status.SUCCESS] * 6
    assert queue.in_flight == 0


def test_a_fire_that_is_broken_off_leaves_its_entry_to_the_device(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the no-op is on its way: the next fire of the slot waits for that record before it uses it."""
    dsa = opened()
    irq = dsa.ims.allocate()
    firing = dsa.firing
    import vfio_ims.drivers.intel_idxd.driver.firing as module

    def press(*arguments: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "load", lambda *arguments: 0)
    monkeypatch.setattr(module, "wait_for_record", press)
    with pytest.raises(KeyboardInterrupt):
        dsa.fire(irq.slot)
    monkeypatch.undo()
    assert len(firing._late) == 1
    for _ in range(40):
        assert dsa.fire(irq.slot).status is FireStatus.SENT
    assert not firing._late
    assert sum(queue.in_flight for queue in dsa.queues.values()) == 0
    assert irq.wait(TIMEOUT)


def test_ctrl_c_while_a_session_is_opened_keeps_nothing(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slot that it had taken for itself is free again."""
    dsa = opened()
    allocate = dsa.resources.allocate

    def pressed(pasid: int | None = None) -> Any:
        made = allocate(pasid)
        os.kill(os.getpid(), signal.SIGINT)
        return made

    monkeypatch.setitem(dsa.__dict__, "resources", replace(dsa.resources, allocate=pressed))
    with pytest.raises(KeyboardInterrupt):
        dsa.wq(0, "ims")
    monkeypatch.undo()
    assert dsa.queues[0].sessions == 0
    assert not dsa.ims.allocated
    with dsa.wq(0, "ims") as wq:
        assert wq.nop().ok
