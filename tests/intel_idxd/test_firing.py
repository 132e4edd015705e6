# SPDX-License-Identifier: Apache-2.0
"""Raising slots and vectors: all of them, masked, with PASIDs, with requested handles, from several threads."""

from __future__ import annotations

import threading

import pytest

from tests.intel_idxd.conftest import Opener, model_of
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.hardware.commands import Command, queue_operand
from vfio_ims.drivers.intel_idxd.hardware.descriptors import Flag, encode
from vfio_ims.drivers.intel_idxd.hardware.registers import Cause
from vfio_ims.drivers.intel_idxd.hardware.tables import Permission
from vfio_ims.errors import DeviceError, UsageError
from vfio_ims.ims import FireStatus
from vfio_ims.native.access import load, store

INVALID_HANDLE = 0x19


def test_every_slot_fires_over_eight_donors(whole: Dsa) -> None:
    dsa = whole
    with dsa.ims.allocate_group(2048) as irqs:
        interrupts = [irqs[n] for n in range(2048)]
        assert {irq.donor for irq in interrupts} == set(range(1, 9))
        for irq in interrupts:
            assert dsa.fire(irq.slot).status is FireStatus.SENT
        assert all(irq.wait(timeout=1) for irq in interrupts)
        dsa.ims.hub.drain()
        assert not any(irq.wakeup.take() for irq in interrupts)


def test_only_the_owner_of_the_slot_that_fired_is_woken(dsa: Dsa) -> None:
    with dsa.ims.allocate_group(64) as irqs:
        interrupts = [irqs[n] for n in range(64)]
        dsa.fire(interrupts[13].slot)
        assert interrupts[13].wait(timeout=1)
        assert [irq.slot for irq in interrupts if irq.wakeup.take()] == []


def test_a_masked_slot_pends_and_is_delivered_once(dsa: Dsa) -> None:
    with dsa.ims.allocate(masked=True) as irq:
        assert dsa.fire(irq.slot).status is FireStatus.PENDING
        assert irq.pending
        assert not irq.wait(timeout=0.02)
        irq.unmask()
        assert irq.wait(timeout=1)
        assert not irq.pending
        assert not irq.wait(timeout=0.02)


def test_work_without_the_slots_pasid_is_refused(dsa: Dsa) -> None:
    with dsa.ims.allocate(pasid=7) as tagged, dsa.ims.allocate() as plain, dsa.ims.allocate(any_pasid=True) as anyone:
        for slot, pasid in ((tagged, None), (tagged, 8), (plain, 7)):
            report = dsa.fire(slot.slot, pasid=pasid)
            assert (report.status, report.code) == (FireStatus.REFUSED, INVALID_HANDLE)
            assert "PASID" in report.detail
            assert not slot.wait(timeout=0.02)
        for slot, pasid in ((tagged, 7), (plain, None), (anyone, 9), (anyone, None)):
            assert dsa.fire(slot.slot, pasid=pasid).status is FireStatus.SENT
            assert slot.wait(timeout=1)
    assert dsa.status() == ""


def test_a_tagged_fire_at_a_masked_slot_pends(dsa: Dsa) -> None:
    with dsa.ims.allocate(pasid=7, masked=True) as irq:
        assert dsa.fire(irq.slot, pasid=7).status is FireStatus.PENDING
        irq.unmask()
        assert irq.wait(timeout=1)


def test_the_queue_has_no_pasid_after_a_tagged_fire(dsa: Dsa) -> None:
    with dsa.ims.allocate(pasid=7) as irq, dsa.wq(7) as wq:
        dsa.fire(irq.slot, pasid=7)
        assert wq.nop().ok


def test_tagged_fires_and_other_work_of_the_queue_take_turns(dsa: Dsa) -> None:
    with dsa.ims.allocate(pasid=7) as irq, dsa.device.dma.allocate(4096) as buffer:
        for _ in range(2):
            assert dsa.fire(irq.slot, pasid=7).status is FireStatus.SENT
            assert dsa.fire(irq.slot, pasid=8).status is FireStatus.REFUSED
            with dsa.wq(7, pasid=9) as wq:
                wq.fill(buffer, 0x55, 64)
            with dsa.wq(7) as wq:
                wq.nop()
            dsa.reset()


def test_tagged_fires_in_a_row_configure_the_queue_once(dsa: Dsa, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Command] = []
    run = dsa.commander.run

    def noted(command: Command, *operands: int) -> int:
        given.append(command)
        return run(command, *operands)

    monkeypatch.setattr(dsa.commander, "run", noted)
    with dsa.ims.allocate(pasid=7) as irq:
        for pasid in (7, 7, 8, 8):
            dsa.fire(irq.slot, pasid=pasid)
    change = [Command.DISABLE_QUEUE, Command.ENABLE_QUEUE]
    assert given == [*change, *[Command.DRAIN_QUEUE] * 2] * 2


