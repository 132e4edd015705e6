# SPDX-License-Identifier: Apache-2.0
"""Our client and our server against each other: a reset, the next client, and no client."""

from __future__ import annotations

import time

import pytest

from vfio_ims.errors import BusFault
from vfio_ims.ports.values import IrqIndex, RegionIndex
from vfio_ims.vfio_user import SocketLink

SLOT = 0xFEE00000
MSIX = IrqIndex.MSIX


def test_reset_resets_and_keeps_the_vectors(link, device, do, bus):
    link.set_vectors(MSIX, 0, [True])
    link.write(0, 0x100, b"dirt")
    link.reset()
    assert link.read(0, 0x100, 4) == bytes(4)
    assert device.resets == 1
    do(device.RAISE, MSIX, 0)
    assert bus.next() == ("interrupt", MSIX, 0)


def test_the_next_client_finds_the_device_as_the_first_did(server, device, bus, guest):
    for n in range(1, 4):
        with SocketLink(server.path) as link:
            link.connect(bus)
            assert link.read(0, 0x100, 4) == bytes(4)
            assert link.read(RegionIndex.CONFIG, 4, 2) == bytes(2)
            assert link.read(RegionIndex.CONFIG, 0x10, 4) == bytes(4)
            link.map(0x1000, 0x1000, guest, 0, read=True, write=True)
            link.set_vectors(MSIX, 0, [True])
            link.write(0, 0x100, b"dirt")
            link.write(RegionIndex.CONFIG, 4, b"\x06\x00")
            link.write(RegionIndex.CONFIG, 0x10, b"\0\0\xe0\xfe")
        assert device.resets == n or time.sleep(0.2) or device.resets == n


def test_without_a_client_the_bus_faults(server, device):
    with pytest.raises(BusFault, match="no client"):
        device.bus.read(0, 4)
    with pytest.raises(BusFault, match="no client"):
        device.bus.write(SLOT, bytes(4))
    device.bus.interrupt(MSIX, 0)
