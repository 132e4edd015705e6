# SPDX-License-Identifier: Apache-2.0
"""Config space of a bare device."""

import pytest

from tests.behaviour.common import EVERYWHERE
from vfio_ims.device import Device
from vfio_ims.errors import UsageError
from vfio_ims.ports.values import IrqIndex

pytestmark = EVERYWHERE

VENDOR, COMMAND, BAR0, INTERRUPT_LINE = 0x00, 0x04, 0x10, 0x3C


def test_reads_of_all_widths_agree(vfio_device: Device) -> None:
    config = vfio_device.config
    both = config.read(VENDOR, 4)
    assert both == config.read(VENDOR + 2, 2) << 16 | config.read(VENDOR, 2)
    assert both.to_bytes(4, "little") == bytes(config.read(VENDOR + at, 1) for at in range(4))
    assert both not in (0, 0xFFFF_FFFF)


def test_a_writable_register_keeps_what_is_written(vfio_device: Device) -> None:
    config = vfio_device.config
    before = config.read(INTERRUPT_LINE, 1)
    config.write(INTERRUPT_LINE, 0x5A, 1)
    assert config.read(INTERRUPT_LINE, 1) == 0x5A
    config.write(INTERRUPT_LINE, before, 1)


def test_read_only_registers_stay(vfio_device: Device) -> None:
    config = vfio_device.config
    ids = config.read(VENDOR, 4)
    config.write(VENDOR, ids ^ 0xFFFF_FFFF, 4)
    assert config.read(VENDOR, 4) == ids


def test_a_bar_can_be_sized(vfio_device: Device) -> None:
    config, size = vfio_device.config, vfio_device.bar(0).size
    before = config.read(BAR0, 4)
    config.write(BAR0, 0xFFFF_FFFF, 4)
    assert config.read(BAR0, 4) & ~0xF == -size & 0xFFFF_FFF0
    config.write(BAR0, before, 4)
    assert config.read(BAR0, 4) == before


@pytest.mark.parametrize(("offset", "width"), [(1, 2), (2, 4), (0, 3), (0, 8), (-4, 4), (0x1000, 4), (0xFFE, 4)])
def test_an_access_that_cannot_be_is_refused(vfio_device: Device, offset: int, width: int) -> None:
    with pytest.raises(UsageError, match=r"1, 2 or 4 aligned bytes below 0x1000") as caught:
        vfio_device.config.read(offset, width)
    assert caught.value.device == vfio_device.name
    with pytest.raises(UsageError):
        vfio_device.config.write(offset, 0, width)


def test_a_value_too_large_for_its_width_is_refused(vfio_device: Device) -> None:
    line = vfio_device.config.read(INTERRUPT_LINE, 1)
    with pytest.raises(UsageError, match="value must be 8 bits"):
        vfio_device.config.write(INTERRUPT_LINE, 0x100, 1)
    with pytest.raises(UsageError, match="value must be 8 bits"):
        vfio_device.config.write(INTERRUPT_LINE, -1, 1)
    assert vfio_device.config.read(INTERRUPT_LINE, 1) == line


def test_an_open_device_does_not_master_the_bus_until_it_is_set(vfio_device: Device) -> None:
    config = vfio_device.config
    assert not config.bus_master
    config.bus_master = True
    assert config.bus_master
    config.bus_master = False
    assert not config.bus_master


def test_switching_one_command_bit_leaves_the_others(vfio_device: Device) -> None:
    config = vfio_device.config
    config.memory = True
    others = config.read(COMMAND, 2)
    config.bus_master = True
    assert config.memory
    config.bus_master = False
    assert config.read(COMMAND, 2) == others


def test_the_snapshot_is_what_single_reads_see(vfio_device: Device) -> None:
    snapshot = vfio_device.config.snapshot()
    for offset in range(0, 0x40, 4):
        assert snapshot.read(offset, 4) == vfio_device.config.read(offset, 4)
    assert snapshot.header.vendor == vfio_device.config.read(VENDOR, 2)


def test_capabilities_agree_with_what_vfio_says(vfio_device: Device) -> None:
    capabilities = vfio_device.capabilities
    assert capabilities.msix is not None
    assert capabilities.msix.vectors == vfio_device.port.irq_info(IrqIndex.MSIX).count
    assert capabilities.express is not None
    assert not capabilities.diagnoses
