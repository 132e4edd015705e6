# SPDX-License-Identifier: Apache-2.0
"""Requests whose header, length or descriptors are wrong (test_request_errors of libvfio-user)."""

from __future__ import annotations

import os

import pytest

from tests.vfio_user.malformed.answers import INVALID, alive
from vfio_ims.ports.values import IrqIndex, IrqSet
from vfio_ims.vfio_user.messages import DEVICE_INFO, IRQ_SET, REGION_ACCESS
from vfio_ims.vfio_user.wire import MAX_MESSAGE, NO_REPLY, REPLY, Command

TRIGGER = IrqSet.ACTION_TRIGGER
BOOL, EVENTFD = IrqSet.DATA_BOOL, IrqSet.DATA_EVENTFD
MSIX = IrqIndex.MSIX


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
    assert not fds.left()


@pytest.mark.parametrize("command", [*Command, 99])
def test_descriptors_that_no_request_asks_for_are_closed(raw, fds, command):
    event = os.eventfd(0)
    raw.ask(command, bytes(64), fds=(event, event))
    os.close(event)
    assert not fds.left()


def test_too_many_descriptors(raw, fds):
    event = os.eventfd(0)
    assert (
        raw.ask(Command.DEVICE_SET_IRQS, IRQ_SET.pack(20, TRIGGER | EVENTFD, MSIX, 0, 17), fds=(event,) * 17)[0]
        == INVALID
    )
    os.close(event)
    assert not fds.left()
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
