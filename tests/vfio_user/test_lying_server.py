# SPDX-License-Identifier: Apache-2.0
"""A server that lies, breaks off or hangs: an error that names what is wrong, in time, and nothing left open."""

from __future__ import annotations

import os
import socket
import struct
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vfio_ims.errors import ClosedError, DeviceBusy, DeviceError, RemovedError, VfioImsError
from vfio_ims.ports.values import IrqIndex
from vfio_ims.vfio_user import SocketLink
from vfio_ims.vfio_user.messages import DEVICE_INFO, DMA_ACCESS, IRQ_INFO, REGION_ACCESS, REGION_INFO
from vfio_ims.vfio_user.version import Capabilities, encode_version
from vfio_ims.vfio_user.wire import COMMAND, ERROR, HEADER, MAX_MESSAGE, REPLY, Command

VERSION = encode_version(0, 1, Capabilities(max_msg_fds=8, write_multiple=True))


class Liar:
    """A server whose every answer the test gives: ``(payload, descriptors, header fields)``."""

    def __init__(self, path: str, raw: type) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(4)
        self.answers: list[object] = [VERSION]
        self.asked: list[tuple[int, bytes]] = []
        self.raw, self.peer = raw, None
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        try:
            sock, _ = self.listener.accept()
        except OSError:
            return
        with sock:
            self.peer = self.raw(sock)
            try:
                while True:
                    number, command, _, _, payload, fds = self.peer.receive()
                    for fd in fds:
                        os.close(fd)
                    self.asked.append((command, payload))
                    answer = self.answers.pop(0) if self.answers else b""
                    if callable(answer):
                        answer(self.peer, number, command, payload)
                    else:
                        body, given, header = answer if isinstance(answer, tuple) else (answer, (), {})
                        fields = {"id": number, "flags": REPLY} | header
                        self.peer.send(fields.pop("command", command), body, fds=given, **fields)
            except (OSError, ConnectionError):
                pass

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(6)


@pytest.fixture
def liar(path, kit):
    made = Liar(path, kit.raw)
    yield made
    made.close()


@pytest.fixture
def lied(liar, path, bus, fds):
    """A link to the liar; afterwards nothing of it is open."""
    with SocketLink(path, timeout=0.4) as made:
        made.connect(bus)
        yield made
    liar.close_peer = liar.thread.join(2)
    assert fds.settle() == 0


def region(**more: int) -> bytes:
    fields = {"argsz": 32, "flags": 3, "index": 0, "cap_offset": 0, "size": 0x10000, "offset": 0} | more
    return REGION_INFO.pack(*fields.values())


def sparse(count: int, *areas: tuple[int, int], following: int = 0, version: int = 1) -> bytes:
    return struct.pack("HHIII", 1, version, following, count, 0) + b"".join(struct.pack("QQ", *area) for area in areas)


def mappable(body: bytes, **more: int) -> bytes:
    return region(argsz=32 + len(body), flags=15, cap_offset=32, **more) + body


# --- the first word ---------------------------------------------------------------------------------------------------


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
        SocketLink(path, timeout=0.2)
    assert time.monotonic() - start < 10
    liar.thread.join(10)
    assert fds.settle() == 0


def test_descriptors_with_the_version_are_closed(liar, path, fds):
    event = os.eventfd(0)
    liar.answers = [(VERSION, (event, event), {})]
    SocketLink(path).close()
    liar.thread.join(2)
    os.close(event)
    assert fds.settle() == 0


# --- one wrong reply: DeviceError, and the link lives on --------------------------------------------------------------


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


# --- a stream that cannot be trusted: RemovedError, for everybody ----------------------------------------------------


def garbage(peer, *_):
    peer.sock.send(b"\xa5" * 64)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        pytest.param(garbage, "message size must be", id="garbage"),
        pytest.param((b"", (), {"size": 15}), "message size must be", id="too small"),
        pytest.param((b"", (), {"size": MAX_MESSAGE + 1}), "message size must be", id="too large"),
        pytest.param((b"", (), {"flags": 7}), "message type must be", id="type"),
        pytest.param((b"", (), {"id": 60000}), "a reply must be to a request under way", id="unknown id"),
        pytest.param(
            (b"", (), {"command": 10}), "a reply must be to REGION_READ, not to REGION_WRITE", id="other command"
        ),
        pytest.param(lambda peer, *_: peer.sock.shutdown(2), "closed the socket", id="breaks off"),
    ],
)
def test_a_broken_stream_ends_the_link_at_once_and_for_good(liar, lied, answer, text):
    liar.answers = [answer]
    for _ in range(2):
        start = time.monotonic()
        with pytest.raises(RemovedError, match=text):
            lied.read(0, 0, 4)
        assert time.monotonic() - start < 10
    for call in (lied.reset, lied.device_info, lambda: lied.write_many(0, [(0, b"abcd")] * 3)):
        with pytest.raises(RemovedError, match=text):
            call()


