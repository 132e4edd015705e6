# SPDX-License-Identifier: Apache-2.0
"""Frames and descriptors over a stream: in pieces, glued together, too many, and the peer gone."""

from __future__ import annotations

import array
import os
import socket
import threading

import pytest

from vfio_ims.errors import RemovedError
from vfio_ims.vfio_user.transport import MAX_FDS, Connection, close_all
from vfio_ims.vfio_user.wire import HEADER, MAX_MESSAGE


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    connection = Connection(ours, "test")
    yield connection, theirs
    connection.close()
    theirs.close()


def message(number: int, payload: bytes = b"", size: int | None = None) -> bytes:
    return HEADER.pack(number, 9, 16 + len(payload) if size is None else size, 0, 0) + payload


def send(sock: socket.socket, data: bytes, fds: list[int]) -> None:
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else [])


def test_a_message_in_single_bytes(pair):
    connection, theirs = pair
    for byte in message(7, b"payload"):
        assert connection.pop() is None
        theirs.send(bytes([byte]))
        assert connection.fill()
    got = connection.pop()
    assert (got.id, got.command, got.payload, got.fds, got.fault) == (7, 9, b"payload", (), "")
    assert connection.pop() is None
    assert not connection.fill(wait=False)


def test_many_messages_glued_together_and_cut_anywhere(pair):
    connection, theirs = pair
    stream = b"".join(message(n, bytes([n % 256]) * (n % 300)) for n in range(2000))
    sender = threading.Thread(target=theirs.sendall, args=(stream,))
    sender.start()
    seen = []
    while len(seen) < 2000:
        while (got := connection.pop()) is not None:
            seen.append((got.id, got.payload))
        if len(seen) < 2000:
            connection.fill()
    sender.join()
    assert seen == [(n, bytes([n % 256]) * (n % 300)) for n in range(2000)]


def test_the_longest_message(pair):
    connection, theirs = pair
    payload = os.urandom(MAX_MESSAGE - 16)
    sender = threading.Thread(target=theirs.sendall, args=(message(1, payload) + message(2),))
    sender.start()
    while (got := connection.pop()) is None:
        connection.fill()
    sender.join()
    assert got.payload == payload
    while (got := connection.pop()) is None:
        connection.fill()
    assert got.id == 2


def test_descriptors_come_with_their_own_message(pair, fds):
    connection, theirs = pair
    events = [os.eventfd(n) for n in range(4)]
    send(theirs, message(1), [])
    send(theirs, message(2), events[:1])
    send(theirs, message(3) + message(4)[:5], [])
    send(theirs, message(4)[5:], events[1:3])
    send(theirs, message(5), [])
    send(theirs, message(6, b"x" * 40000), events[3:])
    got = {}
    while len(got) < 6:
        while (one := connection.pop()) is not None:
            got[one.id] = [os.eventfd_read(fd) if os.get_blocking(fd) and n else 0 for n, fd in enumerate(one.fds)], one
        if len(got) < 6:
            connection.fill()
    assert [len(got[n][1].fds) for n in range(1, 7)] == [0, 1, 0, 2, 0, 1]
    assert os.eventfd_read(got[6][1].fds[0]) == 3
    for _, one in got.values():
        close_all(one.fds)
    close_all(events)
    assert not fds.left()


def test_received_descriptors_are_not_inherited(pair):
    connection, theirs = pair
    event = os.eventfd(0)
    send(theirs, message(1), [event])
    connection.fill()
    (fd,) = connection.pop().fds
    assert not os.get_inheritable(fd)
    close_all([fd, event])


def test_too_many_descriptors_are_a_fault_of_that_message_alone(pair, fds):
    connection, theirs = pair
    event = os.eventfd(0)
    send(theirs, message(1), [])
    send(theirs, message(2), [event] * (MAX_FDS + 1))
    send(theirs, message(3), [event])
    got = []
    while len(got) < 3:
        while (one := connection.pop()) is not None:
            got.append(one)
        if len(got) < 3:
            connection.fill()
    assert [bool(one.fault) for one in got] == [False, True, False]
    assert [len(one.fds) for one in got] == [0, 0, 1]
    close_all(got[2].fds)
    os.close(event)
    assert not fds.left()


def test_a_message_sent_byte_by_byte_with_descriptors_each_is_bounded(pair, fds):
    connection, theirs = pair
    event = os.eventfd(0)
    for byte in message(1, b"x" * 100):
        send(theirs, bytes([byte]), [event] * 4)
        connection.fill()
    assert fds.opened() <= 1 + 2 * MAX_FDS + 4
    got = connection.pop()
    assert got.fault
    close_all(got.fds)
    os.close(event)
    assert not fds.left()


@pytest.mark.parametrize("size", [0, 15, MAX_MESSAGE + 1, 0xFFFFFFFF])
def test_a_size_that_cannot_be_is_a_fault(pair, size):
    connection, theirs = pair
    theirs.send(message(1, size=size) + message(2))
    connection.fill()
    assert "message size" in connection.pop().fault
    assert connection.pop().id == 2


def test_the_peer_gone(pair):
    connection, theirs = pair
    theirs.send(message(1)[:10])
    theirs.close()
    assert connection.fill()
    with pytest.raises(RemovedError, match="closed the socket"):
        connection.fill()
    with pytest.raises(RemovedError, match="closed the socket"):
        for _ in range(3):
            connection.send(message(2))


def test_sending_never_waits_and_loses_nothing(pair, fds):
    connection, theirs = pair
    event = os.eventfd(5)
    big = os.urandom(1 << 20)
    assert not connection.send(message(1, big))
    assert not connection.send(message(2), [event])
    os.close(event)
    assert connection.queued > 0
    theirs_end = Connection(theirs.dup(), "theirs")
    got = []
    while len(got) < 2:
        connection.flush()
        theirs_end.fill(wait=False)
        while (one := theirs_end.pop()) is not None:
            got.append(one)
    assert got[0].payload == big
    assert os.eventfd_read(got[1].fds[0]) == 5
    close_all(got[1].fds)
    assert connection.queued == 0
    assert connection.flush()
    theirs_end.close()
    assert not fds.left()


def test_drain_gives_up_on_a_peer_that_does_not_read(pair):
    connection, _ = pair
    assert not connection.send(message(1, bytes(1 << 20)))
    assert not connection.drain(0.05)


def test_closing_closes_what_was_not_taken(pair, fds):
    connection, theirs = pair
    event = os.eventfd(0)
    send(theirs, message(1), [event])
    send(theirs, message(2)[:8], [event, event])
    connection.fill()
    connection.fill()
    connection.send(bytes(1 << 20), [])
    connection.send(message(3), [event])
    connection.close()
    theirs.close()
    os.close(event)
    assert not fds.left()