@pytest.mark.parametrize("vector", [1, 5, 8, 0])
def test_vectors(dsa: Dsa, vector: int) -> None:
    with dsa.device.interrupts.open_msix(vector) as interrupt:
        dsa.fire_vector(vector)
        assert interrupt.wait(timeout=1)
        assert not interrupt.wait(timeout=0.02)
    assert dsa.regs.INTCAUSE.read().command == (vector == 0)


def test_a_vector_whose_permission_wants_a_pasid_is_refused(dsa: Dsa) -> None:
    Permission(dsa.regs.window, 0x200 + 8 * 3).ENTRY.write(pasid_enable=1, pasid=4)
    with dsa.device.interrupts.open_msix(3) as interrupt:
        with pytest.raises(DeviceError, match="invalid interrupt handle"):
            dsa.fire_vector(3)
        assert not interrupt.wait(timeout=0.02)
        Permission(dsa.regs.window, 0x200 + 8 * 3).ENTRY.write(ignore=1)
        dsa.fire_vector(3)
        assert interrupt.wait(timeout=1)


def test_bad_numbers(dsa: Dsa) -> None:
    with pytest.raises(UsageError, match="slot must be below 256, not 256"):
        dsa.fire(256)
    with pytest.raises(UsageError, match="slot must be below 256, not -1"):
        dsa.fire(-1, pasid=1)
    with pytest.raises(UsageError, match="vector must be below 9"):
        dsa.fire_vector(9)


def test_a_handle_outside_the_table_is_refused_and_a_portal_page_chooses_the_table(dsa: Dsa) -> None:
    record = dsa.records.take()
    flags = Flag.RECORD_VALID | Flag.RECORD_ALWAYS | Flag.INTERRUPT
    for ims, handle, status in ((True, 256, 0x19), (False, 9, 0x19), (False, 8, 1), (True, 255, 1)):
        dsa.queues[0].submit(encode(0, flags, record=record.iova, handle=handle), record, ims=ims)
        assert load(record.address, 1) == status
        dsa.in_flight.end(record)
        store(record.address, 8, 0)


# --- requested handles ------------------------------------------------------------------------------------------------


def test_handles_are_requested_where_the_device_wants_it(opened: Opener) -> None:
    dsa = opened("cmdcap=yes")
    assert dsa.capabilities.wants_handles
    with dsa.ims.allocate() as irq:
        assert dsa.fire(irq.slot).status is FireStatus.SENT
        assert irq.wait(timeout=1)
        assert dsa.handles.held == 1
    assert dsa.handles.held == 0  # given back when the slot was quiesced
    with dsa.device.interrupts.open_msix(5) as interrupt:
        dsa.fire_vector(5)
        assert interrupt.wait(timeout=1)


def test_few_handles_go_round(opened: Opener) -> None:
    dsa = opened("cmdcap=yes,handles=3")
    with dsa.ims.allocate_group(10) as irqs:
        for n in range(10):
            assert dsa.fire(irqs[n].slot).status is FireStatus.SENT
            assert irqs[n].wait(timeout=1)
        assert dsa.handles.held == 3


def test_revoked_handles_are_requested_again(opened: Opener) -> None:
    dsa = opened("cmdcap=yes")
    with dsa.device.interrupts.open_msix(0) as misc, dsa.ims.allocate() as irq:
        dsa.fire(irq.slot)
        assert irq.wait(timeout=1)
        model = model_of(dsa)
        with model.lock:
            model.handles.revoke()
        assert misc.wait(timeout=1)
        assert dsa.regs.INTCAUSE.read() >> Cause.HANDLES_REVOKED & 1
        assert "handles revoked" in dsa.status()
        assert dsa.fire(irq.slot).status is FireStatus.SENT
        assert irq.wait(timeout=1)
        assert not dsa.regs.INTCAUSE.read().handles_revoked


def test_handles_revoked_now_and_then_lose_nothing(opened: Opener) -> None:
    dsa = opened("cmdcap=yes,revoke_after=7")
    with dsa.ims.allocate_group(8) as irqs:
        for n in range(200):
            assert dsa.fire(irqs[n % 8].slot).status is FireStatus.SENT
            assert irqs[n % 8].wait(timeout=1)


