# SPDX-License-Identifier: Apache-2.0
"""The declared registers against figures that were read off real devices and Linux' header."""

import pytest

from vfio_ims.drivers.intel_idxd import family
from vfio_ims.drivers.intel_idxd.hardware.descriptors import DESCRIPTOR, Descriptor, DsaOpcode, Flag, encode
from vfio_ims.drivers.intel_idxd.hardware.registers import Bar0
from vfio_ims.drivers.intel_idxd.hardware.tables import SLOTS, GroupConfig, Permission, QueueConfig, queue_stride
from vfio_ims.messages import Message, Slot

OFFSETS = {
    "VERSION": 0x00,
    "GENCAP": 0x10,
    "WQCAP": 0x20,
    "GRPCAP": 0x30,
    "ENGCAP": 0x38,
    "OPCAP": 0x40,
    "OFFSETS": 0x60,
    "GENCFG": 0x80,
    "GENCTRL": 0x88,
    "GENSTS": 0x90,
    "INTCAUSE": 0x98,
    "CMD": 0xA0,
    "CMDSTS": 0xA8,
    "CMDCAP": 0xB0,
    "SWERR": 0xC0,
    "EVLCFG": 0xE0,
    "EVLSTATUS": 0xF0,
    "CAP0": 0x180,
    "CAP1": 0x188,
    "CAP2": 0x190,
}


def test_registers_are_where_linux_has_them() -> None:
    assert {name: register.offset for name, register in Bar0.registers.items()} == OFFSETS


def test_gencap_of_sapphire_rapids() -> None:
    value = Bar0.GENCAP.value(0x40_915F_0107)
    assert (value.block_on_fault, value.overlapping_copy, value.cache_control_memory) == (1, 1, 1)
    assert (value.command_capabilities, value.destination_readback, value.configurable) == (0, 1, 1)
    assert (1 << value.max_transfer_shift, 1 << value.max_batch_shift) == (1 << 31, 1 << 10)
    assert value.ims_multiplier * 256 == 2048
    iaa = Bar0.GENCAP.value(0x7_1F10_901F_0105)
    assert (1 << iaa.max_transfer_shift, 1 << iaa.max_batch_shift, iaa.ims_multiplier * 256) == (1 << 31, 1, 2048)


def test_tables() -> None:
    assert (queue_stride(0), queue_stride(1)) == (32, 64)
    assert [r.offset for r in QueueConfig.registers.values()] == [0, 4, 8, 0xC, 0x10, 0x14, 0x18]
    assert GroupConfig.ENGINES.offset == 0x20
    assert GroupConfig.FLAGS.offset == 0x28
    assert QueueConfig.MODE.value(dedicated=1, priority=0xA, pasid=0x12345, pasid_enable=1) == 0x1123_45A1
    assert QueueConfig.LIMITS.value(max_transfer_shift=31, max_batch_shift=10) == 31 | 10 << 5
    assert Permission.ENTRY.value(pasid_enable=1, pasid=5) == 0x5008
    assert (SLOTS.offset, SLOTS.count, SLOTS.size) == (0x4000, 2048, 0x8000)
    assert SLOTS.control_word(Slot(Message(0, 0), masked=True, pasid=5)) == 0x5009
    assert SLOTS.control_word(Slot(Message(0, 0), masked=False, ignore=True)) == 0x4


def test_a_software_error_taken_apart() -> None:
    value = Bar0.SWERR.value(
        0x2000 << 128 | 0x40 << 96 | 7 << 64 | 0x12345 << 40 | 3 << 32 | 5 << 16 | 0x19 << 8 | 0x3D
    )
    assert (value.valid, value.overflow, value.descriptor_valid, value.queue_valid, value.batch, value.write) == (
        (1, 0, 1, 1, 1, 1)
    )
    assert (value.error, value.queue, value.operation, value.pasid) == (0x19, 5, 3, 0x12345)
    assert (value.batch_index, value.invalid_flags, value.address) == (7, 0x40, 0x2000)


def test_descriptor_layout() -> None:
    assert DESCRIPTOR.size == 64
    data = encode(
        DsaOpcode.FILL,
        Flag.RECORD_VALID | Flag.INTERRUPT,
        record=0x1000,
        source=0x55,
        destination=0x2000,
        size=9,
        handle=0x1234,
        specific=b"\x07",
    )
    assert data[4:8] == bytes((0x14, 0, 0, 4))
    assert data[0x08:0x10] == (0x1000).to_bytes(8, "little")
    assert data[0x20:0x26] == (9).to_bytes(4, "little") + b"\x34\x12"
    assert data[0x28] == 7
    taken = Descriptor.decode(data)
    assert (taken.opcode, taken.flags, taken.handle, taken.destination) == (DsaOpcode.FILL, 0x14, 0x1234, 0x2000)


@pytest.mark.parametrize(
    ("device", "driver"),
    [
        ("8086:0b25", "Dsa"),
        ("8086:11fb", "Dsa"),
        ("8086:1212", "Dsa"),
        ("8086:0cfe", "Iaa"),
        ("8086:1216", "Iaa"),
        ("8086:b02d", "Iaa"),
    ],
)
def test_every_id_has_its_driver(device: str, driver: str) -> None:
    from vfio_ims.families import family_for

    vendor, function = (int(part, 16) for part in device.split(":"))
    assert family_for(vendor, function).load_driver(device).__name__ == driver
    assert device in family.ids
