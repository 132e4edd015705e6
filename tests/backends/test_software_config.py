# SPDX-License-Identifier: Apache-2.0
"""Config space as vfio-pci shows it."""

from __future__ import annotations

import os

import pytest

from vfio_ims.pci import ConfigSource, ConfigSpace, decode
from vfio_ims.ports.values import IrqIndex, IrqSet

CONFIG = 7


def read(device, offset: int, size: int = 4) -> int:
    return int.from_bytes(device.read_region(CONFIG, offset, size), "little")


def write(device, offset: int, value: int, size: int = 4) -> None:
    device.write_region(CONFIG, offset, value.to_bytes(size, "little"))


def capabilities(device):
    return decode(ConfigSpace(device.read_region(CONFIG, 0, 4096), ConfigSource.VFIO))


@pytest.fixture
def device(open_little, platform):
    return open_little(platform)


def test_ids_and_any_size_of_read(device) -> None:
    assert read(device, 0) == 0x1A551234
    whole = device.read_region(CONFIG, 0, 64)
    assert b"".join(device.read_region(CONFIG, at, 1) for at in range(64)) == whole
    assert device.read_region(CONFIG, 1, 6) == whole[1:7]


def test_bus_master_off_on_off(device) -> None:
    assert read(device, 4, 2) & 6 == 2
    for value in (6, 2, 6):
        write(device, 4, value, 2)
        assert read(device, 4, 2) & 6 == value
        assert device.function.bus_master == (value == 6)
        assert device.link.model.config[4] == value


@pytest.mark.parametrize("hidden_first", [False, True])
def test_the_pasid_capability_is_hidden_and_the_list_relinked(open_little, platform, hidden_first: bool) -> None:
    device = open_little(platform, hidden_first=hidden_first)
    found = capabilities(device)
    assert not found.by_id(0x1B, extended=True)
    assert not found.diagnoses
    assert [item.id for item in found.extended if item.id] == [0x03, 0x23]
    assert [item.id for item in device.state.config.raw.extended if item.id] == (
        [0x1B, 0x03, 0x23] if hidden_first else [0x03, 0x1B, 0x23]
    )
    assert device.state.config.pasid_bits == 20


def test_bars_can_be_sized_but_stay_where_they_are(device) -> None:
    before = bytes(device.link.model.config[0x10:0x18])
    write(device, 0x10, 0xFFFFFFFF)
    write(device, 0x14, 0xFFFFFFFF)
    assert read(device, 0x10, 4) == 0xFFFFC00C
    assert read(device, 0x14) == 0xFFFFFFFF
    assert read(device, 0x20) == 0
    write(device, 0x20, 0xFFFFFFFF)
    assert read(device, 0x20) == 0
    assert device.link.model.config[0x10:0x18] == before


def test_the_msix_enable_bit_is_the_kernels(device) -> None:
    at = device.state.config.raw.msix.offset + 2
    write(device, at, 0xC000, 2)
    assert read(device, at, 2) == 7
    fd = os.eventfd(0)
    device.set_irqs(IrqIndex.MSIX, IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER, 0, 1, [fd])
    assert read(device, at, 2) == 0x8007
    device.set_irqs(IrqIndex.MSIX, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, 0, 0)
    assert read(device, at, 2) == 7
    os.close(fd)


def test_msi_address_and_data_are_scratch(device) -> None:
    at = device.state.config.raw.msi.offset
    write(device, at + 4, 0xFEE00000)
    assert read(device, at + 4) == 0xFEE00000
    assert device.link.model.config[at + 4 : at + 8] == bytes(4)
    write(device, at + 2, 1, 2)
    assert read(device, at + 2, 2) & 1 == 0


def test_intx_disable_is_virtual_and_works(device) -> None:
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    device.set_irqs(IrqIndex.INTX, IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER, 0, 1, [fd])
    write(device, 4, 0x402, 2)
    assert read(device, 4, 2) == 0x402
    assert device.link.model.config[5] == 0
    device.function.interrupt(IrqIndex.INTX, 0)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(fd)
    write(device, 5, 0, 1)
    assert os.eventfd_read(fd) == 1
    os.close(fd)


def test_read_only_bits_stay(device) -> None:
    before = device.read_region(CONFIG, 0, 4096)
    for offset in (0x00, 0x08, 0x2C, 0x34, 0x100, 0x104, device.state.config.raw.msix.offset + 4):
        write(device, offset, 0xFFFFFFFF)
    write(device, 0x3D, 0xFF, 1)
    assert device.read_region(CONFIG, 0, 4096) == before
    write(device, 0x3C, 0x55, 1)
    assert read(device, 0x3C, 1) == 0x55


def test_writing_the_flr_bit_resets(device) -> None:
    at = device.state.config.raw.express.offset + 8
    model = device.link.model
    resets = model.resets
    write(device, 4, 6, 2)
    write(device, at, 0x8000, 2)
    assert model.resets == resets + 1
    assert read(device, at, 2) & 0x8000 == 0
    assert read(device, 4, 2) == 6


def test_out_of_range(device) -> None:
    from vfio_ims.errors import UsageError

    for offset, size in ((4096, 1), (4094, 4), (-1, 1)):
        with pytest.raises(UsageError):
            device.read_region(CONFIG, offset, size)
