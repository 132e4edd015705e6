# SPDX-License-Identifier: Apache-2.0
"""SPDK's cases, ``test/unit/lib/idxd``: commands, the configuration's registers, DIF's parameters."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.intel_idxd.conftest import Opener, model_of
from tests.intel_idxd.memory import PAGE, arena
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.configuration import Configuration, queue_entry
from vfio_ims.drivers.intel_idxd.hardware.commands import Command
from vfio_ims.drivers.intel_idxd.hardware.dif import DestinationFlag, DifTags, SourceFlag
from vfio_ims.drivers.intel_idxd.hardware.registers import State
from vfio_ims.drivers.intel_idxd.hardware.status import Status
from vfio_ims.drivers.intel_idxd.hardware.tables import GroupConfig, QueueState
from vfio_ims.errors import DeviceError, VfioImsError


def test_wait_cmd(opened: Opener) -> None:
    """A command that takes its time, one that fails, one that never ends."""
    dsa = opened("command_ms=5")
    assert dsa.commander.run(Command.DRAIN_ALL) == 0
    with pytest.raises(DeviceError, match="the device is not disabled"):
        dsa.commander.run(Command.ENABLE_DEVICE)
    model_of(dsa).commands._delay = 500
    dsa.commander._timeout = 0.05
    with pytest.raises(VfioImsError, match=r"still active after 0\.05 s"):
        dsa.commander.run(Command.DRAIN_ALL)
    model_of(dsa).commands._delay = 0
    dsa.commander._timeout = 10


def test_reset_dev(dsa: Dsa) -> None:
    dsa.commander.run(Command.RESET_DEVICE)
    assert dsa.regs.GENSTS.read().state == State.DISABLED
    assert queue_entry(dsa.regs, dsa.capabilities, 0).STATUS.read().state == QueueState.DISABLED
    dsa.start()
    with dsa.wq(0) as wq:
        assert wq.nop().ok


def test_group_config(dsa: Dsa) -> None:
    """All queues and engines into group 0, the others' entries zero."""
    even = Configuration.even(dsa.capabilities)
    groups = tuple(
        replace(group, engines=(0, 1, 2, 3), read_buffers_allowed=96)
        if group.index == 0
        else replace(group, engines=())
        for group in even.groups
    )
    dsa.configure(replace(even, queues=tuple(replace(q, group=0) for q in even.queues), groups=groups))
    entries = [GroupConfig(dsa.regs.window, 0x300 + 64 * n) for n in range(4)]
    assert [int(entry.QUEUES0.read()) for entry in entries] == [0xFF, 0, 0, 0]
    assert [int(entry.ENGINES.read()) for entry in entries] == [0xF, 0, 0, 0]
    flags = entries[0].FLAGS.read()
    assert (flags.traffic_class_a, flags.traffic_class_b, flags.read_buffers_allowed) == (1, 1, 96)


def test_wq_config(dsa: Dsa) -> None:
    capabilities = dsa.capabilities
    entry = queue_entry(dsa.regs, capabilities, 3)
    assert entry.SIZE.read().entries == capabilities.queue.total_size // capabilities.queue.queues
    limits, mode = entry.LIMITS.read(), entry.MODE.read()
    assert (1 << limits.max_transfer_shift, 1 << limits.max_batch_shift) == (
        (capabilities.max_transfer, capabilities.max_batch)
    )
    assert (mode.dedicated, mode.priority, mode.pasid_enable, mode.block_on_fault) == (1, 10, 0, 0)
    assert entry.STATUS.read().state == QueueState.ENABLED


@pytest.mark.parametrize("block", [512, 520, 4096, 4104])
@pytest.mark.parametrize("dif", [0, 4, 8, 12])
def test_dif_parameters(dsa: Dsa, block: int, dif: int) -> None:
    """Every block size and every way to make the guard, with fixed and counted tags."""
    memory = arena(dsa, 4 * PAGE)
    data = bytes(memory.fresh(block)[:block])
    with dsa.wq(0) as wq:
        for fixed in (False, True):
            making = DestinationFlag.FIXED_REF_TAG if fixed else 0
            checking = SourceFlag.FIXED_REF_TAG if fixed else 0
            tags = DifTags(9, 0x1234, flags=making)
            made = wq.dif_insert(memory.at(2 * PAGE), memory.at(0), block, block, tags, dif=dif)
            assert made.target_tags.ref == (9 if fixed else 10)
            expected = DifTags(9, 0x1234, flags=checking)
            assert wq.dif_check(memory.at(2 * PAGE), block + 8, block, expected, dif=dif).ok
            other = wq.submit.dif_check(memory.at(2 * PAGE), block + 8, block, expected, dif=dif ^ 8)
            assert other.wait(check=False).status == Status.DIF
    assert memory.take(2 * PAGE, block) == data


@pytest.mark.parametrize("size", [0, 1, 511, 513, 519, 1023])
def test_dif_alignment(dsa: Dsa, size: int) -> None:
    """Sizes that are no multiple of a block, with its field or without."""
    memory = arena(dsa, 4 * PAGE)
    with dsa.wq(0) as wq:
        for run in (
            lambda: wq.submit.dif_insert(memory.at(PAGE), memory.at(0), size, 512),
            lambda: wq.submit.dif_check(memory.at(0), size, 512),
            lambda: wq.submit.dif_strip(memory.at(PAGE), memory.at(0), size, 512),
            lambda: wq.submit.dif_update(memory.at(PAGE), memory.at(0), size, 512),
        ):
            assert run().wait(check=False).status == Status.SIZE
        assert wq.nop().ok
