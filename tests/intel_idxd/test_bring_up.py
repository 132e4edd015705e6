# SPDX-License-Identifier: Apache-2.0
"""Bring-up, what the device says of itself, every error of a command, resets, teardown."""

import pytest

from tests.intel_idxd.conftest import Opener, model_of
from vfio_ims.driver import FireReport
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.configuration import queue_entry
from vfio_ims.drivers.intel_idxd.hardware.commands import (
    COMMAND_ERRORS,
    IMS_HANDLE,
    Command,
    CommandError,
    queue_operand,
)
from vfio_ims.drivers.intel_idxd.hardware.registers import Bar0, ResetNeeded, State
from vfio_ims.drivers.intel_idxd.hardware.tables import GroupConfig, QueueState
from vfio_ims.errors import DeviceBusy, DeviceError, DeviceTimeout, UnsupportedError, UsageError
from vfio_ims.ims import FireStatus


def test_bring_up(whole: Dsa) -> None:
    dsa = whole
    assert dsa.capabilities.version == 0x100
    assert dsa.capabilities.general == 0x40_915F_0107
    assert (dsa.capabilities.slots, dsa.capabilities.max_batch, dsa.capabilities.max_transfer) == (2048, 1024, 1 << 31)
    assert dsa.regs.GENSTS.read().state == State.ENABLED
    assert [queue_entry(dsa.regs, dsa.capabilities, n).STATUS.read().state for n in range(8)] == [
        QueueState.ENABLED
    ] * 8
    assert {queue.size for queue in dsa.queues.values()} == {16}
    assert dsa.status() == ""
    assert dsa.verdict.usable
    assert (dsa.verdict.slots, dsa.verdict.donors) == (2048, 8)


def test_iaa_is_its_own_driver(opened: Opener) -> None:
    iaa = opened(name="intel-iaa")
    assert type(iaa).__name__ == "Iaa"
    assert iaa.capabilities.engine.engines == 8
    with iaa.ims.allocate() as irq:
        assert iaa.fire(irq.slot).status is FireStatus.SENT
        assert irq.wait(timeout=1)


def test_groups_share_engines_and_queues(dsa: Dsa) -> None:
    entries = [GroupConfig(dsa.regs.window, 0x300 + 64 * n) for n in range(4)]
    assert [int(entry.QUEUES0.read()) for entry in entries] == [0x11, 0x22, 0x44, 0x88]
    assert [int(entry.ENGINES.read()) for entry in entries] == [1, 2, 4, 8]
    assert entries[0].FLAGS.read().read_buffers_allowed == 24


def test_config_space_is_that_of_a_real_one(dsa: Dsa) -> None:
    found = dsa.device.capabilities
    assert found.siov_dvsec is not None
    assert found.siov_dvsec.offset == 0x200
    assert found.msix is not None
    assert (found.msix.vectors, found.msix.table, found.msix.pba) == (9, (0, 0x2000), (0, 0x3000))


def refused(dsa: Dsa, command: Command, operand: int = 0) -> int:
    with pytest.raises((DeviceError, DeviceBusy)) as caught:
        dsa.commander.run(command, operand)
    code = dsa.regs.CMDSTS.read().error
    assert COMMAND_ERRORS[CommandError(code)] in str(caught.value)
    assert dsa.status() != "" or code == 0
    return code


def disabled(dsa: Dsa) -> None:
    """Disable the device so that its configuration can be broken."""
    dsa.commander.run(Command.DISABLE_DEVICE)


def write_queue(dsa: Dsa, index: int, **mode: int) -> None:
    queue_entry(dsa.regs, dsa.capabilities, index).MODE.update(**mode)


def test_errors_of_enabling_the_device(dsa: Dsa) -> None:
    group, other = (GroupConfig(dsa.regs.window, 0x300 + 64 * n) for n in (0, 1))
    assert refused(dsa, Command.ENABLE_DEVICE) == CommandError.DEVICE_ENABLED
    disabled(dsa)
    assert refused(dsa, Command.DISABLE_DEVICE) == CommandError.NOT_ENABLED
    dsa.device.config.bus_master = False
    assert refused(dsa, Command.ENABLE_DEVICE) == CommandError.BUS_MASTER
    dsa.device.config.bus_master = True
    first = queue_entry(dsa.regs, dsa.capabilities, 0)
    first.SIZE.write(entries=17)
    assert refused(dsa, Command.ENABLE_DEVICE) == CommandError.TOTAL_SIZE
    first.SIZE.write(entries=16)
    group.ENGINES.write(0)
    assert refused(dsa, Command.ENABLE_DEVICE) == CommandError.GROUP_EMPTY
    group.ENGINES.write(1)
    other.QUEUES0.write(0x23)
    assert refused(dsa, Command.ENABLE_DEVICE) == CommandError.GROUP_QUEUES
    other.QUEUES0.write(0x20)
    assert refused(dsa, Command.ENABLE_DEVICE) == CommandError.GROUP_QUEUES  # queue 1 has entries and no group
    other.QUEUES0.write(0x22)
    other.ENGINES.write(3)
    assert refused(dsa, Command.ENABLE_DEVICE) == CommandError.GROUP_ENGINES
    other.ENGINES.write(2)
    group.FLAGS.update(read_buffers_reserved=30)
    assert refused(dsa, Command.ENABLE_DEVICE) == CommandError.GROUP_READ_BUFFERS
    group.FLAGS.update(read_buffers_reserved=0)
    dsa.commander.run(Command.ENABLE_DEVICE)


