# SPDX-License-Identifier: Apache-2.0
"""Our client and our server against each other: what a device is, and accesses to its regions."""

from __future__ import annotations

import contextlib
import mmap
import os
import socket
import struct
import threading
import time
from collections import deque

import pytest

from tests.vfio_user.conftest import number
from vfio_ims.drivers.minimal.model import MinimalModel
from vfio_ims.errors import DeviceError, RemovedError
from vfio_ims.ports.values import Area, DeviceFlags, IrqIndex, RegionFlags, RegionIndex
from vfio_ims.vfio_user.messages import REGION_ACCESS, REGION_MESSAGE, WORD_MESSAGE
from vfio_ims.vfio_user.session import Session
from vfio_ims.vfio_user.transport import Connection
from vfio_ims.vfio_user.wire import NO_REPLY, Command

MSIX = IrqIndex.MSIX


def test_infos_come_through(link):
    assert link.device_info().flags == DeviceFlags.PCI | DeviceFlags.RESET
    info = link.region_info(0)
    assert (info.size, info.areas) == (0x4000, (Area(0x2000, 0x2000),))
    assert info.flags & RegionFlags.MMAP
    assert link.region_info(RegionIndex.CONFIG).size == 4096
    assert link.region_info(1).size == 0
    assert (link.irq_info(MSIX).count, link.irq_info(IrqIndex.MSI).count) == (2048, 0)
    assert (link.mount, link.name.startswith("vfio-user:/")) == ("vfio-user", True)
    with pytest.raises(DeviceError, match="DEVICE_GET_REGION_INFO: the server refused"):
        link.region_info(9)


def test_a_shared_area_is_mapped_and_no_access_is_seen(link, device):
    assert link.mapping_fd(0) is None
    info = link.region_info(0)
    fd = link.mapping_fd(0)
    with mmap.mmap(fd, info.areas[0].size, offset=info.offset + info.areas[0].offset) as window:
        window[:6] = b"stored"
        assert device.shared[0x2000:0x2006] == b"stored"
    assert device.accesses[-1][1] == RegionIndex.CONFIG
    assert link.region_info(0) == info
    assert link.mapping_fd(0) == fd


def test_accesses_reach_the_model_as_they_are(link, device):
    link.write(0, 0x100, b"\x01\x02\x03\x04")
    link.write(0, 0x104, b"\x05")
    assert link.read(0, 0x100, 8) == b"\x01\x02\x03\x04\x05\0\0\0"
    assert link.read(RegionIndex.CONFIG, 0, 4) == struct.pack("<HH", 0x1234, 0x1A55)
    assert device.accesses[-4:] == [
        ("write", 0, 0x100, 4),
        ("write", 0, 0x104, 1),
        ("read", 0, 0x100, 8),
        ("read", 7, 0, 4),
    ]


def test_more_than_one_message_holds(link, device):
    data = os.urandom((2 << 20) + 12345)
    link.write(2, 7, data)
    assert link.read(2, 7, len(data)) == data
    assert max(size for *_, size in device.accesses) <= 1 << 20


def test_a_bad_access_is_refused_and_the_next_is_served(link):
    for region, offset in ((0, 0x4000), (1, 0), (50, 0)):
        with pytest.raises(DeviceError) as caught:
            link.read(region, offset, 4)
        assert caught.value.errno == 22
    assert link.read(0, 0, 4) == bytes(4)


def test_a_bug_of_the_models_is_reported_and_survived(link, device, do, caplog):
    with pytest.raises(DeviceError) as caught:
        link.read(0, 0xF00, 4)
    assert caught.value.errno == 5
    do(device.FAIL)
    assert link.read(0, 0, 4) == bytes(4)
    assert [record.levelname for record in caplog.records if "the model failed" in record.message] == ["ERROR"] * 2


@pytest.mark.parametrize("multi", [True, False])
def test_many_writes_arrive_in_order(link, device, multi):
    link._accesses._multi = multi
    writes = [(0x100 + 8 * (n % 32), number(n)[: 1 << n % 4]) for n in range(5000)]
    device.accesses.clear()
    link.write_many(0, writes)
    assert device.accesses == [("write", 0, offset, len(data)) for offset, data in writes]
    link.write_many(0, [])
    link.write_many(0, [(0x200, b"a" * 64), (0x240, b"bb"), (0x280, b"c" * 9), (0x300, b"dddd")])
    assert [size for *_, size in device.accesses[-4:]] == [64, 2, 9, 4]
    assert link.read(0, 0x280, 9) == b"c" * 9


