# SPDX-License-Identifier: Apache-2.0
"""Later versions: event log, operations by queue, what they add; occupancy; PASIDs; halts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.intel_idxd import oracles
from tests.intel_idxd.conftest import Opener, model_of
from tests.intel_idxd.memory import PAGE, arena
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.configuration import Configuration, queue_entry
from vfio_ims.drivers.intel_idxd.driver.operation_error import OperationError
from vfio_ims.drivers.intel_idxd.hardware.descriptors import DsaOpcode, Flag, encode
from vfio_ims.drivers.intel_idxd.hardware.dif import DifTags
from vfio_ims.drivers.intel_idxd.hardware.events import Event, decode_event, encode_event, entry_size
from vfio_ims.drivers.intel_idxd.hardware.registers import Cause, ResetNeeded
from vfio_ims.drivers.intel_idxd.hardware.status import Status
from vfio_ims.errors import DeviceBusy, UnsupportedError, UsageError

RECORDED = Flag.RECORD_VALID | Flag.RECORD_ALWAYS


@pytest.mark.parametrize(
    ("options", "name", "device", "version"),
    [
        ("", "intel-dsa", 0x0B25, 0x100),
        ("version=2", "intel-dsa", 0x11FB, 0x200),
        ("version=3", "intel-dsa", 0x1212, 0x300),
        ("", "intel-iaa", 0x0CFE, 0x100),
        ("version=3", "intel-iaa", 0x1216, 0x300),
    ],
)
def test_each_version_comes_up(opened: Opener, options: str, name: str, device: int, version: int) -> None:
    driver = opened(options, name)
    assert driver.device.config.snapshot().header.device == device
    assert driver.capabilities.version == version
    assert bool(driver.capabilities.general.event_log) == bool(driver.capabilities.queue.op_config) == (version > 0x100)
    assert driver.capabilities.queue_stride == (64 if version > 0x100 else 32)
    group = driver.capabilities.group  # what Linux asks before it takes what accel-config writes
    assert bool(group.read_buffers) == bool(group.read_buffer_control) == bool(group.read_buffer_limit)
    assert bool(group.read_buffers) == (name == "intel-dsa")
    assert bool(group.progress_limit) == (version > 0x100)
    with driver.ims.allocate() as irq:
        assert driver.fire(irq.slot).status == "sent"
        assert irq.wait(timeout=1)


@pytest.mark.parametrize(
    ("options", "name", "shift"),
    [("version=2", "intel-dsa", 0), ("version=3", "intel-dsa", 0xF), ("version=3", "intel-iaa", 0)],
)
def test_lists_are_as_long_as_a_version_3_dsa_takes_them(opened: Opener, options: str, name: str, shift: int) -> None:
    driver = opened(options, name)
    assert driver.capabilities.max_sgl_shift == shift
    assert queue_entry(driver.regs, driver.capabilities, 0).LIMITS.read().max_sgl_shift == shift


def test_there_is_no_version_4(opened: Opener) -> None:
    with pytest.raises(UsageError, match="version must be one of 1, 2, 3, not 4"):
        opened("version=4")


def test_version_2_fetches_translations_and_generates_dix(opened: Opener) -> None:
    dsa = opened("version=2")
    memory = arena(dsa)
    data = bytes(memory.fresh(1)[:1024])
    with dsa.wq(0) as wq:
        assert wq.translation_fetch(memory.at(0), 4 * PAGE).ok
        with pytest.raises(OperationError, match="at 0x70000000 after 0 bytes"):
            wq.translation_fetch(0x7000_0000, 4 * PAGE)
        found = wq.dix_generate(memory.at(2 * PAGE), memory.at(0), 1024, 512, DifTags(9, 7))
        assert memory.take(2 * PAGE, 16) == oracles.field(data[:512], 7, 9) + oracles.field(data[512:], 7, 10)
        assert found.target_tags.ref == 11


def test_a_queue_may_be_restricted_to_some_operations(opened: Opener) -> None:
    dsa = opened("version=2")
    only = 1 << DsaOpcode.NOP | 1 << DsaOpcode.FILL
    dsa.configure(Configuration.even(dsa.capabilities).with_queue(3, operations=only))
    memory = arena(dsa)
    with dsa.wq(3) as wq, dsa.wq(4) as other:
        assert wq.fill(memory.at(0), 0, 8).ok
        assert wq.submit.memmove(memory.at(0), memory.at(8), 8).wait(check=False).status == Status.OPCODE
        assert other.memmove(memory.at(0), memory.at(8), 8).ok


# --- event log --------------------------------------------------------------------------------------------------------


def with_log(opened: Opener, options: str = "version=2", entries: int = 64) -> Dsa:
    dsa = opened(options)
    dsa.configure(replace(Configuration.even(dsa.capabilities), event_log=entries))
    return dsa


def bad(dsa: Dsa, descriptor: bytes, *, ims: bool = False, queue: int = 0) -> None:
    dsa.device.bar(2).store64(queue * 0x4000 + 0x2000 * ims, descriptor)


def test_version_1_has_no_log(opened: Opener) -> None:
    with pytest.raises(UnsupportedError, match="GENCAP has no event log"):
        with_log(opened, "")


def test_errors_go_to_the_log_and_say_which_portal(opened: Opener) -> None:
    dsa = with_log(opened)
    with dsa.device.interrupts.open_msix(0) as misc:
        bad(dsa, encode(0, Flag.INTERRUPT, handle=0x300), ims=True, queue=2)
        bad(dsa, encode(0, Flag.INTERRUPT, handle=0x9), queue=3)
        bad(dsa, encode(0, RECORDED, record=0x7000_0000))
        assert not misc.wait(timeout=0.02)
        dsa.regs.GENCTRL.write(event_log=1)
        bad(dsa, encode(0x7F))
        assert misc.wait(timeout=1)
        assert dsa.regs.INTCAUSE.read() >> Cause.EVENT_LOG & 1
    first, second, third, fourth = dsa.events()
    assert (first.error, first.handle, first.ims, first.queue) == (0x19, 0x300, True, 2)
    assert (second.error, second.handle, second.ims, second.queue) == (0x19, 9, False, 3)
    assert (third.error, third.address, third.write) == (0x1A, 0x7000_0000, True)
    assert third.completion is not None
    assert third.completion.ok
    assert fourth.error == 0x10
    assert "handle 0x300 through an IMS portal" in str(first)
    assert dsa.events() == []
    assert dsa.regs.SWERR.read().valid == 0


def test_the_log_goes_round_and_what_does_not_fit_goes_to_swerr(opened: Opener) -> None:
    dsa = with_log(opened)
    for _ in range(3):
        for _ in range(63):
            bad(dsa, encode(0x7F))
        assert dsa.regs.SWERR.read().valid == 0
        assert len(dsa.events()) == 63
    for _ in range(64):
        bad(dsa, encode(0x7E))
    assert dsa.regs.SWERR.read().operation == 0x7E
    assert len(dsa.events()) == 63


def test_a_tagged_fires_refusal_is_found_in_the_log(opened: Opener) -> None:
    dsa = with_log(opened)
    bad(dsa, encode(0x7F), queue=1)
    with dsa.ims.allocate(pasid=3) as irq:
        report = dsa.fire(irq.slot, pasid=4)
        assert (report.status, report.code) == ("refused", 0x19)
        assert "through an IMS portal" in report.detail
        assert dsa.fire(irq.slot, pasid=3).status == "sent"
        assert irq.wait(timeout=1)
    assert [event.error for event in dsa.events()] == [0x10]  # the others' are left


def test_iaa_has_longer_entries(opened: Opener) -> None:
    iaa = opened("version=2", "intel-iaa")
    iaa.configure(replace(Configuration.even(iaa.capabilities), event_log=64))
    iaa.device.bar(2).store64(0, encode(0, RECORDED, record=0x7000_0000))
    (event,) = iaa.events()
    assert len(event.record) == 64


def test_a_log_must_have_64_entries(opened: Opener) -> None:
    with pytest.raises(UsageError, match="64 to 65535, not 10"):
        with_log(opened, entries=10)


events = st.builds(
    Event,
    error=st.integers(0, 255),
    queue=st.none() | st.integers(0, 255),
    operation=st.none() | st.integers(0, 255),
    pasid=st.integers(0, 0xFFFFF),
    batch_index=st.none() | st.integers(0, 0xFFFF),
    address=st.integers(0, 2**64 - 1),
    write=st.booleans(),
)


@given(events, st.sampled_from((1, 2)))
def test_entries_are_read_as_they_were_written(event: Event, support: int) -> None:
    size = entry_size(support)
    assert size == {1: 64, 2: 128}[support]
    data = encode_event(event, size)
    assert len(data) == size
    found = decode_event(data)
    if event.error == 0x19:
        found = replace(found, handle=None)
    assert replace(found, record=b"") == event
    assert str(found).startswith("event 0x")


# --- occupancy --------------------------------------------------------------------------------------------------------


def test_occupancy_is_read_and_interrupts_when_there_is_room(dsa: Dsa) -> None:
    memory = arena(dsa, 16 << 20)
    model = model_of(dsa)
    with dsa.ims.allocate() as irq, dsa.wq(1) as wq:
        with model.lock:
            operations = [wq.submit.memmove(memory.at(0), memory.at(8 << 20), 8 << 20) for _ in range(8)]
            assert dsa.control.occupancy(1) == 8
            dsa.control.watch_occupancy(1, 3, irq)
            assert not irq.wait(timeout=0)
        assert irq.wait(timeout=5)
        for operation in operations:
            operation.wait()
        assert dsa.control.occupancy(1) == 0
        assert not irq.wait(timeout=0.02)
        dsa.control.watch_occupancy(1, 3, irq)  # there is room already
        assert irq.wait(timeout=1)
        dsa.control.watch_occupancy(1, None)
    with dsa.device.interrupts.open_msix(7) as vector:
        dsa.control.watch_occupancy(1, 3, vector)
        assert vector.wait(timeout=1)


# --- PASIDs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("completion", ["poll", "ims", "msix"])
def test_work_for_a_pasid(dsa: Dsa, completion: str) -> None:
    memory = arena(dsa)
    expected = memory.fresh(4)
    with dsa.wq(2, completion, pasid=0x123) as wq:
        wq.memmove(memory.at(0), memory.at(PAGE), 2000)
        with pytest.raises(OperationError, match="page fault"):
            wq.memmove(memory.at(0), 0x7000_0000, 8)
        with pytest.raises(DeviceBusy, match="uses it for PASID 291"):
            dsa.wq(2)
        dsa.control.drain(pasid=0x123)
    assert memory.take(0, 2000) == expected[PAGE : PAGE + 2000]
    with dsa.wq(2) as wq:
        assert wq.nop().ok
        with pytest.raises(DeviceBusy, match="other sessions use the queue"):
            dsa.wq(2, pasid=1)


def test_a_slot_for_another_pasid_is_not_raised_by_the_work(dsa: Dsa) -> None:
    with dsa.ims.allocate(pasid=5) as irq:
        with dsa.wq(0, irq, pasid=6) as wq, pytest.raises(OperationError, match="its PASID does not match"):
            wq.nop()
        with dsa.wq(0, irq, pasid=5) as wq:
            assert wq.nop().ok


def test_work_of_a_pasid_is_aborted_alone(dsa: Dsa) -> None:
    memory = arena(dsa, 32 << 20)
    with dsa.wq(0, pasid=9, timeout=0.3) as wq, dsa.wq(1) as other:
        with model_of(dsa).lock:
            first = other.submit.memmove(memory.at(0), memory.at(16 << 20), 16 << 20)
            dropped = wq.submit.memmove(memory.at(0), memory.at(16 << 20), 16 << 20)
            kept = other.submit.memmove(memory.at(0), memory.at(16 << 20), 1 << 20)
            dsa.regs.CMD.write(command=12, operand=9)
        kept.wait()
        first.wait()
        assert not dropped.done


# --- halts ------------------------------------------------------------------------------------------------------------


def test_a_halt_interrupts_and_tells_what_ends_it(dsa: Dsa) -> None:
    dsa.regs.GENCTRL.write(halt=1)
    model = model_of(dsa)
    with dsa.device.interrupts.open_msix(0) as misc:
        with model.lock:
            model.halt(ResetNeeded.FUNCTION)
        assert misc.wait(timeout=1)
    assert "state=halt, reset_needed=function" in dsa.status()
    assert "vector 0 was raised for: halt" in dsa.status()
    dsa.reset()
    assert dsa.status() == ""
