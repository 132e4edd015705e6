# SPDX-License-Identifier: Apache-2.0
"""The wire format: what is packed comes back, and garbage is refused by name, never by an accident."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vfio_ims.ports.values import Area, DeviceFlags, DeviceInfo, IrqFlags, IrqInfo, RegionFlags, RegionInfo
from vfio_ims.vfio_user import infos, messages, wire
from vfio_ims.vfio_user.version import Capabilities, decode_version, encode_version
from vfio_ims.vfio_user.wire import HEADER, Layout, WireError

LAYOUTS = [value for value in vars(messages).values() if isinstance(value, Layout)]
SIZES = {"H": 16, "I": 32, "Q": 64}


def test_sizes_are_those_of_the_specification():
    assert HEADER.size == 16
    assert (messages.DMA_MAP.size, messages.DMA_UNMAP.size, messages.DEVICE_INFO.size) == (32, 24, 16)
    assert (messages.REGION_INFO.size, messages.IRQ_INFO.size, messages.IRQ_SET.size) == (32, 16, 20)
    assert (messages.REGION_ACCESS.size, messages.DMA_ACCESS.size, messages.WRITE_ONE.size) == (16, 16, 24)
    assert (messages.CAP_HEADER.size, messages.SPARSE_HEADER.size, messages.SPARSE_AREA.size) == (8, 8, 16)


@given(st.data())
def test_every_layout_brings_its_numbers_back(data):
    layout = data.draw(st.sampled_from(LAYOUTS))
    assert len(layout.names) == len(layout.form)
    numbers = tuple(data.draw(st.integers(0, (1 << SIZES[kind]) - 1)) for kind in layout.form)
    packed = layout.pack(*numbers)
    assert layout.unpack(packed) == numbers
    assert layout.unpack(b"xy" + packed + b"more", 2) == numbers
    with pytest.raises(WireError, match="message size"):
        layout.unpack(packed[:-1])


@given(st.binary(max_size=200))
def test_garbage_is_refused_by_the_decoders_and_nothing_else_happens(payload):
    decoders = [
        decode_version,
        infos.decode_device_info,
        lambda data: infos.decode_irq_info(data, 2),
        lambda data: infos.decode_region_info(data, 0),
    ]
    for decode in decoders:
        with contextlib.suppress(WireError):
            decode(payload)


capabilities = st.builds(
    Capabilities,
    max_msg_fds=st.integers(0, 1024),
    max_data_xfer_size=st.integers(1, (1 << 32) - 1),
    max_dma_maps=st.integers(0, 1 << 40),
    pgsizes=st.integers(1, (1 << 64) - 1),
    write_multiple=st.booleans(),
)


@given(st.integers(0, 65535), st.integers(0, 65535), capabilities)
def test_a_version_comes_back(major, minor, said):
    assert decode_version(encode_version(major, minor, said)) == (major, minor, said)


def test_a_version_without_limits_means_the_defaults():
    for text in (b"", b"{}\0", b'{"capabilities":{}}\0', b'{"capabilities":{"some_new_thing":[1]}}\0'):
        assert decode_version(b"\0\0\1\0" + text) == (0, 1, Capabilities(1, 1 << 20, 65535, 4096, False))


def test_our_reply_fits_into_the_request_of_qemu():
    # QEMU takes no reply longer than its request: its own text has these names, and migration's beside them.
    theirs = {
        "max_msg_fds": 16,
        "max_data_xfer_size": 1048576,
        "pgsizes": 4096,
        "max_dma_maps": 65535,
        "write_multiple": True,
    }
    text = json.dumps({"capabilities": theirs | {"migration": {"pgsize": 4096, "max_bitmap_size": 268435456}}})
    ours = encode_version(0, 0, Capabilities(max_msg_fds=16, write_multiple=True))
    assert len(ours) <= 4 + len(text) + 1


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ('{"capabilities":{"max_msg_fds":true}}', "max_msg_fds"),
        ('{"capabilities":{"max_data_xfer_size":0}}', "max_data_xfer_size"),
        ('{"capabilities":{"pgsizes":1.5}}', "pgsizes"),
        ('{"capabilities":{"write_multiple":1}}', "write_multiple"),
        ('{"capabilities":[]}', "capabilities"),
        ("[]", "version data"),
        ("[" * 100000, "version data"),
        ('{"capabilities":{"max_msg_fds":' + "9" * 5000 + "}}", "version data"),
    ],
)
def test_a_bad_version_names_its_field(said, field):
    with pytest.raises(WireError) as caught:
        decode_version(b"\0\0\0\0" + said.encode() + b"\0")
    assert caught.value.field == field


def test_a_region_comes_back_with_its_areas():
    areas = (Area(0x1000, 0x1000), Area(0x4000, 0x8000))
    info = RegionInfo(2, RegionFlags.READ | RegionFlags.WRITE, 0x10000, 0x40000, areas)
    packed = infos.encode_region_info(info, areas, 4096)
    back, full = infos.decode_region_info(packed, 2)
    assert full == len(packed) == 32 + 16 + 2 * 16
    assert (back.size, back.offset, back.areas) == (info.size, info.offset, areas)


def test_a_short_request_learns_the_size_the_flag_and_where_the_capability_is():
    # QEMU 11.1 asks with 32 first, and fails with EINVAL if cap_offset is 0 beside the flag.
    info = RegionInfo(0, RegionFlags.READ | RegionFlags.WRITE, 0x10000)
    packed = infos.encode_region_info(info, (Area(0x4000, 0x8000),), 32)
    argsz, flags, index, cap_offset, size, offset = messages.REGION_INFO.unpack(packed)
    assert len(packed) == 32
    assert (argsz, index, cap_offset, size, offset) == (64, 0, 32, 0x10000, 0)
    assert flags == RegionFlags.READ | RegionFlags.WRITE | RegionFlags.MMAP | RegionFlags.CAPS
    assert infos.decode_region_info(packed, 0) == (RegionInfo(0, RegionFlags(flags), 0x10000), 64)


def test_device_and_irq_info_come_back():
    device = DeviceInfo(DeviceFlags.PCI | DeviceFlags.RESET, 9, 5)
    assert infos.decode_device_info(infos.encode_device_info(device)) == device
    irq = IrqInfo(2, IrqFlags.EVENTFD | IrqFlags.NORESIZE, 2048)
    assert infos.decode_irq_info(infos.encode_irq_info(irq), 2) == irq


def test_names():
    assert wire.name_of(9) == "REGION_READ"
    assert wire.name_of(14) == "command 14"
    assert wire.explain_errno(1 << 31)[0] == wire.explain_errno(22)[0] == 22
