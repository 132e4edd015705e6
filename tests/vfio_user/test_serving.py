# SPDX-License-Identifier: Apache-2.0
"""Our client and our server against each other: accesses, memory, interrupts, messages, reset."""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
import time

import pytest

from vfio_ims.errors import BusFault, DeviceError
from vfio_ims.ports.values import Area, DeviceFlags, IrqFlags, IrqIndex, IrqSet, RegionFlags, RegionIndex
from vfio_ims.vfio_user import SocketLink
from vfio_ims.vfio_user.messages import IRQ_SET, REGION_ACCESS
from vfio_ims.vfio_user.wire import NO_REPLY, Command

SLOT = 0xFEE00000
MSIX, INTX = IrqIndex.MSIX, IrqIndex.INTX


def number(value: int) -> bytes:
    return value.to_bytes(8, "little")


@pytest.fixture
def do(link, device):
    """Have the device do something with an address, data and a length."""

    def run(what: int, address: int = 0, data: int = 0, length: int = 0) -> None:
        link.write(0, device.ADDRESS, number(address) + number(data) + number(length))
        link.write(0, device.DO, number(what))

    return run


@pytest.fixture
def guest():
    fd = os.memfd_create("guest memory", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 1 << 20)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    yield fd
    os.close(fd)


# --- what the device is -----------------------------------------------------------------------------------------------


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


# --- accesses ---------------------------------------------------------------------------------------------------------


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


# --- memory -----------------------------------------------------------------------------------------------------------


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


# --- messages and interrupts ------------------------------------------------------------------------------------------


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


def test_vectors_reach_the_bus_while_armed(link, device, do, bus):
    link.set_vectors(MSIX, 3, [True, False, True])
    for vector in (3, 4, 5):
        do(device.RAISE, MSIX, vector)
    assert {bus.next(), bus.next()} == {("interrupt", MSIX, 3), ("interrupt", MSIX, 5)}
    link.set_vectors(MSIX, 3, [False, True])
    for vector in (3, 4):
        do(device.RAISE, MSIX, vector)
    assert bus.next() == ("interrupt", MSIX, 4)
    link.set_vectors(MSIX, 4, [False, False])
    do(device.RAISE, MSIX, 4)
    do(device.RAISE, IrqIndex.ERR, 0)
    time.sleep(link.settle)
    assert bus.came.empty()


def test_data_comes_before_the_interrupt_that_reports_it(link, device, bus):
    bus.memory[0x10000] = bytearray(0x1000)
    link.map(0x10000, 0x1000, -1, 0, read=True, write=True)
    link.set_vectors(MSIX, 0, [True])

    for _ in range(200):
        device.bus.write(0x10000, b"completion record")
        device.bus.interrupt(MSIX, 0)
        assert [bus.next(), bus.next()] == [("write", 0x10000, 17), ("interrupt", MSIX, 0)]


def test_two_thousand_vectors(link, device, do, bus, fds):
    link.set_vectors(MSIX, 0, [True] * 2048)
    for vector in (0, 15, 16, 1000, 2047):
        do(device.RAISE, MSIX, vector)
        assert bus.next() == ("interrupt", MSIX, vector)
    link.set_vectors(MSIX, 0, [False] * 2048)
    assert fds.settle() == 0


def test_every_kind_of_interrupt(link, device, do, bus):
    for index in (INTX, IrqIndex.ERR, IrqIndex.REQ, MSIX):
        link.set_vectors(index, 0, [True])
        do(device.RAISE, index, 0)
        assert bus.next() == ("interrupt", index, 0)


def test_vectors_that_there_are_not(link, fds):
    before = fds.more()
    for index, start in ((MSIX, 2048), (IrqIndex.MSI, 0), (9, 0)):
        with pytest.raises(DeviceError):
            link.set_vectors(index, start, [True])
    assert fds.more() == before


def set_irqs(raw, flags, index, start, count, data=b"", fds=()):
    assert (
        raw.ask(Command.DEVICE_SET_IRQS, IRQ_SET.pack(20 + len(data), flags, index, start, count) + data, fds=fds)[0]
        == 0
    )


def test_a_client_triggers_by_none_and_by_bool(raw):
    events = tuple(os.eventfd(start, os.EFD_NONBLOCK) for start in (4, 8))
    set_irqs(raw, IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER, MSIX, 0, 2, fds=events)
    set_irqs(raw, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, MSIX, 1, 1)
    set_irqs(raw, IrqSet.DATA_BOOL | IrqSet.ACTION_TRIGGER, MSIX, 0, 2, b"\0\1")
    assert [os.eventfd_read(event) for event in events] == [4, 10]
    set_irqs(raw, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, MSIX, 0, 0)
    set_irqs(raw, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, MSIX, 0, 2)
    for event in events:
        with pytest.raises(BlockingIOError):
            os.eventfd_read(event)
        os.close(event)


def test_an_interrupt_behind_a_mask_comes_once_with_the_unmask(raw, device):
    event = os.eventfd(0, os.EFD_NONBLOCK)
    set_irqs(raw, IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER, MSIX, 0, 1, fds=(event,))
    set_irqs(raw, IrqSet.DATA_NONE | IrqSet.ACTION_MASK, MSIX, 0, 1)
    for _ in range(3):
        device.bus.interrupt(MSIX, 0)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(event)
    set_irqs(raw, IrqSet.DATA_BOOL | IrqSet.ACTION_UNMASK, MSIX, 0, 1, b"\1")
    assert os.eventfd_read(event) == 1
    os.close(event)


def test_an_automasked_interrupt_waits_for_its_unmask(device, path, kit, server):
    device.irq_flags[INTX] = IrqFlags.EVENTFD | IrqFlags.MASKABLE | IrqFlags.AUTOMASKED
    import socket

    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(path)
        raw = kit.raw(sock).hello()
        event = os.eventfd(0, os.EFD_NONBLOCK)
        set_irqs(raw, IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER, INTX, 0, 1, fds=(event,))
        device.bus.interrupt(INTX, 0)
        device.bus.interrupt(INTX, 0)
        assert os.eventfd_read(event) == 1
        set_irqs(raw, IrqSet.DATA_NONE | IrqSet.ACTION_UNMASK, INTX, 0, 1)
        assert os.eventfd_read(event) == 1
        os.close(event)


# --- reset ------------------------------------------------------------------------------------------------------------


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
