# SPDX-License-Identifier: Apache-2.0
"""Several threads on one device, forked children, and waits that are broken off."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

import vfio_ims
from tests.behaviour.common import EVERYWHERE, TIMEOUT, arrives, delivered, fire, in_child
from vfio_ims.driver import Driver
from vfio_ims.errors import ClosedError
from vfio_ims.ims import FireStatus

pytestmark = EVERYWHERE


def together(*jobs: Callable[[], None]) -> None:
    """Run the jobs in a thread each; the first failure is raised here."""
    failures: list[BaseException] = []

    def run(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as failure:  # noqa: BLE001 - raised below, in the test's thread
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(4 * TIMEOUT)
    assert not any(thread.is_alive() for thread in threads), "a thread hangs"
    if failures:
        raise failures[0]


def test_four_threads_allocate_fire_wait_and_close(ims_driver: Driver) -> None:
    lost: list[str] = []

    def work() -> None:
        for _ in range(8):
            with ims_driver.ims.allocate() as irq:
                for _ in range(3):
                    fire(ims_driver, irq)
                    if not arrives(irq):
                        lost.append(str(irq))

    together(*[work] * 4)
    assert not lost
    assert not ims_driver.ims.report().slots


def test_four_threads_share_a_group(ims_driver: Driver) -> None:
    """Each thread fires and waits for its own slots, while the others' events come in on the same donors."""
    with ims_driver.ims.allocate_group(min(16, ims_driver.ims.table.size)) as irqs:
        lost: list[str] = []

        def work(mine: slice) -> None:
            own = irqs[mine]
            for _ in range(3):
                for irq in own:
                    fire(ims_driver, irq)
                lost.extend(str(irq) for irq in own if not arrives(irq))

        together(*[lambda part=part: work(slice(part, None, 4)) for part in range(4)])
        assert not lost


def test_one_thread_fires_what_another_waits_for(ims_driver: Driver) -> None:
    irq = ims_driver.ims.allocate()
    turns = 10
    ready = threading.Semaphore(0)

    def wait() -> None:
        for _ in range(turns):
            ready.release()
            assert arrives(irq)

    def shoot() -> None:
        for _ in range(turns):
            assert ready.acquire(timeout=TIMEOUT)
            fire(ims_driver, irq)

    together(wait, shoot)


@pytest.mark.parametrize("how", ["interrupt", "group", "domain", "driver"])
def test_closing_ends_a_wait_in_another_thread(vfio_name: str, how: str) -> None:
    with vfio_ims.open_driver(vfio_name) as driver:
        group = driver.ims.allocate_group(1)
        irq = group[0]
        waiting = threading.Event()

        def wait() -> None:
            waiting.set()
            with pytest.raises(ClosedError):
                irq.wait()

        def close() -> None:
            assert waiting.wait(TIMEOUT)
            time.sleep(0.02)
            {"interrupt": irq, "group": group, "domain": driver.ims, "driver": driver}[how].close()

        together(wait, close)


def test_threads_grow_donors_and_masks_at_once(ims_driver: Driver) -> None:
    def masks() -> None:
        with ims_driver.ims.allocate() as irq:
            for _ in range(10):
                irq.mask()
                assert ims_driver.fire(irq.slot).status is FireStatus.PENDING
                irq.unmask()
                assert arrives(irq)

    def grows() -> None:
        for _ in range(3):
            with ims_driver.ims.allocate_group(3) as irqs:
                assert delivered(ims_driver, irqs[2])
            ims_driver.ims.report()

    together(masks, grows, masks, grows)


def test_a_wait_can_be_broken_off_and_the_next_one_works(ims_driver: Driver) -> None:
    """Ctrl-C in the main thread: KeyboardInterrupt at once, not at the timeout; nothing is left locked."""
    with ims_driver.ims.allocate() as irq:
        timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            arrives(irq)
        assert time.monotonic() - began < TIMEOUT / 2
        timer.join()
        assert delivered(ims_driver, irq)


# --- fork -------------------------------------------------------------------------------------------------------------


def test_a_forked_childs_error_says_whose_device_it_is(ims_driver: Driver) -> None:
    irq = ims_driver.ims.allocate()
    device, buffer = ims_driver.device, ims_driver.device.dma.allocate(64)
    vector = device.interrupts.open_err() if device.interrupts.info(3).count else None
    uses: list[Callable[[], object]] = [
        irq.wait,
        ims_driver.ims.allocate,
        lambda: device.bar(0).read32(0),
        lambda: buffer.view,
        lambda: device.dma.allocate(1),
        device.reset,
        ims_driver.reset,
    ]
    if vector is not None:
        uses.append(vector.wait)
    for use in uses:
        said = in_child(lambda use=use: str(use()))
        assert said.startswith("ClosedError"), said
        assert f"process {os.getpid()}, this one is a fork of it" in said, said


def test_a_childs_end_leaves_the_parents_device_alone(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate() as irq, ims_driver.device.dma.allocate(64) as buffer:
        buffer.view[0] = 1

        def child() -> str:
            ims_driver.close()  # does nothing here: it is the parent's
            return "closed"

        assert in_child(child) == "closed"
        assert delivered(ims_driver, irq)
        assert buffer.view[0] == 1
        assert ims_driver.device.config.bus_master


def test_a_child_keeps_nothing_of_the_device(ims_driver: Driver) -> None:
    irq = ims_driver.ims.allocate(exclusive=True)
    descriptor = irq.fileno()
    buffer = ims_driver.device.dma.allocate(4096)

    def child() -> str:
        targets = []
        for number in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                targets.append(os.readlink(f"/proc/self/fd/{number}"))
        ours = ("vfio", "iommu", "eventfd", "eventpoll", "memfd", "socket")
        return " ".join([target for target in targets if any(word in target for word in ours)])

    assert os.readlink(f"/proc/self/fd/{descriptor}").startswith("anon_inode:[eventfd]")
    assert in_child(child) == ""
    buffer.close()
