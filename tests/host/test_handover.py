# SPDX-License-Identifier: Apache-2.0
"""A hand-over that cannot be says why, and leaks nothing. That it works is shown on a real kernel: tests/vm."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

import vfio_ims
from vfio_ims.errors import SetupError, UsageError
from vfio_ims.host.handover import hand_over, take_over

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    one, other = socket.socketpair()
    with one, other:
        yield one, other


def test_only_the_kernels_devices_have_descriptors_to_give(pair: Pair) -> None:
    with vfio_ims.open("mock:minimal") as device:
        with pytest.raises(UsageError, match="this is on mount mock"):
            hand_over(device, pair[0])
        assert not device.closed


def test_nothing_comes(pair: Pair) -> None:
    with pytest.raises(SetupError, match="nothing came"):
        take_over(pair[0], timeout=0.05)
    pair[1].close()
    with pytest.raises(SetupError, match="the other end closed the connection"):
        take_over(pair[0])


@pytest.mark.parametrize(
    "message",
    [
        b"hello\n",
        b"{}\n",
        b'{"device": "0000:00:01.0", "mount": "cdev", "claim": false}\n',
        b'{"device": "../x", "mount": "group", "group": 1, "claim": false}\n',
        b'{"device": "0000:00:01.0", "mount": "group", "group": 1, "claim": true}\n',
    ],
)
def test_what_makes_no_sense_is_refused_and_its_descriptors_are_closed(pair: Pair, message: bytes) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with open(os.devnull, "rb") as file:
        socket.send_fds(pair[1], [message], [file.fileno(), file.fileno(), file.fileno()])
        with pytest.raises(SetupError, match="take a device over"):
            take_over(pair[0])
    assert len(os.listdir("/proc/self/fd")) == before
    assert pair[1].recv(100)  # and the other end is notified
