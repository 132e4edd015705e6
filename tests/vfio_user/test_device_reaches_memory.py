# SPDX-License-Identifier: Apache-2.0
"""Our client and our server against each other: memory of the client's that the device reads and writes."""

from __future__ import annotations

import os

import pytest

from vfio_ims.errors import BusFault, DeviceError


def test_memory_with_a_file_is_reached_without_a_message(link, device, do, bus, guest):
    link.map(0x10000, 0x10000, guest, 0x4000, read=True, write=True)
    os.pwrite(guest, b"from the driver", 0x4100)
    do(device.READ, 0x10100, length=15)
    assert link.read(0, device.BUFFER, 15) == b"from the driver"
    link.write(0, device.BUFFER, b"from the device")
    do(device.WRITE, 0x10200, length=15)
    link.read(0, 0, 4)
    assert os.pread(guest, 15, 0x4200) == b"from the device"
    do(device.VIEW, 0x10200, length=15)
    assert device.done.get(timeout=2) == [b"from the device"]
    assert bus.came.empty()


def test_memory_without_a_file_is_reached_by_message(link, device, do, bus):
    bus.memory[0x10000] = bytearray(os.urandom(3 << 20))
    link.map(0x10000, 3 << 20, -1, 0, read=True, write=True)
    do(device.WORKER_READ, 0x10100, length=(2 << 20) + 77)
    assert device.done.get(timeout=2) == bus.memory[0x10000][0x100 : 0x100 + (2 << 20) + 77]
    link.write(0, device.BUFFER, b"written by message")
    do(device.WRITE, 0x10004, length=18)
    assert bus.next() == ("write", 0x10004, 18)
    assert bus.memory[0x10000][4:22] == b"written by message"


def test_the_loop_does_not_wait_for_memory(link, server, device, do):
    link.map(0x10000, 0x1000, -1, 0, read=True, write=True)
    do(device.READ, 0x10000, length=4)
    do(device.VIEW, 0x10000, length=4)
    link.read(0, 0, 4)
    assert ["from a worker thread" in fault.why for fault in server.faults] == [True, False]
    assert "has no view" in server.faults[1].why


def test_a_refused_read_is_a_fault_of_the_models(link, device, do):
    link.map(0x10000, 0x1000, -1, 0, read=True, write=True)
    do(device.WORKER_READ, 0x10000, length=4)
    fault = device.done.get(timeout=2)
    assert isinstance(fault, BusFault)
    assert "the client refused: Bad address" in fault.why


def test_a_refused_write_is_in_the_log(link, server, device, do):
    link.map(0x10000, 0x1000, -1, 0, read=True, write=True)
    do(device.WRITE, 0x10010, length=8)
    for _ in range(100):
        link.read(0, 0, 4)
        if server.faults:
            break
    (fault,) = server.faults
    assert (fault.iova, fault.size, fault.write) == (0x10010, 8, True)


def test_memory_that_is_gone_or_forbidden_faults(link, server, device, do, guest):
    link.map(0x10000, 0x1000, guest, 0, read=True, write=False)
    do(device.WRITE, 0x10000, length=16)
    link.unmap(0x10000, 0x1000)
    do(device.READ, 0x10000, length=16)
    link.read(0, 0, 4)
    assert [fault.why for fault in server.faults] == ["the window at 0x10000 does not allow it", "no window at 0x10000"]
    with pytest.raises(DeviceError) as caught:
        link.unmap(0x10000, 0x1000)
    assert caught.value.errno == 2
