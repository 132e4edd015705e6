# SPDX-License-Identifier: Apache-2.0
"""Requests that break the protocol, under the names that libvfio-user's own suite gives them.

Each is answered with the errno that libvfio-user answers with, the connection stays where it stays there, and no
descriptor of a refused request is kept.
"""

from __future__ import annotations

import errno
import os
import struct

import pytest

from vfio_ims.ports.values import IrqIndex, IrqSet, RegionIndex
from vfio_ims.vfio_user.messages import (
    DEVICE_INFO,
    DMA_MAP,
    DMA_UNMAP,
    IRQ_INFO,
    IRQ_SET,
    REGION_ACCESS,
    REGION_INFO,
    REGION_IO_FDS,
)
from vfio_ims.vfio_user.wire import MAX_MESSAGE, MAX_TRANSFER, NO_REPLY, REPLY, Command

INVALID = errno.EINVAL
MASK, UNMASK, TRIGGER = IrqSet.ACTION_MASK, IrqSet.ACTION_UNMASK, IrqSet.ACTION_TRIGGER
NONE, BOOL, EVENTFD = IrqSet.DATA_NONE, IrqSet.DATA_BOOL, IrqSet.DATA_EVENTFD
MSIX, ERR, REQ = IrqIndex.MSIX, IrqIndex.ERR, IrqIndex.REQ


def version(major=0, minor=1, text=b""):
    return struct.pack("HH", major, minor) + text


def alive(raw):
    """The connection still serves."""
    assert raw.ask(Command.DEVICE_GET_INFO, DEVICE_INFO.pack(16, 0, 0, 0))[0] == 0


def closed(raw):
    with pytest.raises(ConnectionError):
        raw.receive()


# --- test_negotiate --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "payload"),
    [
        pytest.param(1, b"", id="short_write"),
        pytest.param(999, version(), id="bad_command"),
        pytest.param(9, version(), id="bad_command_known"),
        pytest.param(1, version(major=999), id="invalid_major"),
        pytest.param(1, version(text=b"{}"), id="invalid_json_missing_NUL"),
        pytest.param(1, version(text=b"{\0"), id="invalid_json_missing_closing_brace"),
        pytest.param(1, version(text=b'"\0'), id="invalid_json_missing_closing_quote"),
        pytest.param(1, version(text=b'{"capabilities":"23"}\0'), id="invalid_json_bad_capabilities_object"),
        pytest.param(1, version(text=b'{"capabilities":{"max_msg_fds":"foo"}}\0'), id="invalid_json_bad_max_fds"),
        pytest.param(1, version(text=b'{"capabilities":{"max_msg_fds":-1}}\0'), id="invalid_json_bad_max_fds2"),
        pytest.param(1, version(text=b'{"capabilities":{"max_msg_fds":1025}}\0'), id="invalid_json_bad_max_fds3"),
        pytest.param(1, version(text=b'{"capabilities":{"migration":"23"}}\0'), id="invalid_json_bad_migration_object"),
        pytest.param(
            1, version(text=b'{"capabilities":{"migration":{"pgsize":"foo"}}}\0'), id="invalid_json_bad_pgsize"
        ),
        pytest.param(
            1, version(text=b'{"capabilities":{"migration":{"pgsize":4095}}}\0'), id="invalid_json_bad_pgsize2"
        ),
    ],
)
def test_negotiate_refuses(dial, command, payload):
    client = dial()
    assert client.ask(command, payload) == (INVALID, b"")
    closed(client)
    dial().hello()


def test_negotiate_long_write(dial):
    client = dial()
    assert client.ask(1, size=MAX_MESSAGE + 1)[0] == INVALID
    closed(client)


def test_negotiate_with_descriptors(dial, fds):
    client = dial()
    event = os.eventfd(0)
    assert client.ask(1, version(), fds=(event,))[0] == INVALID
    closed(client)
    os.close(event)
    client.sock.close()
    assert fds.settle() == 0


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(b"", id="no_json"),
        pytest.param(b"{}\0", id="empty_json"),
        pytest.param(b'{"capabilities":{"max_msg_fds":1024,"max_data_xfer_size":1048576}}\0', id="json"),
        pytest.param(b'{"capabilities":{"twin_socket":{"supported":true}}}\0', id="twin_socket_is_not_taken_up"),
    ],
)
def test_valid_negotiate(dial, text):
    client = dial()
    error, body = client.ask(1, version(text=text))
    assert error == 0
    assert body[:4] == version()
    assert body.endswith(b"\0")
    assert b'"max_msg_fds":16,"max_data_xfer_size":1048576,"max_dma_maps":65535' in body
    assert b"write_multiple" not in body, "not proposed, so not in the answer"
    alive(client)


