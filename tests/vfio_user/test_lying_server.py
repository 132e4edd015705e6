# SPDX-License-Identifier: Apache-2.0
"""A server that lies: one wrong word is an error that names what is wrong, and the link lives on."""

from __future__ import annotations

import os
import struct
import time

import pytest

from tests.vfio_user.lying import VERSION, mappable, region, sparse
from vfio_ims.errors import DeviceBusy, DeviceError, RemovedError
from vfio_ims.ports.values import IrqIndex
from vfio_ims.vfio_user import SocketLink
from vfio_ims.vfio_user.messages import DEVICE_INFO, IRQ_INFO, REGION_ACCESS
from vfio_ims.vfio_user.wire import COMMAND, ERROR, HEADER, REPLY


@pytest.mark.parametrize(
    ("answer", "error", "text"),
    [
        pytest.param(b"", DeviceError, "message size", id="no payload"),
        pytest.param(struct.pack("HH", 1, 0), DeviceError, "version", id="other major"),
        pytest.param(struct.pack("HH", 0, 9), DeviceError, "version", id="later minor"),
        pytest.param(VERSION[:-1], DeviceError, "closed by a NUL", id="no NUL"),
        pytest.param(VERSION[:-3] + b"\0", DeviceError, "JSON", id="cut JSON"),
        pytest.param((VERSION, (), {"command": 4}), DeviceError, "the reply to VERSION", id="other command"),
        pytest.param((VERSION, (), {"id": 77}), DeviceError, "the reply to VERSION", id="other id"),
        pytest.param((VERSION, (), {"flags": COMMAND}), DeviceError, "the reply to VERSION", id="no reply"),
        pytest.param((VERSION, (), {"size": 3}), DeviceError, "message size", id="bad frame"),
        pytest.param((b"", (), {"flags": REPLY | ERROR}), DeviceError, "refuses vfio-user 0.1", id="refused"),
        pytest.param(lambda peer, *_: peer.sock.shutdown(2), RemovedError, "closed the socket", id="breaks off"),
        pytest.param(lambda *_: None, DeviceBusy, "no answer to VERSION within 0.2 s", id="hangs"),
    ],
)
def test_a_bad_version_is_no_link(liar, path, fds, answer, error, text):
    liar.answers = [answer]
    start = time.monotonic()
    with pytest.raises(error, match=text):
        SocketLink(path, timeout=0.2 if error is DeviceBusy else 20)
    assert time.monotonic() - start < 10
    liar.thread.join(10)
    assert not fds.left()


def test_descriptors_with_the_version_are_closed(liar, path, fds):
    event = os.eventfd(0)
    liar.answers = [(VERSION, (event, event), {})]
    SocketLink(path).close()
    liar.thread.join(2)
    os.close(event)
    assert not fds.left()


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        (b"", "message size"),
        (DEVICE_INFO.pack(16, 3, 9, 5)[:15], "message size"),
        (DEVICE_INFO.pack(15, 3, 9, 5), "argsz"),
        (DEVICE_INFO.pack(16, 1, 9, 5), "flags"),
        (DEVICE_INFO.pack(16, 3, 7, 5), "num_regions"),
        (DEVICE_INFO.pack(16, 3, 0xFFFFFFFF, 5), "num_regions"),
        (DEVICE_INFO.pack(16, 3, 9, 51), "num_irqs"),
    ],
)
def test_device_info_is_not_believed(liar, lied, payload, field):
    liar.answers = [payload, DEVICE_INFO.pack(16, 3, 9, 5)]
    with pytest.raises(DeviceError, match=f"DEVICE_GET_INFO: the server's answer is wrong: {field} must be"):
        lied.device_info()
    assert lied.device_info().regions == 9


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        (bytes(8), "message size"),
        (IRQ_INFO.pack(8, 1, 2, 8), "argsz"),
        (IRQ_INFO.pack(16, 1, 1, 8), "index"),
        (IRQ_INFO.pack(16, 1, 2, 2049), "count"),
    ],
)
def test_irq_info_is_not_believed(liar, lied, payload, field):
    liar.answers = [payload]
    with pytest.raises(DeviceError, match=f"{field} must be"):
        lied.irq_info(IrqIndex.MSIX)


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        pytest.param(bytes(31), "message size", id="short"),
        pytest.param(region(argsz=31), "argsz", id="argsz small"),
        pytest.param(region(argsz=1 << 30), "argsz", id="argsz huge"),
        pytest.param(region(argsz=4096), "argsz", id="argsz more than sent"),
        pytest.param(region(index=1), "index", id="other index"),
        pytest.param(region(size=1 << 63), "size", id="size"),
        pytest.param(region(offset=1 << 63), "offset", id="offset"),
        pytest.param(region(flags=15, cap_offset=8), "cap_offset", id="cap_offset low"),
        pytest.param(region(flags=15, cap_offset=25), "cap_offset", id="cap_offset inside"),
        pytest.param(region(flags=15, cap_offset=0xFFFFFFF0), "cap_offset", id="cap_offset beyond"),
        pytest.param(mappable(sparse(1, (0, 0x1000), following=32)), "next capability", id="chain in a circle"),
        pytest.param(mappable(sparse(1, (0, 0x1000), following=0xFFFF)), "next capability", id="chain beyond"),
        pytest.param(mappable(sparse(2, (0, 0x1000))), "nr_areas", id="areas that are not there"),
        pytest.param(mappable(sparse(0xFFFFFFFF)), "nr_areas", id="endless areas"),
        pytest.param(mappable(sparse(1, (0x10000, 0x1000))), "area 0", id="area outside"),
        pytest.param(mappable(sparse(1, ((1 << 64) - 0x1000, 0x2000))), "area 0", id="area that wraps"),
        pytest.param(mappable(sparse(2, (0, 0x2000), (0x1000, 0x1000))), "area 1", id="areas overlap"),
        pytest.param(mappable(sparse(1, (0x800, 0x1000))), "area 0", id="half pages"),
        pytest.param(mappable(sparse(1, (0, 0x1000))), "descriptors", id="no descriptor"),
        pytest.param(region(flags=7), "descriptors", id="mappable without descriptor"),
    ],
)
def test_region_info_is_not_believed(liar, lied, payload, field):
    liar.answers = [payload, payload, REGION_ACCESS.pack(0, 0, 1) + b"x"]
    with pytest.raises(DeviceError, match=f"{field} must be"):
        lied.region_info(0)
    liar.answers = [REGION_ACCESS.pack(0, 0, 1) + b"x"]
    assert lied.read(0, 0, 1) == b"x"
    assert lied.mapping_fd(0) is None