def test_too_many_descriptors_end_the_link(liar, lied):
    event = os.eventfd(0)
    liar.answers = [(region(), (event,) * 20, {})]
    with pytest.raises(RemovedError, match="descriptors must be at most 16"):
        lied.region_info(0)
    os.close(event)


def test_a_server_that_hangs_is_given_up(liar, lied):
    liar.answers = [lambda *_: None]
    start = time.monotonic()
    with pytest.raises(RemovedError, match=r"no answer to REGION_READ within 0\.4 s"):
        lied.read(0, 0, 4)
    assert 0.3 < time.monotonic() - start < 10
    with pytest.raises(RemovedError, match="no answer"):
        lied.read(0, 0, 4)
    assert time.monotonic() - start < 20


def test_a_server_that_keeps_talking_without_answering_is_given_up_too(liar, lied):
    def chatter(peer, *_):
        for _ in range(400):  # until the link is closed
            peer.send(Command.DMA_READ, DMA_ACCESS.pack(0, 4))
            time.sleep(0.05)

    liar.answers = [chatter]
    start = time.monotonic()
    with pytest.raises(RemovedError, match="no answer"):
        lied.read(0, 0, 4)
    assert time.monotonic() - start < 15


def test_all_waiters_are_notified_when_the_server_goes(liar, lied):
    failures = []

    def work() -> None:
        try:
            lied.read(0, 0, 4)
        except RemovedError as error:
            failures.append((time.monotonic(), error))

    liar.answers = [lambda *_: None] * 3 + [lambda peer, *_: peer.sock.shutdown(2)]
    threads = [threading.Thread(target=work) for _ in range(4)]
    start = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) == 4
    assert max(when for when, _ in failures) - start < 0.5
    assert len({id(error) for _, error in failures}) == 4


def test_the_going_is_noticed_without_a_call(liar, lied):
    lied.region_info  # noqa: B018 - connected is enough
    liar.answers = [REGION_ACCESS.pack(0, 0, 1) + b"x"]
    lied.read(0, 0, 1)
    liar.peer.sock.shutdown(socket.SHUT_RDWR)
    time.sleep(0.1)
    with pytest.raises(RemovedError, match="closed the socket"):
        lied.read(0, 0, 1)


# --- what a server may ask, and what it may not -----------------------------------------------------------------------


def ask(command: int, payload: bytes, expected: int, seen: list[object]):
    """Before the answer to a read: a request of the server's own, and what came of it."""

    def answer(peer, number, asked, _):
        peer.send(command, payload)
        *_, flags, error, body, _ = peer.receive()
        seen.append((flags & ERROR, error, body))
        peer.send(asked, REGION_ACCESS.pack(0, 0, 1) + b"x", id=number, flags=REPLY)

    return answer


@pytest.mark.parametrize(
    ("command", "payload", "expected"),
    [
        pytest.param(Command.DMA_READ, DMA_ACCESS.pack(0x1004, 4), 0, id="read"),
        pytest.param(Command.DMA_WRITE, DMA_ACCESS.pack(0x1004, 4) + b"abcd", 0, id="write"),
        pytest.param(Command.DMA_READ, DMA_ACCESS.pack(0x9000, 4), 14, id="unmapped"),
        pytest.param(Command.DMA_WRITE, DMA_ACCESS.pack((1 << 64) - 2, 4) + b"abcd", 14, id="wraps"),
        pytest.param(Command.DMA_READ, DMA_ACCESS.pack(0x1000, 1 << 40), 22, id="too much"),
        pytest.param(Command.DMA_READ, DMA_ACCESS.pack(0x1000, 0), 22, id="nothing"),
        pytest.param(Command.DMA_WRITE, DMA_ACCESS.pack(0x1000, 4) + b"abc", 22, id="short data"),
        pytest.param(Command.DMA_WRITE, b"short", 22, id="short"),
        pytest.param(Command.REGION_READ, REGION_ACCESS.pack(0, 0, 4), 38, id="not a client's"),
        pytest.param(999, b"", 38, id="unknown"),
    ],
)
def test_requests_of_the_servers(liar, lied, bus, command, payload, expected):
    bus.memory[0x1000] = bytearray(range(32))
    seen: list[object] = []
    liar.answers = [ask(command, payload, expected, seen)]
    assert lied.read(0, 0, 1) == b"x"
    ((flag, error, body),) = seen
    assert (bool(flag), error) == (bool(expected), expected)
    if not expected:
        assert body == payload[:16] + (bytes(range(4, 8)) if command == Command.DMA_READ else b"")


