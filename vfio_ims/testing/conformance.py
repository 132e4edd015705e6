# SPDX-License-Identifier: Apache-2.0
"""Is a driver right? The contract of ``vfio_ims.driver.Driver``, callback by callback, for any registered family.

    pytest --pyargs vfio_ims.testing.conformance --vfio-driver PATH --vfio-device mock:MODEL

Without ``--vfio-device`` it runs on every model of every family; with it, on that device, be it a model or silicon. A
failure names the callback, its promise, and what was found instead. A skip is something that the device does not have.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from vfio_ims.counted import counted
from vfio_ims.device import Device
from vfio_ims.driver import Driver, driver_for
from vfio_ims.errors import DeviceBusy, DeviceError, DeviceTimeout, UnsupportedError, UsageError
from vfio_ims.families import family_for, not_under_test
from vfio_ims.ims import FireReport, FireStatus, ImsInterrupt
from vfio_ims.messages import Message, Slot
from vfio_ims.testing import contract
from vfio_ims.testing.contract import (
    arrives,
    breach,
    exclusive,
    fired_alright,
    fired_slots,
    nothing,
    reset_raw,
    some,
    start_raw,
    values,
)
from vfio_ims.testing.ending import test_a_slots_neighbours_are_left_alone as test_a_slots_neighbours_are_left_alone
from vfio_ims.testing.ending import test_closing_leaves_the_table_quiet as test_closing_leaves_the_table_quiet
from vfio_ims.testing.folders import folder_problems
from vfio_ims.testing.plugin import places_of
from vfio_ims.testing.silence import silent

pytestmark = pytest.mark.vfio(model="*")


@pytest.fixture(autouse=True)
def the_folder_answers(vfio_name: str, request: pytest.FixtureRequest) -> None:
    """The driver that answers is the one under test: that of the model's family, or of a folder that was given."""
    places, place = places_of(request.config), request.node.callspec.params["vfio_name"]
    ids = places.ids(vfio_name)
    answered = driver_for(ids.vendor, ids.device, vfio_name)
    problem = not_under_test(answered, *places.under_test(place))
    if problem is not None:
        pytest.fail(str(problem), pytrace=False)


@pytest.fixture
def kind(vfio_device: Device) -> type[Driver]:
    """The driver's class, for a device on which it was not started."""
    vfio_device.config.memory = True
    vendor, number = vfio_device.config.read(0, 2), vfio_device.config.read(2, 2)
    return family_for(vendor, number, vfio_device.name).load_driver(f"{vendor:04x}:{number:04x}")


@pytest.fixture
def idle(kind: type[Driver], vfio_device: Device) -> Iterator[Driver]:
    """A driver that was made and not started."""
    with kind(vfio_device) as made:
        yield made


# --- the family -------------------------------------------------------------------------------------------------------


def test_the_family_is_declared_as_it_is(idle: Driver) -> None:
    device = idle.device
    family = family_for(device.config.read(0, 2), device.config.read(2, 2))
    for model in family.models:
        made = family.load_model(model)(model)
        made.close()
        assert made.id in family.ids, f"family {family.name}: model {model} is {made.id}, which ids does not list"
    problems = folder_problems(family)
    assert not problems, problems


def test_reserved_vectors_leave_a_donor(idle: Driver) -> None:
    count, reserved = idle.device.interrupts.donors.count, idle.reserved_vectors
    promise = "MSI-X vectors that the device needs for itself"
    outside = [vector for vector in reserved if vector not in range(count)]
    assert not outside, breach(idle, "reserved_vectors", promise, f"the device has {count}, and {outside} are listed")
    assert len(set(reserved)) < count, breach(idle, "reserved_vectors", promise, "none is left to be a donor")


# --- ims_table --------------------------------------------------------------------------------------------------------


def test_the_table_is_found_before_the_device_is_started(idle: Driver) -> None:
    promise = "works before start"
    try:
        table = idle.ims_table()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the author's
        pytest.fail(breach(idle, "ims_table", promise, f"it raised {error!r}"))
    assert table.size > 0, breach(idle, "ims_table", promise, "its size is 0")
    assert idle.ims_table().size == table.size, breach(idle, "ims_table", promise, "the second time its size differs")