def test_a_device_without_any_group_is_not_enabled(dsa: Dsa) -> None:
    disabled(dsa)
    for n in range(8):
        queue_entry(dsa.regs, dsa.capabilities, n).SIZE.write(0)
    for n in range(4):
        entry = GroupConfig(dsa.regs.window, 0x300 + 64 * n)
        entry.QUEUES0.write(0)
        entry.ENGINES.write(0)
    assert refused(dsa, Command.ENABLE_DEVICE) == CommandError.CONFIGURATION


def test_errors_of_enabling_a_queue(opened: Opener) -> None:
    dsa = opened("pasid=no")
    limits = queue_entry(dsa.regs, dsa.capabilities, 3).LIMITS
    assert refused(dsa, Command.ENABLE_QUEUE, 3) == CommandError.QUEUE_ENABLED
    assert refused(dsa, Command.ENABLE_QUEUE, 8) == CommandError.QUEUE_INDEX
    dsa.commander.run(Command.DISABLE_QUEUE, queue_operand(3))
    for field, wrong, right, error in (
        ("priority", 0, 10, CommandError.QUEUE_PRIORITY),
        ("dedicated", 0, 1, CommandError.QUEUE_MODE),
        ("pasid_enable", 1, 0, CommandError.PASID_ENABLE),
        ("privileged", 1, 0, CommandError.PRIVILEGED),
    ):
        write_queue(dsa, 3, **{field: wrong})
        assert refused(dsa, Command.ENABLE_QUEUE, 3) == error
        write_queue(dsa, 3, **{field: right})
    limits.update(max_batch_shift=11)
    assert refused(dsa, Command.ENABLE_QUEUE, 3) == CommandError.MAX_BATCH
    limits.update(max_batch_shift=10)
    dsa.commander.run(Command.ENABLE_QUEUE, 3)
    dsa.commander.run(Command.DISABLE_DEVICE)
    queue_entry(dsa.regs, dsa.capabilities, 3).SIZE.write(0)
    GroupConfig(dsa.regs.window, 0x300 + 64 * 3).QUEUES0.write(0x80)
    assert refused(dsa, Command.ENABLE_QUEUE, 3) == CommandError.DEVICE_NOT_ENABLED
    dsa.commander.run(Command.ENABLE_DEVICE)
    assert refused(dsa, Command.ENABLE_QUEUE, 3) == CommandError.QUEUE_SIZE


def test_a_device_that_cannot_do_so_much(opened: Opener) -> None:
    dsa = opened("block_on_fault=no,max_transfer_shift=21")
    assert dsa.capabilities.max_transfer == 1 << 21
    dsa.commander.run(Command.DISABLE_QUEUE, queue_operand(0))
    write_queue(dsa, 0, block_on_fault=1)
    assert refused(dsa, Command.ENABLE_QUEUE, 0) == CommandError.BLOCK_ON_FAULT
    write_queue(dsa, 0, block_on_fault=0)
    queue_entry(dsa.regs, dsa.capabilities, 0).LIMITS.update(max_transfer_shift=22)
    assert refused(dsa, Command.ENABLE_QUEUE, 0) == CommandError.MAX_TRANSFER


def test_other_errors_of_commands(opened: Opener) -> None:
    dsa = opened("cmdcap=yes,handles=1")
    dsa.regs.CMD.write(command=21)
    assert dsa.regs.CMDSTS.read().error == CommandError.COMMAND
    assert refused(dsa, Command.REQUEST_HANDLE, IMS_HANDLE | 256) == CommandError.HANDLE_INDEX
    assert refused(dsa, Command.RELEASE_HANDLE, IMS_HANDLE | 5) == CommandError.HANDLE_INDEX
    dsa.commander.run(Command.REQUEST_HANDLE, 1)
    assert refused(dsa, Command.REQUEST_HANDLE, 2) == CommandError.NO_HANDLE
    dsa.commander.run(Command.DISABLE_QUEUE, queue_operand(0))
    for command in (Command.DISABLE_QUEUE, Command.DRAIN_QUEUE, Command.ABORT_QUEUE):
        assert refused(dsa, command, queue_operand(0)) == CommandError.QUEUE_NOT_ENABLED
    assert refused(dsa, Command.DISABLE_QUEUE, 1 << 16) == CommandError.QUEUE_INDEX


def test_handle_commands_are_unknown_on_sapphire_rapids(dsa: Dsa) -> None:
    assert refused(dsa, Command.REQUEST_HANDLE, 1) == CommandError.COMMAND
    assert not dsa.capabilities.wants_handles


