# SPDX-License-Identifier: Apache-2.0
"""Our client and our server against each other: messages that the device writes."""

from __future__ import annotations

import os

from tests.vfio_user.conftest import number

SLOT = 0xFEE00000


def test_a_message_is_here_when_the_next_read_returns(link, device, do, bus):
    for n in range(200):
        do(device.SEND, SLOT + 4 * n, n)
        link.read(0, 0, 4)
        assert bus.came.get_nowait() == ("message", SLOT + 4 * n, n)
        assert bus.came.empty()


def test_a_message_comes_without_another_access(link, device, do, bus):
    do(device.SEND, SLOT, 42)
    assert bus.next() == ("message", SLOT, 42)


def test_a_message_in_the_interrupt_range_wins_over_memory(link, device, do, bus, guest):
    link.map(0xFEE00000, 0x1000, guest, 0, read=True, write=True)
    do(device.SEND, SLOT, 7)
    assert bus.next() == ("message", SLOT, 7)
    assert os.pread(guest, 4, 0) == bytes(4)


def test_a_doorbell_outside_all_windows_is_the_clients_to_judge(link, server, device, do, bus, guest):
    bus.memory[0x8090000] = bytearray(4096)  # as the ITS's doorbell page on ARM
    do(device.SEND, 0x8090040, 99)
    assert bus.next() == ("write", 0x8090040, 4)
    link.map(0x20000, 0x1000, guest, 0, read=True, write=True)
    do(device.SEND, 0x20010, 0x01020304)
    link.read(0, 0, 4)
    assert os.pread(guest, 4, 0x10) == b"\x04\x03\x02\x01"
    do(device.SEND, 0x7000000, 5)
    for _ in range(100):
        link.read(0, 0, 4)
        if server.faults:
            break
    assert server.faults[0].iova == 0x7000000


def test_a_burst_of_messages_arrives_whole_and_in_order(link, device, bus):
    link.write(0, device.ADDRESS, number(SLOT) + number(3))
    link.write_many(0, [(device.DO, number(device.SEND))] * 5000)
    assert [bus.next() for _ in range(5000)] == [("message", SLOT, 3)] * 5000
