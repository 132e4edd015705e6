# SPDX-License-Identifier: Apache-2.0
"""What a server may ask of its client, and what it may not."""

from __future__ import annotations

import os

import pytest

from vfio_ims.vfio_user import SocketLink
from vfio_ims.vfio_user.messages import DMA_ACCESS, REGION_ACCESS
from vfio_ims.vfio_user.wire import ERROR, REPLY, Command


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
