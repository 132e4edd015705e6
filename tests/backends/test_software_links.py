# SPDX-License-Identifier: Apache-2.0
"""One backend, two links: the same model in process and behind a vfio-user socket does the same."""

from __future__ import annotations

import os
import select

import pytest

from vfio_ims.backends.software.device import SoftwareDevice
from vfio_ims.backends.software.in_process import InProcessLink
from vfio_ims.backends.software.space import SoftwareAddressSpace
from vfio_ims.errors import UnsupportedError
from vfio_ims.native.memory import SharedMemory
from vfio_ims.ports.values import IrqIndex, IrqSet
from vfio_ims.vfio_user.client import SocketLink
from vfio_ims.vfio_user.server import Server

ATTACH = IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER
PAGE = 4096


@pytest.fixture(params=["mock", "vfio-user"])
def device(request, little, platform, tmp_path):
    if request.param == "mock":
        with SoftwareDevice(InProcessLink(little()), platform) as opened:
            yield opened
        return
    model = little()
    with Server(model, tmp_path / "socket"), SoftwareDevice(SocketLink(tmp_path / "socket"), platform) as opened:
        yield opened
    model.close()


@pytest.fixture
def eventfd():
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    yield fd
    os.close(fd)


def comes(fd: int) -> int:
    return os.eventfd_read(fd) if select.select([fd], [], [], 2)[0] else 0


def bus_master(device) -> None:
    device.write_region(7, 4, b"\6\0")


def test_a_donors_message_arrives(device, eventfd) -> None:
    device.set_irqs(IrqIndex.MSIX, ATTACH, 2, 1, [eventfd])
    bus_master(device)
    window = device.window(0)
    window.write64(0x1000, window.read64(0x2020))
    window.write32(0x1008, window.read32(0x2028))
    window.write32(0x08, 0)
    assert comes(eventfd) == 1
    device.reset()
    assert window.read64(0x1000) == 0
    assert window.read64(0x2020) != 0


@pytest.mark.parametrize("index", [IrqIndex.INTX, IrqIndex.MSI, IrqIndex.MSIX, IrqIndex.ERR, IrqIndex.REQ])
def test_standard_interrupts_arrive_while_there_is_a_listener(device, eventfd, index) -> None:
    device.set_irqs(index, ATTACH, 0, 1, [eventfd])
    bus_master(device)
    window = device.window(0)
    for _ in range(2):
        window.write32(0x0C, index)
        assert comes(eventfd) == 1
        if index == IrqIndex.INTX:
            device.set_irqs(index, IrqSet.DATA_NONE | IrqSet.ACTION_UNMASK, 0, 1)
    device.set_irqs(index, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, 0, 0)
    window.write32(0x0C, index)
    assert not select.select([eventfd], [], [], device.settle)[0]


@pytest.mark.parametrize("with_file", [True, False])
def test_dma(device, eventfd, with_file) -> None:
    bus_master(device)
    device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 1, [eventfd])
    window = device.window(0)
    with SharedMemory(PAGE) as memory:
        device.space.map(0x10000, memory.address, PAGE, fd=memory.fd if with_file else -1)
        window.write64(0x18, 0x10010)
        window.write64(0x40, 0x1122334455667788)
        window.write32(0x10, 1)
        window.write32(0x04, 0)  # the vector comes after the data
        assert comes(eventfd) == 1
        assert int.from_bytes(memory.view[0x10:0x18], "little") == 0x1122334455667788
        assert device.space.unmap(0x10000, PAGE) == PAGE


def test_bad_dma_harms_no_other_device(device, eventfd) -> None:
    bus_master(device)
    device.set_irqs(IrqIndex.MSIX, ATTACH, 0, 1, [eventfd])
    window = device.window(0)
    window.write64(0x18, 0xDEAD0000)
    window.write32(0x10, 1)
    window.write32(0x04, 0)
    assert comes(eventfd) == 1
    assert window.read32(0x18) == 0xDEAD0000


def test_pasids_need_a_link_that_carries_them(device, platform) -> None:
    with SoftwareAddressSpace(platform) as space:
        if device.mount == "mock":
            device.attach_pasid(7, space)
            device.detach_pasid(7)
        else:
            with pytest.raises(UnsupportedError, match="vfio-user carries no PASIDs"):
                device.attach_pasid(7, space)