def test_the_older_minor_version_is_agreed_on(dial):
    assert dial().ask(1, version(minor=0))[1][:4] == version(minor=0)


def test_a_later_minor_version_is_brought_down_to_ours(dial):
    assert dial().ask(1, version(minor=7))[1][:4] == version(minor=1)


def test_a_client_that_says_nothing_does_not_block_the_next(kit, device, path):
    from vfio_ims.vfio_user import Server, SocketLink

    with Server(device, path, timeout=0.1):
        import socket

        with socket.socket(socket.AF_UNIX) as silent:
            silent.connect(path)
            with SocketLink(path) as link:
                assert link.device_info().regions == 9


# --- test_request_errors ---------------------------------------------------------------------------------------------


def test_too_small(raw):
    assert raw.ask(Command.DEVICE_SET_IRQS, size=15)[0] == INVALID
    alive(raw)


def test_too_large(raw):
    assert raw.ask(Command.DEVICE_SET_IRQS, size=MAX_MESSAGE + 1)[0] == INVALID
    alive(raw)


def test_unsolicited_reply(raw):
    raw.send(Command.DEVICE_SET_IRQS, flags=REPLY)
    assert raw.receive()[2:4] == (0x21, INVALID)
    alive(raw)


def test_unknown_type(raw):
    assert raw.ask(Command.DEVICE_GET_INFO, DEVICE_INFO.pack(16, 0, 0, 0), flags=2)[0] == INVALID
    alive(raw)


@pytest.mark.parametrize("command", [0, 1, 11, 12, 14, 16, 17, 18, 19, 0xFFFF])
def test_bad_command(raw, command):
    assert raw.ask(command, bytes(32)) == (INVALID, b"")
    alive(raw)


@pytest.mark.parametrize("command", [c for c in Command if c != Command.DEVICE_RESET])
def test_no_payload(raw, command):
    assert raw.ask(command)[0] == INVALID
    alive(raw)


def test_bad_request_closes_fds(raw, fds):
    events = (os.eventfd(0), os.eventfd(0))
    assert raw.ask(Command.DEVICE_SET_IRQS, IRQ_SET.pack(20, TRIGGER | BOOL, MSIX, 0, 1), fds=events)[0] == INVALID
    for fd in events:
        os.close(fd)
    assert fds.settle() == 0


@pytest.mark.parametrize("command", [*Command, 99])
def test_descriptors_that_no_request_asks_for_are_closed(raw, fds, command):
    event = os.eventfd(0)
    raw.ask(command, bytes(64), fds=(event, event))
    os.close(event)
    assert fds.settle() == 0


def test_too_many_descriptors(raw, fds):
    event = os.eventfd(0)
    assert (
        raw.ask(Command.DEVICE_SET_IRQS, IRQ_SET.pack(20, TRIGGER | EVENTFD, MSIX, 0, 17), fds=(event,) * 17)[0]
        == INVALID
    )
    os.close(event)
    assert fds.settle() == 0
    alive(raw)


def test_a_stream_that_has_lost_its_frames_is_given_up(raw, dial):
    raw.sock.sendall(bytes(16 * 40))
    refusals = 0
    with pytest.raises(ConnectionError):
        while True:
            assert raw.receive()[3] == INVALID
            refusals += 1
    assert 16 <= refusals <= 17
    dial().hello()


def test_a_refused_request_without_reply_is_not_replied_to(raw):
    raw.send(Command.REGION_WRITE, REGION_ACCESS.pack(0, 77, 4) + b"abcd", flags=NO_REPLY)
    raw.send(99, flags=NO_REPLY)
    alive(raw)


# --- test_device_get_info, get_irq_info, get_region_info, get_region_io_fds -------------------------------------------


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


# --- test_setup_region: accesses -------------------------------------------------------------------------------------


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


