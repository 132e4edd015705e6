# SPDX-License-Identifier: Apache-2.0
"""What no completion record can tell: SWERR, overruns, queues that are not enabled; and portals fed in pieces."""

from __future__ import annotations

import pytest

from tests.intel_idxd.conftest import Opener, model_of
from tests.intel_idxd.memory import arena
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.work_queue import wait_for_record
from vfio_ims.drivers.intel_idxd.hardware.commands import Command, queue_operand
from vfio_ims.drivers.intel_idxd.hardware.descriptors import Flag, encode
from vfio_ims.drivers.intel_idxd.hardware.registers import Cause
from vfio_ims.drivers.intel_idxd.hardware.software_error import acknowledge, describe
from vfio_ims.errors import DeviceError, DeviceTimeout
from vfio_ims.native.access import load

RECORDED = Flag.RECORD_VALID | Flag.RECORD_ALWAYS
NOWHERE = 0x7000_0000


def submit(dsa: Dsa, descriptor: bytes, queue: int = 0, *, page: int = 0) -> None:
    dsa.device.bar(2).store64(queue * 0x4000 + page * 0x1000, descriptor)


def test_a_record_that_cannot_be_written(dsa: Dsa) -> None:
    submit(dsa, encode(0, RECORDED, record=NOWHERE), queue=3)
    error = dsa.regs.SWERR.read()
    assert (error.valid, error.error, error.queue, error.address, error.write) == (1, 0x1A, 3, NOWHERE, 1)
    text = "0x1a: page fault on the completion record, work queue 3, operation 0x0, write at 0x70000000"
    assert describe(error) == f"software error {text}"
    assert text in dsa.status()
    record = dsa.records.take()
    with pytest.raises(DeviceError, match="page fault on the completion record"):
        wait_for_record(dsa.regs, record._replace(iova=NOWHERE), 5, "wait")
    acknowledge(dsa.regs)
    assert dsa.status() == ""


def test_a_timeout_tells_what_swerr_holds(dsa: Dsa) -> None:
    submit(dsa, encode(0, RECORDED, record=NOWHERE), queue=3)
    record = dsa.records.take()
    with pytest.raises(DeviceTimeout, match=r"no completion record after 0\.1 s; software error 0x1a"):
        wait_for_record(dsa.regs, record, 0.1, "wait")


def test_a_second_error_is_an_overflow_until_it_is_acknowledged(dsa: Dsa) -> None:
    submit(dsa, encode(0, RECORDED, record=NOWHERE), queue=3)
    submit(dsa, encode(0, RECORDED, record=NOWHERE + 0x1000), queue=4)
    error = dsa.regs.SWERR.read()
    assert (error.valid, error.overflow, error.queue) == (1, 1, 3)
    assert "and more that were not recorded" in describe(error)
    acknowledge(dsa.regs)
    assert dsa.regs.SWERR.read() & 3 == 0
    submit(dsa, encode(0, RECORDED, record=NOWHERE), queue=5)
    assert dsa.regs.SWERR.read().queue == 5


def test_an_error_interrupts_where_genctrl_asks_for_it(dsa: Dsa) -> None:
    with dsa.device.interrupts.open_msix(0) as misc:
        submit(dsa, encode(0x7F), queue=1)
        assert not misc.wait(timeout=0.02)
        acknowledge(dsa.regs)
        dsa.regs.GENCTRL.write(software_error=1)
        submit(dsa, encode(0x7F), queue=1)
        assert misc.wait(timeout=1)
        assert dsa.regs.INTCAUSE.read() >> Cause.SOFTWARE_ERROR & 1
        dsa.regs.INTCAUSE.write(software_error=1)
        assert dsa.regs.INTCAUSE.read() == 0


@pytest.mark.parametrize(
    ("descriptor", "words"),
    [
        (encode(0x7F), "0x10: unsupported operation"),
        (encode(0, Flag.RECORD_ALWAYS), "0x11: a flag is not supported or not allowed, .*invalid flags 0x8"),
        (encode(0, Flag.INTERRUPT, handle=9), "0x19: invalid interrupt handle"),
        (encode(0, RECORDED, record=0x1004), "0x1b: the completion record is not aligned.*0x1004"),
        (encode(4, 0, destination=NOWHERE, size=8), "0x3: page fault, .*operation 0x4, write at 0x70000000"),
    ],
    ids=["opcode", "flags", "handle", "alignment", "fault"],
)
def test_errors_of_descriptors_without_a_record(dsa: Dsa, descriptor: bytes, words: str) -> None:
    submit(dsa, descriptor, queue=2)
    dsa.commander.run(Command.DRAIN_ALL)
    with pytest.raises(AssertionError, match=words):
        raise AssertionError(dsa.status())
    acknowledge(dsa.regs)
    with dsa.wq(2) as wq:
        assert wq.nop().ok


