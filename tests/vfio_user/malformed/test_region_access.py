# SPDX-License-Identifier: Apache-2.0
"""Reads and writes outside a region, or whose counts are wrong (test_setup_region of libvfio-user)."""

from __future__ import annotations

import struct

import pytest

from tests.vfio_user.malformed.answers import INVALID, alive
from vfio_ims.vfio_user.messages import REGION_ACCESS
from vfio_ims.vfio_user.wire import MAX_TRANSFER, Command


@pytest.mark.parametrize(
    ("offset", "region", "count"),
    [
        pytest.param(0, 9, 4, id="bad_region"),
        pytest.param(0, 1, 4, id="region_without_size"),
        pytest.param(0x3FFE, 0, 4, id="across_the_end"),
        pytest.param((1 << 64) - 4, 0, 8, id="region_offset_overflow"),
        pytest.param(0, 2, MAX_TRANSFER + 1, id="access_region_large_count"),
    ],
)
def test_region_access_refuses(raw, device, offset, region, count):
    assert raw.ask(Command.REGION_READ, REGION_ACCESS.pack(offset, region, count))[0] == INVALID
    if count <= 8:
        assert raw.ask(Command.REGION_WRITE, REGION_ACCESS.pack(offset, region, count) + bytes(count))[0] == INVALID
    assert ("read", region, offset, count) not in device.accesses
    alive(raw)


def test_access_region_zero_count(raw):
    request = REGION_ACCESS.pack(0, 0, 0)
    assert raw.ask(Command.REGION_READ, request) == (0, request)
    assert raw.ask(Command.REGION_WRITE, request) == (0, request)


@pytest.mark.parametrize("data", [b"", b"abc", b"abcde"])
def test_a_write_whose_count_is_not_that_of_its_data(raw, data):
    assert raw.ask(Command.REGION_WRITE, REGION_ACCESS.pack(0, 0, 4) + data)[0] == INVALID


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(struct.pack("Q", 1), id="none_there"),
        pytest.param(struct.pack("Q", 1 << 63), id="more_than_any"),
        pytest.param(struct.pack("QQII8s", 1, 0x100, 0, 9, b""), id="too_long"),
        pytest.param(struct.pack("QQII8s", 1, 0x100, 0, 0, b""), id="empty"),
        pytest.param(struct.pack("QQII8sQII8s", 2, 0x100, 0, 4, b"good", 0x100, 77, 4, b"bad"), id="second_is_bad"),
        pytest.param(struct.pack("QQII8s", 1, 0x100, 0, 4, b"good") + b"more", id="left_over"),
    ],
)
def test_write_multi_refuses_all_or_nothing(raw, device, payload):
    assert raw.ask(Command.REGION_WRITE_MULTI, payload)[0] == INVALID
    assert not [access for access in device.accesses if access[:2] == ("write", 0)]