def test_a_hardware_error_names_the_command(opened: Opener) -> None:
    with pytest.raises(DeviceError, match="reset device: an error inside the hardware"):
        opened("hardware_error=1")


def test_a_command_may_take_time(opened: Opener) -> None:
    dsa = opened("command_ms=2")
    dsa.regs.CMD.write(command=Command.DRAIN_ALL)
    assert dsa.regs.CMDSTS.read().active
    assert dsa.commander.run(Command.DRAIN_ALL) == 0  # waits for the one before it


def test_a_command_that_never_ends_is_a_timeout_with_the_state(opened: Opener) -> None:
    dsa = opened("command_ms=2")
    model_of(dsa).commands._delay = 1200
    dsa.commander._timeout = 0.3
    with pytest.raises(DeviceTimeout, match=r"drain all: it is still active after 0\.3 s; GENSTS=.*state=enabled"):
        dsa.commander.run(Command.DRAIN_ALL)
    dsa.commander._timeout = 10
    model_of(dsa).commands._delay = 0


def test_a_halted_device_gets_a_function_reset(opened: Opener) -> None:
    dsa = opened()
    model = model_of(dsa)
    model.registers().set(Bar0.GENSTS, state=State.HALT, reset_needed=ResetNeeded.FUNCTION)
    assert "state=halt" in dsa.status()
    dsa.reset()
    assert dsa.status() == ""


def test_a_halt_that_needs_a_cold_reset_is_reported(opened: Opener) -> None:
    dsa = opened()
    model = model_of(dsa)

    def halt() -> None:
        model.registers().set(Bar0.GENSTS, state=State.HALT, reset_needed=ResetNeeded.COLD)

    model.commands.reset_device = halt
    with pytest.raises(DeviceError, match=r"it must be disabled; GENSTS=.*state=halt, reset_needed=cold"):
        dsa.start()


def test_the_command_reset_clears_what_it_clears(dsa: Dsa) -> None:
    dsa.regs.GENCTRL.write(software_error=1)
    dsa.device.bar(0).write32(0x208, 0x5008)
    dsa.device.bar(0).write32(0x4000, 0x1234)
    dsa.commander.run(Command.RESET_DEVICE)
    assert dsa.regs.GENSTS.read().state == State.DISABLED
    assert dsa.regs.GENCTRL.read() == 0
    assert dsa.device.bar(0).read32(0x208) == 0
    assert dsa.device.bar(0).read32(0x400) == 0
    assert dsa.device.bar(0).read32(0x300) == 0
    assert dsa.device.bar(0).read32(0x4000) == 0
    assert dsa.regs.GENCAP.read() == int(dsa.capabilities.general)


def test_slots_may_survive_the_command_reset(opened: Opener) -> None:
    dsa = opened("reset_slots=no")
    dsa.device.bar(0).write32(0x4000, 0x1234)
    dsa.commander.run(Command.RESET_DEVICE)
    assert dsa.device.bar(0).read32(0x4000) == 0x1234


def test_slots_after_power_on_are_masked_unless_asked_otherwise(opened: Opener) -> None:
    assert model_of(opened()).slots.slot(7).masked
    model = model_of(opened("reset_masked=no"))
    model.reset()
    assert not model.slots.slot(7).masked


def test_configuration_in_use_keeps_its_value(dsa: Dsa) -> None:
    entry = queue_entry(dsa.regs, dsa.capabilities, 0)
    before = entry.MODE.read()
    entry.MODE.write(0)
    entry.SIZE.write(1)
    assert entry.MODE.read() == before
    assert entry.SIZE.read() == 16


def test_reset_and_use_again(dsa: Dsa) -> None:
    with dsa.ims.allocate() as irq:
        for _ in range(3):
            dsa.reset()
            irq.wait(timeout=0)
            assert dsa.fire(irq.slot) == FireReport(FireStatus.SENT, code=1)
            assert irq.wait(timeout=1)


def test_stop_leaves_it_disabled_and_does_not_mind_a_dead_device(dsa: Dsa) -> None:
    dsa.stop()
    assert dsa.regs.GENSTS.read().state == State.DISABLED
    assert "not enabled" in dsa.status()
    dsa.stop()
    model = model_of(dsa)
    model.registers().set(Bar0.VERSION, 0xFFFF_FFFF)
    dsa.stop()
    with pytest.raises(DeviceError, match="no device answers"):
        dsa.start()


def test_without_a_slot_table(dsa: Dsa) -> None:
    model = model_of(dsa)
    model.registers().update(Bar0.GENCAP, ims_multiplier=0)
    with pytest.raises(UnsupportedError, match="GENCAP"):
        dsa.ims_table()


def test_a_table_of_another_size(opened: Opener) -> None:
    assert opened(slots=512).ims_table().size == 512
    with pytest.raises(UsageError, match="slots must be a multiple of 256 up to 2048, not 100"):
        opened(slots=100)


def test_only_queues_that_are_enabled_can_be_used(dsa: Dsa) -> None:
    with pytest.raises(UsageError, match="enabled are 0, 1, 2"):
        dsa.wq(8)
