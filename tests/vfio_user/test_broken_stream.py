# SPDX-License-Identifier: Apache-2.0
"""A stream that cannot be trusted, or ends: RemovedError for everybody, in time, and nothing left open."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.vfio_user.lying import Liar, region
from vfio_ims.errors import ClosedError, RemovedError, VfioImsError
from vfio_ims.vfio_user import SocketLink
from vfio_ims.vfio_user.messages import DMA_ACCESS, REGION_ACCESS
from vfio_ims.vfio_user.wire import HEADER, MAX_MESSAGE, REPLY, Command


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


@pytest.mark.parametrize("lied", [0.4], indirect=True)
def test_a_server_that_hangs_is_given_up(liar, lied):
    liar.answers = [lambda *_: None]
    start = time.monotonic()
    with pytest.raises(RemovedError, match=r"no answer to REGION_READ within 0\.4 s"):
        lied.read(0, 0, 4)
    assert 0.3 < time.monotonic() - start < 10
    with pytest.raises(RemovedError, match="no answer"):
        lied.read(0, 0, 4)
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("lied", [0.4], indirect=True)
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
    assert not fds.left()