def test_many_reads_and_blocks_arrive_in_order_and_are_answered_in_it(link, device):
    link.write_many(0, [(0x100 + 4 * n, struct.pack("<I", n)) for n in range(500)])
    device.accesses.clear()
    places = [0x100 + 4 * (499 - n) for n in range(500)]
    assert struct.unpack("<500I", link.read_many(0, places, 4)) == tuple(range(499, -1, -1))
    assert device.accesses == [("read", 0, place, 4) for place in places]
    assert link.read_many(0, [], 4) == b""
    device.accesses.clear()
    link.write_many(0, [(0x400 + 64 * n, bytes([n]) * 64) for n in range(20)])
    assert device.accesses == [("write", 0, 0x400 + 64 * n, 64) for n in range(20)]
    assert link.read_many(0, [0x400 + 64 * 19, 0x400], 64) == bytes([19]) * 64 + bytes(64)


def test_a_bad_read_among_many_is_reported_and_the_next_is_served(link):
    with pytest.raises(DeviceError) as caught:
        link.read_many(0, [0x100, 0x5000, 0x104, 0x108], 4)
    assert caught.value.errno == 22
    link.write(0, 0x100, b"next")
    assert link.read_many(0, [0x100] * 3, 4) == b"next" * 3


@pytest.mark.parametrize("multi", [True, False])
def test_a_bad_write_among_many_is_reported(link, multi):
    link._accesses._multi = multi
    with pytest.raises(DeviceError):
        link.write_many(0, [(0x100, b"good"), (0x200, b"good"), (0x5000, b"bad!")])


def test_a_64_byte_store_arrives_as_its_pieces(link, device):
    link.write_many(0, [(0x400 + 8 * n, number(n)) for n in range(8)])
    assert device.accesses[-8:] == [("write", 0, 0x400 + 8 * n, 8) for n in range(8)]


def test_posted_writes_come_before_the_next_read(raw):
    for n in range(100):
        raw.send(Command.REGION_WRITE, REGION_ACCESS.pack(0x100, 0, 4) + struct.pack("<I", n), flags=NO_REPLY)
    assert raw.ask(Command.REGION_READ, REGION_ACCESS.pack(0x100, 0, 4))[1][-4:] == struct.pack("<I", 99)


def test_requests_may_be_sent_ahead(raw):
    for n in range(500):
        raw.send(Command.REGION_READ, REGION_ACCESS.pack(8 * (n % 8), 0, 8), id=n)
    assert [raw.receive()[0] for _ in range(500)] == list(range(500))


def test_threads_share_a_link(link):
    failures = []

    def work(base: int) -> None:
        for n in range(300):
            data = struct.pack("<II", base, n)
            link.write(0, base, data)
            if link.read(0, base, 8) != data:
                failures.append((base, n))

    threads = [threading.Thread(target=work, args=(0x400 + 0x100 * n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_reply_that_finds_the_socket_full_leaves_once_the_client_reads() -> None:
    """The client waits for it and sends nothing more: the server does not wait for a request first."""
    ours, theirs = socket.socketpair()
    request = REGION_MESSAGE.pack(7, Command.REGION_READ, REGION_MESSAGE.size, 0, 0, 0, 0, 4)
    connection = Connection(theirs, "full")
    session = Session(MinimalModel("full"), connection, deque(), most=1 << 16, timeout=5)

    def serve() -> None:
        with contextlib.suppress(RemovedError):
            session.run()

    before = 0
    with contextlib.suppress(BlockingIOError):
        while True:
            before += theirs.send(bytes(256), socket.MSG_DONTWAIT)
    server = threading.Thread(target=serve)
    with ours:
        ours.settimeout(10)
        ours.send(request)
        server.start()
        while not connection.queued:
            time.sleep(0.001)
        while before:
            before -= len(ours.recv(before))
        reply = ours.recv(WORD_MESSAGE.size)
    server.join(10)
    connection.close()
    assert WORD_MESSAGE.unpack(reply)[0] == 7
    assert not server.is_alive()
