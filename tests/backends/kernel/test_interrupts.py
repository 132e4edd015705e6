# SPDX-License-Identifier: Apache-2.0
"""Interrupts: requests as they are, whether they are remapped, and what a message is."""

from __future__ import annotations

import errno
import os
import struct
from collections import deque
from typing import Any

import pytest

from tests.backends.kernel.conftest import Open
from tests.backends.kernel.fake_kernel import BDF
from vfio_ims.errors import DeviceError, SetupError, UnsupportedError, UsageError
from vfio_ims.messages import Format, Message
from vfio_ims.ports.values import IrqSet


def test_interrupts_reach_the_kernel_as_they_are(kernel: Any, opened: Open) -> None:
    kernel.add()
    with opened() as port:
        port.set_irqs(2, IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER, 1, 2, [7, -1])
        port.set_irqs(2, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, 0, 0)
        assert kernel.irq_calls == [(2, 0x24, 1, 2, struct.pack("<ii", 7, -1)), (2, 0x21, 0, 0, b"")]
        for code, kind in (
            (errno.EINVAL, UsageError),
            (errno.ENOSPC, SetupError),
            (errno.ENOTTY, UnsupportedError),
            (errno.EBADF, UsageError),
            (errno.EIO, DeviceError),
        ):
            kernel.fail["DEVICE_SET_IRQS"] = deque([code])
            with pytest.raises(kind, match="set 1 interrupt from 0 of index 2"):
                port.set_irqs(2, 0x24, 0, 1, [7])
        with pytest.raises(UsageError):
            port.set_irqs(2, 0x24, -1, 1, [7])


def test_remapping_is_judged_by_the_interrupts_chip(kernel: Any, opened: Open) -> None:
    kernel.add()
    folder = kernel.sys / "bus/pci/devices" / BDF
    with opened() as port:
        before = port.interrupt_remapping()
        assert before.answer is None
        assert "MSI-X" in before.to_find_out
        (folder / "msi_irqs").mkdir()
        (folder / "msi_irqs/55").write_text("msix\n")
        chip = kernel.sys / "kernel/irq/55"
        chip.mkdir(parents=True)
        (chip / "chip_name").write_text("IR-PCI-MSIX-0000:6a:01.0\n")
        assert port.interrupt_remapping().answer is True
        (chip / "chip_name").write_text("PCI-MSIX-0000:6a:01.0\n")
        assert port.interrupt_remapping().answer is False


def test_what_messages_are_is_shown_once_a_vector_is_attached(kernel: Any, opened: Open) -> None:
    """As on Arm behind an SMMU: the message's address looks like memory, and lies in a reserved region of the group."""
    kernel.add()
    folder = kernel.sys / "bus/pci/devices" / BDF
    group = kernel.sys / "kernel/iommu_groups" / os.readlink(folder / "iommu_group").rpartition("/")[2]
    group.mkdir(parents=True, exist_ok=True)
    (group / "reserved_regions").write_text("0x0000000008000000 0x00000000080fffff msi\n")
    message = Message(0x800_0040, 3)
    with opened() as port:
        assert port.message_platform().format is None
        assert str(port.message_platform().of_entry(message)).endswith("(GICv3 ITS event 3)"), "a guess by its bits"
        (folder / "msi_irqs").mkdir()
        (folder / "msi_irqs/55").write_text("msix\n")
        chip = kernel.sys / "kernel/irq/55"
        chip.mkdir(parents=True)
        (chip / "chip_name").write_text("ITS-PCI-MSIX-0000:6a:01.0\n")
        platform = port.message_platform()
        assert (platform.format, platform.moves) == (Format.ITS, False)
        assert platform.of_entry(Message(0x800_1000, 3)).format is Format.ITS
        assert platform.of_entry(Message(0x1234_0040, 3)).format is Format.MEMORY, "its bits say otherwise"
        assert port.message_platform() is platform, "known now, and not read again"
