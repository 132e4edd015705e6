# SPDX-License-Identifier: Apache-2.0
"""Whatever a client sends: the server answers or hangs up, keeps nothing of it, and serves the next client."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import struct
import tempfile
from collections.abc import Iterator

import pytest

from tests.descriptors import Descriptors
from tests.fuzz.budget import Budget
from tests.fuzz.mutate import damaged, number
from tests.vfio_user.conftest import Device
from vfio_ims.vfio_user import Server, SocketLink
from vfio_ims.vfio_user.messages import DMA_MAP, DMA_UNMAP, IRQ_SET, REGION_ACCESS, REGION_INFO
from vfio_ims.vfio_user.wire import HEADER, Layout

HELLO = HEADER.pack(1, 1, 20, 0, 0) + struct.pack("HH", 0, 1)
SHAPES = {2: DMA_MAP, 3: DMA_UNMAP, 5: REGION_INFO, 8: IRQ_SET, 9: REGION_ACCESS, 10: REGION_ACCESS}


@pytest.fixture
def served() -> Iterator[Server]:
    device = Device()
    with tempfile.TemporaryDirectory() as folder, Server(device, f"{folder}/s") as server:
        yield server
    device.close()


def shaped(rng: random.Random, layout: Layout) -> bytes:
    return layout.pack(*(number(rng, 32 if kind == "I" else 64) for kind in layout.form))


def message(rng: random.Random) -> bytes:
    command = rng.randrange(20) if rng.random() < 0.4 else rng.choice(list(SHAPES))
    payload = rng.randbytes(rng.randrange(80))
    if command in SHAPES and rng.random() < 0.9:
        payload = shaped(rng, SHAPES[command]) + payload[: rng.choice((0, 0, 4, 24))]
    flags = rng.choice((0, 0, 0, 0, 0x10, 1, 0x21, 5))
    whole = HEADER.pack(rng.randrange(1 << 16), command, 16 + len(payload), flags, 0) + payload
    return damaged(rng, whole) if rng.random() < 0.05 else whole


def converse(rng: random.Random, path: str, events: list[int], budget: Budget) -> None:
    with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(ConnectionError):
        sock.connect(path)
        sock.settimeout(20)
        sock.sendall(HELLO if rng.random() < 0.95 else damaged(rng, HELLO))
        for _ in range(rng.randrange(1, 40)):
            socket.send_fds(sock, [message(rng)], rng.sample(events, rng.choice((0, 0, 0, 1, 2, 3))))
            budget.figures["messages"] += 1
        sock.shutdown(socket.SHUT_WR)
        while sock.recv(1 << 20):
            pass


def test_anything_may_be_sent(served: Server) -> None:
    budget, before = Budget("vfio-user server", most=120), Descriptors()
    for rng in budget.rounds():
        file = os.memfd_create("file")
        os.ftruncate(file, 1 << 16)
        events = [file, os.eventfd(0), os.eventfd(0, os.EFD_NONBLOCK)]
        converse(rng, served.path, events, budget)
        for fd in events:
            os.close(fd)
        with SocketLink(served.path, timeout=20) as link:
            assert link.device_info().regions == 9
            assert link.read(0, 0, 4) == bytes(4)
        assert not before.left(within=20)