def test_before_the_bus_is_there_nothing_is_reached(liar, path):
    seen: list[object] = []
    liar.answers += [ask(Command.DMA_READ, DMA_ACCESS.pack(0x1000, 4), 19, seen)]
    with SocketLink(path) as link:
        assert link.read(0, 0, 1) == b"x"
    assert seen == [(ERROR, 19, b"")]


def test_a_bus_that_fails_is_answered_for(liar, lied, bus, caplog):
    def fail(*_: object) -> bytes:
        raise RuntimeError("a bug of the platform's")

    bus.read = fail
    seen: list[object] = []
    liar.answers = [ask(Command.DMA_READ, DMA_ACCESS.pack(0x1000, 4), 5, seen)]
    assert lied.read(0, 0, 1) == b"x"
    assert seen == [(ERROR, 5, b"")]
    assert "the bus failed in DMA_READ" in caplog.text


def test_descriptors_with_a_request_are_closed(liar, lied, bus):
    event = os.eventfd(0)

    def answer(peer, number, asked, _):
        peer.send(Command.DMA_READ, DMA_ACCESS.pack(0x1000, 4), fds=(event,))
        assert peer.receive()[3] == 22
        peer.send(asked, REGION_ACCESS.pack(0, 0, 1) + b"x", id=number, flags=REPLY)

    bus.memory[0x1000] = bytearray(32)
    liar.answers = [answer]
    assert lied.read(0, 0, 1) == b"x"
    os.close(event)


def test_a_call_from_within_the_bus_is_served(liar, lied, bus):
    """The platform may look at the device while it takes a message."""
    inner = []

    def write(iova: int, data: bytes, pasid: int | None = None) -> None:
        inner.append(lied.read(0, 4, 1))

    def answer(peer, number, asked, _):
        peer.send(Command.DMA_WRITE, DMA_ACCESS.pack(0xFEE00000, 4) + b"abcd")
        nested, command, *_ = peer.receive()
        peer.send(command, REGION_ACCESS.pack(4, 0, 1) + b"y", id=nested, flags=REPLY)
        assert peer.receive()[1] == Command.DMA_WRITE
        peer.send(asked, REGION_ACCESS.pack(0, 0, 1) + b"x", id=number, flags=REPLY)

    bus.write = write
    liar.answers = [answer]
    assert lied.read(0, 0, 1) == b"x"
    assert inner == [b"y"]


# --- closing ----------------------------------------------------------------------------------------------------------


def test_closing_frees_those_who_wait(liar, path):
    liar.answers += [lambda *_: None]
    link = SocketLink(path, timeout=60)
    failures = []

    def work() -> None:
        try:
            link.read(0, 0, 4)
        except ClosedError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.1)
    start = time.monotonic()
    link.close()
    thread.join()
    assert time.monotonic() - start < 30
    assert "closed by" in failures[0].why


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(min_size=1, max_size=120), glued=st.booleans())
def test_garbage_of_any_kind_is_an_error_and_leaves_nothing(data, glued, kit, tmp_path_factory, fds):
    path = str(tmp_path_factory.mktemp("liar") / "s")
    liar = Liar(path, kit.raw)

    def answer(peer, number, command, payload):
        head = HEADER.pack(number, command, 16 + len(data), REPLY, 0) if glued else b""
        peer.sock.send(head + data)
        peer.sock.shutdown(socket.SHUT_RDWR)

    try:
        with SocketLink(path, timeout=1) as link:
            liar.answers = [answer]
            with pytest.raises(VfioImsError):
                link.region_info(0)
            with pytest.raises(RemovedError):
                link.region_info(0)
    finally:
        liar.close()
    Path(path).unlink()
    assert fds.settle() == 0