# --- test_device_set_irqs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(bytes(8), id="short_write"),
        pytest.param(IRQ_SET.pack(3, TRIGGER | NONE, REQ, 0, 0), id="bad_argsz"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | NONE, 5, 0, 0), id="bad_index"),
        pytest.param(IRQ_SET.pack(20, MASK | UNMASK, MSIX, 0, 0), id="bad_flags_MASK_and_UNMASK"),
        pytest.param(IRQ_SET.pack(20, MASK | NONE | BOOL, MSIX, 0, 0), id="bad_flags_DATA_NONE_and_DATA_BOOL"),
        pytest.param(IRQ_SET.pack(20, MASK | UNMASK | NONE, MSIX, 0, 1), id="two_actions"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | NONE | 0x40, MSIX, 0, 1), id="unknown_flag"),
        pytest.param(IRQ_SET.pack(20, MASK | NONE, MSIX, 2047, 2), id="bad_start_count_range"),
        pytest.param(IRQ_SET.pack(20, MASK | NONE, MSIX, 2049, 1), id="bad_start_count_range2"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | EVENTFD, MSIX, 284, 0xFFFFFFFF), id="bad_start_count_range3"),
        pytest.param(IRQ_SET.pack(20, MASK | NONE, ERR, 0, 1), id="bad_action_for_err_irq"),
        pytest.param(IRQ_SET.pack(20, MASK | NONE, REQ, 0, 1), id="bad_action_for_req_irq"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | NONE, ERR, 0, 2), id="bad_start_count_range_for_err_irq"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | NONE, REQ, 0, 2), id="bad_start_count_range_for_req_irq"),
        pytest.param(IRQ_SET.pack(20, MASK | NONE, MSIX, 1, 0), id="bad_start_for_count_0"),
        pytest.param(IRQ_SET.pack(20, MASK | NONE, MSIX, 0, 0), id="bad_action_for_count_0"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | BOOL, MSIX, 0, 0), id="bad_action_and_data_type_for_count_0"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | EVENTFD, MSIX, 0, 0), id="eventfd_for_count_0"),
        pytest.param(IRQ_SET.pack(21, TRIGGER | BOOL, MSIX, 0, 2) + b"\0", id="trigger_bool_too_small"),
        pytest.param(IRQ_SET.pack(23, TRIGGER | BOOL, MSIX, 0, 2) + b"\0\0\0", id="trigger_bool_too_large"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | NONE, IrqIndex.MSI, 0, 1), id="a_kind_without_vectors"),
        pytest.param(IRQ_SET.pack(20, MASK | EVENTFD, IrqIndex.INTX, 0, 1), id="an_eventfd_that_masks"),
    ],
)
def test_device_set_irqs_refuses(raw, payload):
    assert raw.ask(Command.DEVICE_SET_IRQS, payload)[0] == INVALID
    alive(raw)


@pytest.mark.parametrize(
    ("payload", "count"),
    [
        pytest.param(IRQ_SET.pack(20, TRIGGER | BOOL, MSIX, 0, 1) + b"\0", 1, id="bad_fds_for_DATA_BOOL"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | NONE, MSIX, 0, 1), 1, id="bad_fds_for_DATA_NONE"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | EVENTFD, MSIX, 0, 2), 1, id="bad_fds_for_count_2"),
        pytest.param(IRQ_SET.pack(20, TRIGGER | EVENTFD, MSIX, 0, 1), 2, id="more_than_asked_for"),
    ],
)
def test_device_set_irqs_bad_fds(raw, fds, payload, count):
    event = os.eventfd(0)
    assert raw.ask(Command.DEVICE_SET_IRQS, payload, fds=(event,) * count)[0] == INVALID
    os.close(event)
    assert fds.settle() == 0


def test_device_set_irqs_wants_eventfds(raw, fds):
    reader, writer = os.pipe()
    assert (
        raw.ask(Command.DEVICE_SET_IRQS, IRQ_SET.pack(20, TRIGGER | EVENTFD, MSIX, 0, 1), fds=(writer,))[0] == INVALID
    )
    os.close(reader)
    os.close(writer)
    assert fds.settle() == 0