def test_finding_the_table_changes_nothing(idle: Driver) -> None:
    table = idle.ims_table()
    mark = Slot(table.limits.kept(Message(idle.device.dma.allocate(4).iova, 0x5A)), masked=table.has_mask)
    table.write_pattern(range(table.size), [mark])
    command = idle.device.config.read(4, 2)
    before = [table.read(slot) for slot in some(table.size)]
    idle.ims_table()
    promise = "may read the device, changes nothing"
    assert idle.device.config.read(4, 2) == command, breach(idle, "ims_table", promise, "the command register changed")
    after = [table.read(slot) for slot in some(table.size)]
    assert after == before, breach(idle, "ims_table", promise, "slots changed")


def test_the_table_keeps_what_is_written(idle: Driver) -> None:
    table = idle.ims_table()
    chosen = some(table.size)
    written = dict(zip(chosen, values(idle, table), strict=False))
    promise = "an entry reads back as it was written, each in its own place"
    for how in ("write", "write_many", "write_pattern"):
        cleared = table.limits.kept(Message(idle.device.dma.buffers[0].iova, 0))
        table.write_pattern(chosen, [Slot(cleared, masked=table.has_mask)])
        if how == "write":
            for slot, value in written.items():
                table.write(slot, value)
        elif how == "write_many":
            table.write_many(written.items())
        else:
            table.write_pattern(list(written), list(written.values()))
        for slot, value in written.items():
            found = f"after {how}, slot {slot} reads {table.read(slot)}, it was written as {value}"
            assert table.read(slot) == value, breach(idle, "ims_table", promise, found)


def test_an_index_outside_the_table_is_refused(idle: Driver) -> None:
    table = idle.ims_table()
    value = Slot(table.limits.kept(Message(idle.device.dma.allocate(4).iova, 0)), masked=table.has_mask)
    for index in (-1, table.size):
        for name, use in (("read", lambda i: table.read(i)), ("write", lambda i: table.write(i, value))):
            try:
                use(index)
            except UsageError:
                continue
            found = f"{name}({index}) did, and the table has {counted(table.size, 'slot')}"
            pytest.fail(breach(idle, "ims_table", "an index outside raises UsageError", found))


# --- start, stop, reset -----------------------------------------------------------------------------------------------


def test_start_raises_nothing_and_leaves_the_bus_mastered(kind: type[Driver], vfio_device: Device) -> None:
    free = [vector for vector in range(vfio_device.interrupts.msix.count) if vector not in kind.reserved_vectors]
    vectors = [vfio_device.interrupts.open_msix(vector) for vector in free[:4]]
    promise = "on return it can take work and raise any slot, and has raised none; bus mastering is on"
    with kind.start_on(vfio_device) as driver:
        assert vfio_device.config.bus_master, breach(driver, "start", promise, "bus mastering is off")
        for vector in vectors:
            assert silent(vector), breach(driver, "start", promise, f"vector {vector.vector} was raised")


def test_start_works_from_any_state(ims_driver: Driver) -> None:
    def stop_twice() -> None:
        ims_driver.stop()
        ims_driver.stop()

    states: dict[str, Callable[[], object]] = {
        "after start": nothing,
        "after stop": ims_driver.stop,
        "after stop, twice": stop_twice,
        "after a fire": lambda: ims_driver.fire(0),
    }
    promise = "brings the device up from any state"
    for state, reach in states.items():
        reach()
        try:
            ims_driver.start()
        except Exception as error:  # noqa: BLE001
            pytest.fail(breach(ims_driver, "start", promise, f"{state} it raised {error!r}"))
        ims_driver.ims.resync()
        with ims_driver.ims.allocate() as irq:
            fired_alright(ims_driver, irq, f"after a start {state}")


def test_stop_works_from_any_state(idle: Driver) -> None:
    promise = "leaves the device disabled, from any state"
    states: dict[str, Callable[[], object]] = {
        "before any start": nothing,
        "after start": lambda: start_raw(idle),
        "a second time": nothing,
        "after a function reset": lambda: reset_raw(idle),
    }
    for state, reach in states.items():
        reach()
        try:
            idle.stop()
        except Exception as error:  # noqa: BLE001
            pytest.fail(breach(idle, "stop", promise, f"{state} it raised {error!r}"))


