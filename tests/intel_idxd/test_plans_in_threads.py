# SPDX-License-Identifier: Apache-2.0
"""A plan that one thread submits and others wait for."""

from __future__ import annotations

import threading
import time
from array import array

import pytest

from tests.intel_idxd.memory import PAGE
from tests.intel_idxd.test_plans import COUNT, Mapped, mapped
from vfio_ims.drivers.intel_idxd.driver.plan import Plan
from vfio_ims.drivers.intel_idxd.hardware.descriptors import DsaOpcode
from vfio_ims.errors import DeviceTimeout, UsageError
from vfio_ims.native.access import fill
from vfio_ims.native.lib import native

__all__ = ["mapped"]

SIZE = 2 * COUNT
"""Of the queue."""


def complete(plan: Plan, first: int, count: int) -> None:
    rows = plan._work.rows
    fill(rows.records + first * rows.step, 1, count * rows.step)


def until(plan: Plan, stored: int) -> None:
    """Until the compiled call has come back so often that this many are known to be stored."""
    deadline = time.monotonic() + 5
    while plan._work.rows.stored < stored:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def submitting(mapped: Mapped) -> tuple[Plan, threading.Thread]:
    """Three times the queue's size, which are being submitted; nothing has completed."""
    mapped.wq.timeout = 20
    plan = mapped.wq.plan(DsaOpcode.MEMMOVE, source=array("Q", range(3 * SIZE)), destination=7, size=64)
    thread = threading.Thread(target=plan.submit)
    thread.start()
    return plan, thread


def test_what_is_being_submitted_is_waited_for(submitting: tuple[Plan, threading.Thread]) -> None:
    plan, thread = submitting
    while not plan.in_flight:
        time.sleep(0)
    with pytest.raises(DeviceTimeout, match=r"of .* have completed in turn"):
        plan.wait(0)
    while thread.is_alive():
        complete(plan, 0, 3 * SIZE)
        thread.join(0.01)
    complete(plan, 0, 3 * SIZE)
    assert plan.wait() == b"\1" * (3 * SIZE)


def test_waiting_for_a_part_does_not_end_the_whole(mapped: Mapped, submitting: tuple[Plan, threading.Thread]) -> None:
    plan, thread = submitting
    until(plan, SIZE)
    complete(plan, 0, SIZE)
    first = plan.wait(2)  # of those that were known to be stored when it looked
    assert first == b"\1" * len(first)
    assert len(first) in (SIZE, 2 * SIZE)
    until(plan, 2 * SIZE)
    complete(plan, SIZE, SIZE)
    thread.join(5)
    assert plan.in_flight
    with pytest.raises(DeviceTimeout):
        plan.wait(0)
    complete(plan, 2 * SIZE, SIZE)
    assert plan.wait() == b"\1" * (3 * SIZE)
    queue = mapped.dsa.queues[0]
    assert (queue.in_flight, queue.page.c.rows) == (0, 0)


def test_several_wait_while_it_is_submitted_again_and_again(mapped: Mapped) -> None:
    """Each of them may take the completions; none takes those of the next submission."""
    plan, queue = mapped.plan(), mapped.dsa.queues[0]
    over = False

    def wait() -> None:
        while not over:
            try:
                plan.wait(0)
            except DeviceTimeout:
                continue

    mapped.complete(plan.submit())
    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            plan.wait()
            plan.submit()
            assert plan.in_flight
            assert queue.page.c.rows == COUNT
            mapped.complete(plan)
    finally:
        over = True
        for thread in threads:
            thread.join()
    plan.wait()
    assert queue.page.c.rows == 0


def test_each_thread_s_addresses_are_stored_for_it(mapped: Mapped) -> None:
    """Two submit one plan, whose own addresses one of them replaces: each had its own stored."""
    own, others = array("Q", [1] * COUNT), array("Q", [2] * COUNT)
    plan = mapped.wq.plan(DsaOpcode.MEMMOVE, source=own, destination=7, size=64)
    wrong: list[tuple[int, int]] = []
    over = time.monotonic() + 1.5

    def submit(expected: int, given: array[int] | None) -> None:
        while time.monotonic() < over:
            try:
                plan.submit(source=given)
            except UsageError:  # the other one's is in flight
                continue
            at = int(plan._work.c.start)
            found = [mapped.stored((at + 64 * n) % PAGE)[1] for n in (0, COUNT // 2, COUNT - 1)]
            wrong.extend((expected, source) for source in found if source != expected)
            mapped.complete(plan)
            plan.wait()

    threads = [threading.Thread(target=submit, args=args) for args in ((1, None), (2, others))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_rows_whose_arrays_were_let_go_are_not_stored(mapped: Mapped) -> None:
    """The compiled calls do not read what is not there, however they are called."""
    plan, (ffi, lib) = mapped.plan(), native()
    work = plan._work
    mapped.complete(plan.submit())
    plan.wait()
    with mapped.portals.view as view:
        view[:PAGE] = bytes(PAGE)
    work.rows.release()
    assert lib.row_plan_again(work.window, work.c) == lib.ACCESS_BUSY
    assert lib.row_plan_again_with(work.window, work.c, ffi.NULL, ffi.NULL, ffi.NULL) == lib.ACCESS_BUSY
    assert lib.row_plan_store(work.window, work.c, 2 * COUNT, 0) == lib.ACCESS_INVALID
    with pytest.raises(UsageError, match="they were closed meanwhile"):
        work.submit()
    assert not plan.in_flight
    with mapped.portals.view as view:
        assert not any(view[:PAGE])