def test_a_file_that_is_too_short_is_refused_and_closed(liar, lied):
    with open(os.memfd_create("short"), "wb", buffering=0) as file:
        file.truncate(0x1000)
        liar.answers = [(mappable(sparse(1, (0x1000, 0x1000))), (file.fileno(),), {})]
        with pytest.raises(DeviceError, match="descriptor must be a file of 0x2000 bytes at least, not '0x1000 bytes'"):
            lied.region_info(0)


def test_an_eventfd_is_no_file_to_map(liar, lied):
    event = os.eventfd(0)
    liar.answers = [(mappable(sparse(1, (0, 0x1000))), (event,), {})]
    with pytest.raises(DeviceError, match="descriptor must be a file"):
        lied.region_info(0)
    os.close(event)


def test_descriptors_where_none_belong_are_closed(liar, lied):
    event = os.eventfd(0)
    liar.answers = [(region(), (event,), {}), (DEVICE_INFO.pack(16, 3, 9, 5), (event, event), {})]
    assert lied.region_info(0).areas == ()
    assert lied.device_info()
    os.close(event)


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        (b"", "message size"),
        (REGION_ACCESS.pack(0, 0, 4), "data"),
        (REGION_ACCESS.pack(0, 0, 4) + b"abc", "data"),
        (REGION_ACCESS.pack(0, 0, 4) + b"abcde", "data"),
        (REGION_ACCESS.pack(0, 0, 3) + b"abc", "count"),
        (REGION_ACCESS.pack(8, 0, 4) + b"abcd", "offset"),
        (REGION_ACCESS.pack(0, 1, 4) + b"abcd", "region"),
    ],
)
def test_a_read_is_not_believed(liar, lied, payload, field):
    liar.answers = [payload, REGION_ACCESS.pack(0, 0, 4) + b"fine"]
    with pytest.raises(DeviceError, match=f"REGION_READ: the server's answer is wrong: {field} must be"):
        lied.read(0, 0, 4)
    assert lied.read(0, 0, 4) == b"fine"


def test_writes_are_not_believed(liar, lied):
    liar.answers = [REGION_ACCESS.pack(0, 0, 3), struct.pack("Q", 1)]
    with pytest.raises(DeviceError, match="count must be 4, as asked, not 3"):
        lied.write(0, 0, b"abcd")
    with pytest.raises(DeviceError, match="wr_cnt must be 2, as asked, not 1"):
        lied.write_many(0, [(0, b"abcd"), (4, b"abcd")])


@pytest.mark.parametrize(("number", "seen"), [(5, 5), (0, 22), (0xFFFFFFFF, 22), (1 << 31, 22)])
def test_an_errno_that_is_none_reads_as_einval(liar, lied, number, seen):
    def answer(peer, ident, command, payload):
        peer.sock.send(HEADER.pack(ident, command, 16, REPLY | ERROR, number))

    liar.answers = [answer]
    with pytest.raises(DeviceError, match="REGION_READ: the server refused") as caught:
        lied.read(0, 0, 4)
    assert caught.value.errno == seen
