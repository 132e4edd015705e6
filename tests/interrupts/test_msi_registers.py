# SPDX-License-Identifier: Apache-2.0
"""The kernel's MSI registers: read through a descriptor of the right file only, as far as its opener might."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vfio_ims.device.msi_registers import HostMsiRegisters, sysfs_config
from vfio_ims.errors import DeviceError, UsageError
from vfio_ims.messages import Message
from vfio_ims.pci.capabilities import Msi

NAME = "0000:01:00.0"


def placed(wide: bool, offset: int = 0x50) -> Msi:
    """An MSI capability at ``offset`` of config space."""
    made = Msi.new(4, wide=wide)
    return type(made)(made.data, offset)


def image(wide: bool, *, enabled: bool, message: Message) -> bytes:
    size = 8 if wide else 4
    body = (int(enabled) | 0x80 * wide).to_bytes(2, "little") + message.address.to_bytes(8, "little")[:size]
    return bytes(0x52) + body + message.data.to_bytes(2, "little") + bytes(16)


@pytest.mark.parametrize("wide", [True, False])
def test_the_message_is_read_where_the_kernel_wrote_it(wide: bool) -> None:
    message = Message(0xFEE0_0018 | (1 << 33 if wide else 0), 0x40)
    for enabled in (True, False):
        data = image(wide, enabled=enabled, message=message)
        registers = HostMsiRegisters(NAME, placed(wide), lambda offset, size, data=data: data[offset : offset + size])
        assert registers.missing == ""
        assert registers.read() == (message if enabled else None)


def test_a_descriptor_that_root_did_not_open_shows_too_little() -> None:
    registers = HostMsiRegisters(NAME, placed(True), lambda offset, size: bytes(64)[offset : offset + size])
    with pytest.raises(DeviceError, match="was not opened by root"):
        registers.read()


def test_without_a_descriptor_it_is_said_which_one_is_missing() -> None:
    registers = HostMsiRegisters(NAME, placed(True), None)
    assert "the message that the kernel wrote" in registers.missing
    assert (
        registers.hint
        == f"let root open /sys/bus/pci/devices/{NAME}/config, and pass that descriptor: {NAME},config=FD"
    )


def test_another_files_descriptor_is_refused(tmp_path: Path) -> None:
    for folder, good in ((NAME, True), ("0000:02:00.0", False)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config").write_bytes(b"0123456789")
        descriptor = os.open(tmp_path / folder / "config", os.O_RDONLY)
        try:
            if good:
                assert sysfs_config(descriptor, NAME)(2, 3) == b"234"
            else:
                with pytest.raises(UsageError, match="another's messages must not be used"):
                    sysfs_config(descriptor, NAME)
        finally:
            os.close(descriptor)
    with pytest.raises(UsageError, match="is not open"):
        sysfs_config(descriptor, NAME)