def test_a_queue_that_is_not_enabled_loses_what_it_is_sent(dsa: Dsa) -> None:
    dsa.commander.run(Command.DISABLE_QUEUE, queue_operand(6))
    submit(dsa, encode(0), queue=6)
    assert "not enabled, and lost, work queue 6" in dsa.status()


def test_an_overrun_of_a_dedicated_queue_loses_a_descriptor(dsa: Dsa) -> None:
    memory = arena(dsa, 8 << 20)
    for _ in range(30):
        submit(dsa, encode(3, 0, source=memory.at(0), destination=memory.at(4 << 20), size=4 << 20), queue=1)
    assert "a dedicated work queue that was full, and lost" in dsa.status()
    dsa.commander.run(Command.DRAIN_ALL)


def test_a_software_error_in_a_batch_names_the_descriptor(dsa: Dsa) -> None:
    memory = arena(dsa)
    memory.put(0, encode(0) + encode(0x7F))
    submit(dsa, encode(1, 0, source=memory.at(0), size=2))
    dsa.commander.run(Command.DRAIN_ALL)
    assert "descriptor 1 of a batch" in dsa.status()


@pytest.mark.parametrize("width", [1, 2, 4, 8, 32])
def test_a_portal_collects_pieces(dsa: Dsa, width: int) -> None:
    record = dsa.records.take()
    data = encode(0, RECORDED, record=record.iova)
    model = model_of(dsa)
    order = list(range(0, 64, width))
    for at in [*order[1::2], *order[::2]]:
        assert not load(record.address, 1)
        with model.lock:
            model.write(2, 0x40 + at, data[at : at + width])
            model.act()
    assert load(record.address, 1) == 1


def test_pieces_of_different_slots_do_not_mix(dsa: Dsa) -> None:
    first, second = dsa.records.take(), dsa.records.take()
    one, two = (encode(0, RECORDED, record=record.iova) for record in (first, second))
    bar = dsa.device.bar(2)
    for at in range(0, 64, 8):
        bar.write64(0x00 + at, int.from_bytes(one[at : at + 8], "little"))
        bar.write64(0x40 + at, int.from_bytes(two[at : at + 8], "little"))
    assert load(first.address, 1) == load(second.address, 1) == 1


def test_reset_drops_what_was_not_begun(dsa: Dsa) -> None:
    memory = arena(dsa, 32 << 20)
    record = dsa.records.take()
    submit(dsa, encode(3, 0, source=memory.at(0), destination=memory.at(16 << 20), size=16 << 20))
    submit(dsa, encode(3, RECORDED, record=record.iova, source=memory.at(0), destination=memory.at(64), size=1 << 20))
    dsa.commander.run(Command.RESET_DEVICE)
    assert load(record.address, 1) == 0
    dsa.start()
    with dsa.wq(0) as wq:
        assert wq.nop().ok


def test_abort_drops_and_drain_waits(dsa: Dsa) -> None:
    memory = arena(dsa, 32 << 20)
    records = [dsa.records.take() for _ in range(2)]
    for command, expected in ((Command.ABORT_QUEUE, 0), (Command.DRAIN_QUEUE, 1)):
        submit(dsa, encode(3, 0, source=memory.at(0), destination=memory.at(16 << 20), size=16 << 20), queue=1)
        submit(dsa, encode(0, RECORDED, record=records[expected].iova), queue=1)
        dsa.commander.run(command, queue_operand(1))
        assert load(records[expected].address, 1) == expected
    with dsa.wq(1) as wq:
        assert wq.nop().ok


def test_nothing_moves_while_bus_mastering_is_off(opened: Opener) -> None:
    dsa = opened()
    dsa.device.config.bus_master = False
    record = dsa.records.take()
    submit(dsa, encode(0, RECORDED, record=record.iova))
    assert load(record.address, 1) == 0
    dsa.device.config.bus_master = True