# --- test_dma_map, test_dma_unmap ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        pytest.param(bytes(8), INVALID, id="short_write"),
        pytest.param(DMA_MAP.pack(31, 3, 0, 0, 4096), INVALID, id="bad_argsz"),
        pytest.param(DMA_MAP.pack(32, 3, 0, 0x10000, (8 << 40) + 4096), errno.ENOSPC, id="region_too_big"),
        pytest.param(DMA_MAP.pack(32, 0x13, 0, 0, 4096), INVALID, id="bad_flags"),
        pytest.param(DMA_MAP.pack(32, 7, 0, 0, 4096), INVALID, id="mmap_without_descriptor"),
        pytest.param(DMA_MAP.pack(32, 3, 0, 0, 0), INVALID, id="no_size"),
        pytest.param(DMA_MAP.pack(32, 3, 0, (1 << 64) - 4096, 8192), INVALID, id="past_the_end"),
    ],
)
def test_dma_map_refuses(raw, payload, error):
    assert raw.ask(Command.DMA_MAP, payload)[0] == error
    alive(raw)


def test_dma_map_over_an_existing_region(raw):
    assert raw.ask(Command.DMA_MAP, DMA_MAP.pack(32, 3, 0, 0x1000, 0x2000)) == (0, b"")
    assert raw.ask(Command.DMA_MAP, DMA_MAP.pack(32, 3, 0, 0x2000, 0x2000))[0] == errno.EEXIST


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        pytest.param(bytes(8), INVALID, id="short_write"),
        pytest.param(DMA_UNMAP.pack(8, 0, 4096, 4096), INVALID, id="bad_argsz"),
        pytest.param(DMA_UNMAP.pack(MAX_TRANSFER + 8, 0, 4096, 4096), INVALID, id="bad_argsz2"),
        pytest.param(
            DMA_UNMAP.pack(40, 1, 4096, 4096) + struct.pack("QQ", 4096, 2**64 - 32), INVALID, id="dirty_bad_argsz"
        ),
        pytest.param(DMA_UNMAP.pack(48, 1, 0, 4096) + struct.pack("QQQ", 4096, 8, 0), INVALID, id="dirty_not_tracking"),
        pytest.param(DMA_UNMAP.pack(24, 4, 4096, 4096), INVALID, id="invalid_flags"),
        pytest.param(DMA_UNMAP.pack(24, 0, 0x10000, 4096), errno.ENOENT, id="invalid_addr"),
        pytest.param(DMA_UNMAP.pack(24, 0, 0, 2048), errno.ENOENT, id="cuts_a_region"),
        pytest.param(DMA_UNMAP.pack(24, 2, 0x10000, 4096), INVALID, id="all_invalid_addr"),
        pytest.param(DMA_UNMAP.pack(24, 3, 0, 0), INVALID, id="all_invalid_flags"),
    ],
)
def test_dma_unmap_refuses(raw, payload, error):
    assert raw.ask(Command.DMA_MAP, DMA_MAP.pack(32, 3, 0, 0, 4096))[0] == 0
    assert raw.ask(Command.DMA_UNMAP, payload)[0] == error
    alive(raw)


def test_dma_unmap(raw):
    raw.ask(Command.DMA_MAP, DMA_MAP.pack(32, 3, 0, 0, 4096))
    request = DMA_UNMAP.pack(24, 0, 0, 4096)
    assert raw.ask(Command.DMA_UNMAP, request) == (0, request)
    assert raw.ask(Command.DMA_UNMAP, request)[0] == errno.ENOENT


def test_dma_unmap_all(raw):
    for page in range(64):
        assert raw.ask(Command.DMA_MAP, DMA_MAP.pack(32, 3, 0, page << 13, 4096))[0] == 0
    assert raw.ask(Command.DMA_UNMAP, DMA_UNMAP.pack(24, 2, 0, 0))[0] == 0
    assert raw.ask(Command.DMA_MAP, DMA_MAP.pack(32, 3, 0, 0, 1 << 20))[0] == 0


def test_a_window_beyond_the_end_of_its_file(raw, fds):
    fd = os.memfd_create("small")
    os.ftruncate(fd, 4096)
    assert raw.ask(Command.DMA_MAP, DMA_MAP.pack(32, 3, 0, 0, 8192), fds=(fd,))[0] == INVALID
    os.close(fd)
    assert fds.settle() == 0
