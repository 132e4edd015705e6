# SPDX-License-Identifier: Apache-2.0
"""Requests for what a device, its regions and its interrupts are (test_device_get_info and others of libvfio-user)."""

from __future__ import annotations

import os
import struct

import pytest

from tests.vfio_user.malformed.answers import INVALID
from vfio_ims.ports.values import IrqIndex, RegionIndex
from vfio_ims.vfio_user.messages import DEVICE_INFO, IRQ_INFO, REGION_INFO, REGION_IO_FDS
from vfio_ims.vfio_user.wire import MAX_TRANSFER, Command

MSIX, ERR, REQ = IrqIndex.MSIX, IrqIndex.ERR, IrqIndex.REQ


@pytest.mark.parametrize("payload", [bytes(8), DEVICE_INFO.pack(8, 0, 0, 0)], ids=["short_write", "bad_argsz"])
def test_device_get_info_refuses(raw, payload):
    assert raw.ask(Command.DEVICE_GET_INFO, payload)[0] == INVALID


def test_device_get_info_larger_argsz(raw):
    assert raw.ask(Command.DEVICE_GET_INFO, DEVICE_INFO.pack(32, 0, 0, 0)) == (0, DEVICE_INFO.pack(16, 3, 9, 5))


@pytest.mark.parametrize(
    "payload", [bytes(8), IRQ_INFO.pack(8, 0, REQ, 0), IRQ_INFO.pack(16, 0, 5, 0)], ids=["short", "argsz", "index"]
)
def test_device_get_irq_info_bad_in(raw, payload):
    assert raw.ask(Command.DEVICE_GET_IRQ_INFO, payload)[0] == INVALID


@pytest.mark.parametrize(("index", "count"), [(REQ, 1), (ERR, 1), (MSIX, 2048), (IrqIndex.MSI, 0)])
def test_device_get_irq_info_ok(raw, index, count):
    assert raw.ask(Command.DEVICE_GET_IRQ_INFO, IRQ_INFO.pack(32, 0, index, 0)) == (
        0,
        IRQ_INFO.pack(16, 1, index, count),
    )


@pytest.mark.parametrize(
    "payload",
    [bytes(8), REGION_INFO.pack(8, 0, 1, 0, 0, 0), REGION_INFO.pack(32, 0, 9, 0, 0, 0)],
    ids=["short_write", "bad_argsz", "bad_index"],
)
def test_device_get_region_info_refuses(raw, payload):
    assert raw.ask(Command.DEVICE_GET_REGION_INFO, payload)[0] == INVALID


def test_device_get_region_info_larger_argsz(raw):
    request = REGION_INFO.pack(40, 0, 2, 0, 0, 0)
    assert raw.ask(Command.DEVICE_GET_REGION_INFO, request) == (0, REGION_INFO.pack(32, 3, 2, 0, 3 << 20, 0))


def test_device_get_region_info_small_argsz_caps(raw):
    # Here we follow QEMU, which wants flag and cap_offset at once; libvfio-user leaves both out of a short reply.
    raw.send(Command.DEVICE_GET_REGION_INFO, REGION_INFO.pack(32, 0, 0, 0, 0, 0))
    *_, error, body, got = raw.receive()
    assert (error, body, got) == (0, REGION_INFO.pack(64, 15, 0, 32, 0x4000, 0), [])


def test_device_get_region_info_caps(raw, device):
    raw.send(Command.DEVICE_GET_REGION_INFO, REGION_INFO.pack(64, 0, 0, 0, 0, 0))
    *_, error, body, got = raw.receive()
    sparse = struct.pack("HHIIIQQ", 1, 1, 0, 1, 0, device.SHARED, 0x2000)
    assert (error, body) == (0, REGION_INFO.pack(64, 15, 0, 32, 0x4000, 0) + sparse)
    assert [os.fstat(fd).st_ino for fd in got] == [os.fstat(device.fd).st_ino]
    os.close(got[0])


def test_device_get_region_info_zero_sized_region(raw):
    request = REGION_INFO.pack(32, 0, 1, 0, 0, 0)
    assert raw.ask(Command.DEVICE_GET_REGION_INFO, request) == (0, REGION_INFO.pack(32, 0, 1, 0, 0, 0))


def test_device_get_pci_config_space_info(raw):
    request = REGION_INFO.pack(40, 0, RegionIndex.CONFIG, 0, 0, 0)
    assert raw.ask(Command.DEVICE_GET_REGION_INFO, request) == (0, REGION_INFO.pack(32, 3, 7, 0, 4096, 0))


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(REGION_IO_FDS.pack(16, 1, 0, 0), id="bad_flags"),
        pytest.param(REGION_IO_FDS.pack(16, 0, 0, 1), id="bad_count"),
        pytest.param(REGION_IO_FDS.pack(15, 0, 0, 0), id="buffer_too_small"),
        pytest.param(REGION_IO_FDS.pack(MAX_TRANSFER + 1, 0, 0, 0), id="buffer_too_large"),
        pytest.param(REGION_IO_FDS.pack(16, 0, 1, 0), id="no_regions_setup"),
        pytest.param(REGION_IO_FDS.pack(16, 0, 9, 0), id="region_out_of_range"),
    ],
)
def test_device_get_region_io_fds_refuses(raw, payload):
    assert raw.ask(Command.DEVICE_GET_REGION_IO_FDS, payload)[0] == INVALID


def test_device_get_region_io_fds_no_fds(raw):
    payload = REGION_IO_FDS.pack(512, 0, 0, 0)
    assert raw.ask(Command.DEVICE_GET_REGION_IO_FDS, payload) == (0, REGION_IO_FDS.pack(16, 0, 0, 0))
