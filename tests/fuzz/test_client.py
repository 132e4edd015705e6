# SPDX-License-Identifier: Apache-2.0
"""Whatever a server answers: our client takes it or raises one of the package's errors, in time, and keeps nothing."""

from __future__ import annotations

import contextlib
import os
import random
import socket
import tempfile
import threading
from pathlib import Path

from tests.descriptors import Descriptors
from tests.fuzz.budget import Budget
from tests.fuzz.mutate import damaged, number
from tests.vfio_user.conftest import Bus
from vfio_ims.errors import VfioImsError
from vfio_ims.vfio_user import SocketLink
from vfio_ims.vfio_user.messages import DEVICE_INFO, DMA_ACCESS, IRQ_INFO, REGION_INFO
from vfio_ims.vfio_user.version import Capabilities, encode_version
from vfio_ims.vfio_user.wire import HEADER, Command

VERSION = encode_version(0, 1, Capabilities(max_msg_fds=8, write_multiple=True))


def answer(rng: random.Random, command: int, payload: bytes) -> bytes:
    """A sensible payload, or one of its shape with any numbers."""
    strange = rng.random() < 0.06
    match command:
        case Command.VERSION:
            return damaged(rng, VERSION) if strange else VERSION
        case Command.DEVICE_GET_INFO:
            return DEVICE_INFO.pack(16, 3, number(rng, 32) if strange else 9, number(rng, 32) if strange else 5)
        case Command.DEVICE_GET_REGION_INFO:
            fields = [number(rng, 32) for _ in range(4)] if strange else [32, 3, payload[8], 0]
            return REGION_INFO.pack(*fields, number(rng, 64) if strange else 0x4000, 0) + rng.randbytes(24 * strange)
        case Command.DEVICE_GET_IRQ_INFO:
            return IRQ_INFO.pack(16, number(rng, 32), number(rng, 32) if strange else payload[8], 1)
        case Command.REGION_READ:
            return payload + rng.randbytes(number(rng, 6) if strange else payload[12])
    return payload


def serve(listener: socket.socket, seed: int, budget: Budget) -> None:
    rng = random.Random(seed)
    with contextlib.suppress(OSError):
        sock, _ = listener.accept()
        with sock:
            sock.settimeout(20)
            while len(head := sock.recv(16, socket.MSG_WAITALL)) == 16:
                ident, command, size, kind, _ = HEADER.unpack(head)
                payload = sock.recv(size - 16, socket.MSG_WAITALL) if size > 16 else b""
                if kind & 0xF:  # its answer to a request of ours
                    continue
                budget.figures["answers"] += 1
                body = answer(rng, command, payload)
                flags = 0x21 if rng.random() < 0.03 else 1
                data = HEADER.pack(ident, command, 16 + len(body), flags, 22) + body
                if command != Command.VERSION and rng.random() < 0.2:  # a request of its own first
                    asked = DMA_ACCESS.pack(number(rng, 64), number(rng, 12)) + rng.randbytes(16)
                    data = HEADER.pack(7, rng.choice((11, 12, 13)), 16 + len(asked), 0, 0) + asked + data
                if rng.random() < 0.03:
                    data = damaged(rng, data)
                with open(os.devnull, "rb") as file:
                    socket.send_fds(sock, [data], [file.fileno()] * rng.choice((0, 0, 0, 1, 2)))


def use(link: SocketLink) -> None:
    link.connect(Bus())
    link.device_info()
    for index in range(3):
        link.region_info(index)
        link.irq_info(index)
    link.write(0, 8, bytes(8))
    assert len(link.read(0, 0, 4)) == 4
    link.write_many(0, [(0, bytes(4))] * 3)
    link.set_vectors(2, 0, [True, True])
    link.map(0x1000, 0x1000, -1, 0, read=True, write=True)
    link.reset()


def test_any_answer_is_taken_or_refused() -> None:
    budget, before = Budget("vfio-user client", most=150), Descriptors()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "s")
        for rng in budget.rounds():
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind(str(path))
                listener.listen(1)
                thread = threading.Thread(target=serve, args=(listener, rng.getrandbits(60), budget))
                thread.start()
                try:
                    with SocketLink(path, timeout=0.3) as link:
                        use(link)
                    budget.figures["conversations to the end"] += 1
                except VfioImsError:
                    budget.figures["refused"] += 1
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()
            path.unlink()
            assert not before.left()
    assert budget.figures["conversations to the end"]
