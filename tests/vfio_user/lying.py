# SPDX-License-Identifier: Apache-2.0
"""A server that lies: what it says is up to the test, and the pieces of what it may say."""

from __future__ import annotations

import os
import socket
import struct
import threading

from vfio_ims.vfio_user.messages import REGION_INFO
from vfio_ims.vfio_user.version import Capabilities, encode_version
from vfio_ims.vfio_user.wire import REPLY

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


def region(**more: int) -> bytes:
    fields = {"argsz": 32, "flags": 3, "index": 0, "cap_offset": 0, "size": 0x10000, "offset": 0} | more
    return REGION_INFO.pack(*fields.values())


def sparse(count: int, *areas: tuple[int, int], following: int = 0, version: int = 1) -> bytes:
    return struct.pack("HHIII", 1, version, following, count, 0) + b"".join(struct.pack("QQ", *area) for area in areas)


def mappable(body: bytes, **more: int) -> bytes:
    return region(argsz=32 + len(body), flags=15, cap_offset=32, **more) + body
