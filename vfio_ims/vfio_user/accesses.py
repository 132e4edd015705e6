# SPDX-License-Identifier: Apache-2.0
"""Reads and writes of a region over the socket: one round trip each, or many writes in one message."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from typing import NoReturn

from vfio_ims.counted import counted
from vfio_ims.interruption import uninterrupted
from vfio_ims.vfio_user.messages import REGION_ACCESS, REGION_MESSAGE, WRITE_COUNT, WRITE_ONE
from vfio_ims.vfio_user.requester import Requester
from vfio_ims.vfio_user.version import Capabilities
from vfio_ims.vfio_user.wire import COMMAND, MAX_TRANSFER, NO_REPLY, Command, WireError, malformed

__all__ = ["Accesses"]

_Writes = Sequence[tuple[int, bytes]]
_WRITES_A_MESSAGE = 2048
_SMALL, _AT_ONCE = 256, 128  # bytes, requests: they and their replies fit a socket's buffers
_BYTES_A_POST = 64 << 10
_HEAD = REGION_ACCESS.size


class Accesses:
    """Accesses to what ``requester`` talks to, whose server can take what ``server`` says."""

    def __init__(self, requester: Requester, server: Capabilities) -> None:
        self._requester, self._multi = requester, server.write_multiple
        self._most = min(server.max_data_xfer_size, MAX_TRANSFER)

    def read(self, region: int, offset: int, size: int) -> bytes:
        if size > self._most:
            half = size // 2
            return self.read(region, offset, half) + self.read(region, offset + half, size - half)
        request = REGION_ACCESS.pack(offset, region, size)
        payload = self._requester.request(Command.REGION_READ, request).payload
        if len(payload) != _HEAD + size or not payload.startswith(request):
            self._unlike(Command.REGION_READ, request, payload, size)
        return payload[_HEAD:]

    def read_many(self, region: int, offsets: Sequence[int], size: int) -> bytes:
        """Reads of registers: many are sent before the first reply is waited for."""
        if size > 8:
            return b"".join([self.read(region, offset, size) for offset in offsets])
        found = []
        with uninterrupted():
            for first in range(0, len(offsets), _AT_ONCE):
                requests = [REGION_ACCESS.pack(offset, region, size) for offset in offsets[first : first + _AT_ONCE]]
                calls = self._requester.channel.begin_many(Command.REGION_READ, requests)
                replies = self._requester.wait_many(calls)
                for payload, request in zip(replies, requests, strict=True):
                    if len(payload) != _HEAD + size or not payload.startswith(request):
                        self._unlike(Command.REGION_READ, request, payload, size)
                    found.append(payload[_HEAD:])
        return b"".join(found)

    def write(self, region: int, offset: int, data: bytes) -> None:
        if len(data) > self._most:
            for at in range(0, len(data), self._most):
                self.write(region, offset + at, data[at : at + self._most])
            return
        request = REGION_ACCESS.pack(offset, region, len(data))
        payload = self._requester.request(Command.REGION_WRITE, request + data).payload
        if not payload.startswith(request):
            self._unlike(Command.REGION_WRITE, request, payload, 0)

    def _unlike(self, command: Command, request: bytes, payload: bytes, data: int) -> NoReturn:
        """A reply that is not to the request: say which of its fields is wrong."""
        try:
            said = REGION_ACCESS.unpack(payload)
            for field, value, asked in zip(REGION_ACCESS.names, said, REGION_ACCESS.unpack(request), strict=True):
                if value != asked:
                    malformed(field, f"{asked}, as asked", value)
            malformed("data", f"{counted(data, 'byte')}", len(payload) - _HEAD)
        except WireError as error:
            raise self._requester.wrong_answer(command, error) from error

    def write_many(self, region: int, writes: _Writes) -> None:
        """In order, with as few messages and as little waiting as the server allows."""
        with uninterrupted():
            small = [0 < len(data) <= 8 for _, data in writes]
            alike = [writes] if len(set(small)) == 1 else _runs(writes, small)
            for part in alike:
                if not 0 < len(part[0][1]) <= 8:
                    self._write_blocks(region, part)
                elif self._multi:
                    self._write_multi(region, part)
                else:
                    self._write_posted(region, part)

    def _write_blocks(self, region: int, writes: _Writes) -> None:
        """One request each; those of a few bytes are sent before the first reply is waited for."""
        if max([len(data) for _, data in writes]) > _SMALL:
            for offset, data in writes:
                self.write(region, offset, data)
            return
        for first in range(0, len(writes), _AT_ONCE):
            part = writes[first : first + _AT_ONCE]
            requests = [REGION_ACCESS.pack(offset, region, len(data)) for offset, data in part]
            bodies = [request + data for request, (_, data) in zip(requests, part, strict=True)]
            calls = self._requester.channel.begin_many(Command.REGION_WRITE, bodies)
            replies = self._requester.wait_many(calls)
            for payload, request in zip(replies, requests, strict=True):
                if not payload.startswith(request):
                    self._unlike(Command.REGION_WRITE, request, payload, 0)

    def _write_multi(self, region: int, writes: _Writes) -> None:
        """REGION_WRITE_MULTI, all sent before the first reply is waited for."""
        calls = []
        for at in range(0, len(writes), _WRITES_A_MESSAGE):
            part = writes[at : at + _WRITES_A_MESSAGE]
            pack = WRITE_ONE.pack
            body = WRITE_COUNT.pack(len(part)) + b"".join(
                [pack(offset, region, len(data), data) for offset, data in part]
            )
            calls.append((self._requester.channel.begin(Command.REGION_WRITE_MULTI, body), len(part)))
        for call, count in calls:
            reply = self._requester.wait(call)
            (done,) = self._requester.decode(reply, WRITE_COUNT.unpack)
            if done != count:
                raise self._requester.wrong_answer(reply.command, WireError("wr_cnt", f"{count}, as asked", done))

    def _write_posted(self, region: int, writes: _Writes) -> None:
        """Posted writes, the last one answered. What else the server refuses is not reported: as on hardware."""
        batch = bytearray()
        for offset, data in writes[:-1]:
            size = REGION_MESSAGE.size + len(data)
            batch += REGION_MESSAGE.pack(
                0, Command.REGION_WRITE, size, COMMAND | NO_REPLY, 0, offset, region, len(data)
            )
            batch += data
            if len(batch) >= _BYTES_A_POST:
                self._requester.channel.post(batch)
                batch = bytearray()
        if batch:
            self._requester.channel.post(batch)
        self.write(region, *writes[-1])


def _runs(writes: _Writes, kinds: Sequence[bool]) -> list[_Writes]:
    """``writes`` in their order, those that follow one another and are of one kind together."""
    pairs = zip(kinds, writes, strict=True)
    return [[write for _, write in run] for _, run in groupby(pairs, itemgetter(0))]
