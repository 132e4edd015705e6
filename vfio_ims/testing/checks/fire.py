# SPDX-License-Identifier: Apache-2.0
"""``fire`` and ``fire_vector``: once, that slot, and the device's own word about it."""

from __future__ import annotations

import os
import threading
import time

import pytest

from vfio_ims.counted import counted
from vfio_ims.driver import Driver
from vfio_ims.errors import UnsupportedError, UsageError
from vfio_ims.ims import FireReport, FireStatus, ImsInterrupt
from vfio_ims.messages import Slot
from vfio_ims.testing.contract import arrives, breach, exclusive, fired_alright, some
from vfio_ims.testing.silence import silent


def test_fire_raises_any_slot(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    for slot in some(domain.table.size):
        with domain.allocate(slot=slot) as irq:
            fired_alright(ims_driver, irq, "fired alone")
            found = f"slot {slot} was {Slot(irq.message, masked=False)} and is {domain.table.read(slot)}"
            untouched = domain.table.read(slot) == Slot(irq.message, masked=False)
            assert untouched, breach(ims_driver, "fire", "the slot's message and mask are not touched", found)


def test_fire_raises_no_other_slot(ims_driver: Driver) -> None:
    target, other = exclusive(ims_driver, 2)
    fired_alright(ims_driver, target, "beside another slot")
    found = f"firing slot {target.slot} raised slot {other.slot}"
    assert silent(other), breach(ims_driver, "fire", "raises that slot", found)


def test_fire_raises_once(ims_driver: Driver) -> None:
    (irq,) = exclusive(ims_driver, 1)
    descriptor = irq.fileno()
    ims_driver.fire(irq.slot)
    time.sleep(max(ims_driver.device.port.settle, 0.02))
    found = f"one fire of slot {irq.slot} gave {counted((count := os.eventfd_read(descriptor)), 'event')}"
    assert count == 1, breach(ims_driver, "fire", "raises the slot once", found)


def test_fire_many_raises_each_once(ims_driver: Driver) -> None:
    irqs = exclusive(ims_driver, min(4, len(ims_driver.ims.eligible_vectors), ims_driver.ims.table.size))
    slots, descriptors = [irq.slot for irq in irqs], [irq.fileno() for irq in irqs]
    promise = "raises each of the slots once, and reports on each in their order"
    reports = ims_driver.fire_many(slots)
    statuses = [report.status for report in reports]
    assert statuses == [FireStatus.SENT] * len(slots), breach(ims_driver, "fire_many", promise, str(statuses))
    time.sleep(max(ims_driver.device.port.settle, 0.02))
    for slot, descriptor in zip(slots, descriptors, strict=True):
        found = f"slot {slot} gave {counted((count := os.eventfd_read(descriptor)), 'event')}"
        assert count == 1, breach(ims_driver, "fire_many", promise, found)


def test_fire_of_a_masked_slot_is_pending(ims_driver: Driver) -> None:
    table = ims_driver.ims.table
    if not table.has_mask:
        pytest.skip("not applicable: the table's entries have no mask")
    with ims_driver.ims.allocate(masked=True) as irq:
        report = ims_driver.fire(irq.slot)
        promise = "a masked slot is not raised; it is reported as pending"
        if table.has_pending:
            found = f"the report is {report}, the pending bit {irq.pending}"
            right = report.status is FireStatus.PENDING and irq.pending
            assert right, breach(ims_driver, "fire", promise, found)
        assert silent(irq), breach(ims_driver, "fire", promise, f"slot {irq.slot}'s interrupt came")
        assert irq.masked == table.read(irq.slot).masked, breach(
            ims_driver, "fire", "the mask is not touched", str(table.read(irq.slot))
        )
        if table.has_pending:
            irq.unmask()
            assert arrives(ims_driver, irq), breach(
                ims_driver, "fire", promise, "unmasking did not send what was pending"
            )


def test_fire_outside_the_table_is_refused(ims_driver: Driver) -> None:
    for slot in (ims_driver.ims.table.size, -1):
        answer: object
        try:
            answer = ims_driver.fire(slot)
        except UsageError:
            continue
        except Exception as error:  # noqa: BLE001
            answer = error
        refused = isinstance(answer, FireReport) and answer.status is FireStatus.REFUSED
        promise = "no such slot: a refusal, or UsageError"
        assert refused, breach(ims_driver, "fire", promise, f"fire({slot}) gave {answer!r}")
    with ims_driver.ims.allocate() as irq:
        fired_alright(ims_driver, irq, "after one that was refused")


def test_work_of_another_pasid_is_refused(ims_driver: Driver) -> None:
    if not ims_driver.ims.table.has_pasid:
        pytest.skip("not applicable: the table's entries have no PASID")
    with ims_driver.ims.allocate(pasid=0x55) as irq:
        report = ims_driver.fire(irq.slot)
        promise = "the wrong PASID raises nothing and is reported as refused"
        found = f"slot {irq.slot} is PASID 0x55's, untagged work got {report}"
        assert report.status is FireStatus.REFUSED, breach(ims_driver, "fire", promise, found)
        assert silent(irq), breach(ims_driver, "fire", promise, "the interrupt came all the same")
    with ims_driver.ims.allocate() as irq:
        fired_alright(ims_driver, irq, "after work with the wrong PASID")


def test_several_threads_may_fire(ims_driver: Driver) -> None:
    irqs = ims_driver.ims.allocate_group(4)
    held, problems = list(irqs), []

    def work(irq: ImsInterrupt) -> None:
        for _ in range(5):
            try:
                fired_alright(ims_driver, irq, "while other threads fired")
            except BaseException as failure:  # noqa: BLE001 - raised below, in the test's thread
                problems.append(str(failure))
                return

    threads = [threading.Thread(target=work, args=(irq,), daemon=True) for irq in held]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems[0] + "\n  several threads may call it: register sequences need self.lock"


def test_fire_vector_raises_the_devices_own_vector(ims_driver: Driver) -> None:
    if not ims_driver.device.interrupts.msix.count:
        pytest.skip("not applicable: the function has no MSI-X")
    free = ims_driver.ims.eligible_vectors[0]
    with ims_driver.device.interrupts.open_msix(free) as vector:
        try:
            ims_driver.fire_vector(free)
        except UnsupportedError:
            pytest.skip("not applicable: the driver knows no way to raise a vector")
        found = f"vector {free} never came"
        assert arrives(ims_driver, vector), breach(ims_driver, "fire_vector", "raises the vector once", found)