def test_tagged_fires_survive_revoked_handles(opened: Opener) -> None:
    dsa = opened("cmdcap=yes,revoke_after=5")
    with dsa.ims.allocate(pasid=3) as irq:
        for _ in range(30):
            assert dsa.fire(irq.slot, pasid=3).status is FireStatus.SENT
            assert irq.wait(timeout=1)


# --- several threads --------------------------------------------------------------------------------------------------


def test_threads_fire_their_own_slots_and_each_is_woken(dsa: Dsa) -> None:
    failures: list[str] = []

    def work(slots: list[int]) -> None:
        for _ in range(20):
            for slot in slots:
                if dsa.fire(slot).status is not FireStatus.SENT or not dsa.ims.interrupt(slot).wait(timeout=2):
                    failures.append(f"slot {slot}")

    with dsa.ims.allocate_group(32) as irqs:
        slots = [irqs[n].slot for n in range(32)]
        threads = [threading.Thread(target=work, args=(slots[n::4],)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_fired_asked_at_any_moment_tells_every_slot_at_least_once(dsa: Dsa) -> None:
    asked = list(range(8))
    reported: set[int] = set()
    stop = threading.Event()

    def ask() -> None:
        while not stop.is_set():
            reported.update(dsa.fired(asked))

    asker = threading.Thread(target=ask)
    with dsa.ims.allocate_group(8):
        asker.start()
        try:
            for n in range(200):
                slot = n % 8
                reported.discard(slot)
                assert dsa.fire(slot).status is FireStatus.SENT
                reported.update(dsa.fired(asked))
        finally:
            stop.set()
            asker.join()
        assert reported == set(asked)


def test_quiesce_waits_for_work_in_flight(dsa: Dsa) -> None:
    source, target = dsa.device.dma.allocate(32 << 20), dsa.device.dma.allocate(32 << 20)
    with dsa.ims.allocate() as irq, dsa.wq(0, irq) as wq:
        operation = wq.submit.memmove(target, source, 32 << 20)
        dsa.quiesce(irq.slot)
        assert operation.done


def test_drain_by_queue(dsa: Dsa) -> None:
    dsa.commander.run(Command.DRAIN_QUEUE, queue_operand(5))


def test_many_slots_are_fired_together_and_each_is_reported(whole: Dsa) -> None:
    with whole.ims.allocate_group(200) as group:
        slots = list(group.slots)[::-1]
        assert {report.status for report in whole.fire_many(slots)} == {FireStatus.SENT}
        assert all(group[number].wait(1) for number in range(200))
        for one in slots[::2]:
            whole.ims.set_masked(one, True)
        statuses = [report.status for report in whole.fire_many(slots)]
        assert statuses == [FireStatus.PENDING, FireStatus.SENT] * 100
        assert [report.status for report in whole.fire_many([slots[1]] * 3)] == [FireStatus.SENT] * 3
        with pytest.raises(UsageError):
            whole.fire_many([slots[1], whole.ims.table.size])
        assert not whole.fire_many([])
    assert not whole.in_flight.busy


def test_many_slots_of_a_pasid_are_fired_together(whole: Dsa) -> None:
    with whole.ims.allocate_group(40, pasid=7) as group, whole.ims.allocate() as plain:
        slots = list(group.slots)
        assert {report.status for report in whole.fire_many(slots, pasid=7)} == {FireStatus.SENT}
        assert all(interrupt.wait(1) for interrupt in group)
        whole.ims.set_masked(slots[3], True)
        statuses = [report.status for report in whole.fire_many(slots[:5], pasid=7)]
        assert statuses == [FireStatus.SENT] * 3 + [FireStatus.PENDING, FireStatus.SENT]
        refused = whole.fire_many([*slots[:2], plain.slot], pasid=7)  # SWERR does not say which
        assert [report.status for report in refused] == [FireStatus.REFUSED] * 3
        assert "interrupt handle" in refused[0].detail
        assert whole.fire_many(slots[:2], pasid=7)[0].status is FireStatus.SENT  # nothing is left of the error
        with pytest.raises(UsageError):
            whole.fire_many([slots[0], whole.ims.table.size], pasid=7)
    assert not whole.in_flight.busy


def test_of_many_those_that_the_device_refuses_are_named(dsa: Dsa) -> None:
    with dsa.ims.allocate_group(3) as group, dsa.ims.allocate(pasid=5) as other:
        slots = [*group.slots, other.slot]
        statuses = [report.status for report in dsa.fire_many(slots)]
        assert statuses == [FireStatus.SENT] * 3 + [FireStatus.REFUSED]
    assert not dsa.in_flight.busy