def test_stop_ends_on_a_device_that_no_longer_answers(ims_driver: Driver) -> None:
    if ims_driver.device.mount not in ("mock", "vfio-user"):
        pytest.skip("only a model can be made to stop answering and be used again")
    ims_driver.device.config.memory = False
    began = time.monotonic()
    try:
        with contextlib.suppress(DeviceError, DeviceTimeout):
            ims_driver.stop()
    except Exception as error:  # noqa: BLE001
        promise = "works on a device that no longer answers: returns, or raises DeviceError or DeviceTimeout"
        pytest.fail(breach(ims_driver, "stop", promise, f"it raised {error!r}"))
    finally:
        ims_driver.device.config.memory = True
    assert time.monotonic() - began < contract.STOPS, breach(ims_driver, "stop", "ends", "it waited too long")


def test_reset_keeps_the_interrupts(ims_driver: Driver) -> None:
    domain = ims_driver.ims
    irqs = [domain.allocate()]
    with contextlib.suppress(DeviceBusy):  # a table of one address may hold one donor's message only
        irqs.append(domain.allocate(exclusive=True))
    masked = domain.allocate(masked=True) if domain.table.has_mask else None
    ims_driver.reset()
    for irq in irqs:
        irq.wait(0)  # every waiter is woken once
        fired_alright(ims_driver, irq, "after a reset")
    wrong = [str(slot) for slot in domain.report().slots if not slot.in_order]
    assert not wrong, breach(ims_driver, "start", "after a reset slots can be written again", "; ".join(wrong))
    if masked is not None:
        masked.wait(0)
        found = f"slot {masked.slot} was masked before the reset, and its interrupt came"
        ims_driver.fire(masked.slot)
        assert silent(masked), breach(ims_driver, "start", "masks written after a reset hold", found)


# --- fire -------------------------------------------------------------------------------------------------------------


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

    threads = [threading.Thread(target=work, args=(irq,)) for irq in held]
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


# --- fired and quiesce ------------------------------------------------------------------------------------------------


def test_a_slot_that_fired_is_reported_at_least_once(ims_driver: Driver) -> None:
    slots = list(ims_driver.ims.allocate_group(4).slots)
    assert fired_slots(ims_driver, slots) == [], breach(
        ims_driver, "fired", "those that have fired", "named before any fire"
    )
    ims_driver.fire(slots[1])
    ims_driver.fire(slots[3])
    first = fired_slots(ims_driver, slots[:2])
    promise = "a slot that fired is named at least once, also when it was not asked of at first"
    found = f"{slots[1]} and {slots[3]} fired; asked of {slots[:2]} it named {first}"
    assert first == [slots[1]], breach(ims_driver, "fired", promise, found)
    later = fired_slots(ims_driver, slots)
    assert slots[3] in later, breach(ims_driver, "fired", promise, f"asked of {slots} then, it named {later}")
    assert fired_slots(ims_driver, []) == []
    ims_driver.fire(slots[1])
    again = fired_slots(ims_driver, slots)
    assert slots[1] in again, breach(ims_driver, "fired", promise, f"{slots[1]} fired again, and it named {again}")


def test_a_quiesced_slot_is_silent_and_can_be_used_again(ims_driver: Driver) -> None:
    irq = ims_driver.ims.allocate()
    promise = "on return nothing in the device refers to the slot; it may be idle, and asked of twice"
    try:
        ims_driver.quiesce(irq.slot)
        ims_driver.quiesce(irq.slot)
        fired_alright(ims_driver, irq, "after quiesce")
        ims_driver.quiesce(irq.slot)
    except Exception as error:  # noqa: BLE001
        pytest.fail(breach(ims_driver, "quiesce", promise, f"it raised {error!r}"))
    assert silent(irq), breach(ims_driver, "quiesce", promise, f"slot {irq.slot} was raised afterwards")


def test_status_has_nothing_to_say_while_all_is_well(ims_driver: Driver) -> None:
    with ims_driver.ims.allocate() as irq:
        fired_alright(ims_driver, irq, "before status")
    found = ims_driver.status()
    assert found == "", breach(ims_driver, "status", '"" where all is well', f"{found!r}")
