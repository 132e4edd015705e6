# SPDX-License-Identifier: Apache-2.0
"""Requests of the client's whose replies are checked: what the server refuses or gets wrong is a DeviceError."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import TypeVar

from vfio_ims.errors import DeviceError
from vfio_ims.native.failure import failed
from vfio_ims.vfio_user.channel import Call, Channel
from vfio_ims.vfio_user.transport import Message, close_all
from vfio_ims.vfio_user.wire import ERROR, Command, WireError, explain_errno, name_of

__all__ = ["Requester"]

T = TypeVar("T")


class Requester:
    """Sends requests over ``channel`` for the device ``name``."""

    def __init__(self, channel: Channel, name: str) -> None:
        self.channel, self.name = channel, name

    def request(self, command: Command, payload: bytes, fds: Sequence[int] = (), *, takes_fds: bool = False) -> Message:
        """Send a request and wait for its reply.

        Raises DeviceError where the server refuses, RemovedError where it is gone, SetupError where this process may
        open no more descriptors.
        """
        return self._granted(self.channel.call(command, payload, fds, takes_fds=takes_fds))

    def wait(self, call: Call) -> Message:
        return self._granted(self.channel.wait(call))

    def wait_many(self, calls: Sequence[Call]) -> list[bytes]:
        """As ``wait`` for each of ``calls``; what their replies carry."""
        messages = self.channel.wait_many(calls)
        for message in messages:
            if message.flags & ERROR or message.fault:
                self._granted(message)  # raises it
        return [message.payload for message in messages]

    def _granted(self, message: Message) -> Message:
        if message.flags & ERROR:
            close_all(message.fds)
            number, _ = explain_errno(message.error)
            raise DeviceError(name_of(message.command), device=self.name, why="the server refused", errno=number)
        if message.fault:
            close_all(message.fds)
            raise failed(errno.EMFILE, name_of(message.command), self.name, message.fault)
        return message

    def decode(self, message: Message, decoder: Callable[[bytes], T]) -> T:
        """What the payload says; DeviceError, naming the field, where that cannot be."""
        try:
            return decoder(message.payload)
        except WireError as error:
            raise self.wrong_answer(message.command, error) from error

    def wrong_answer(self, command: int, error: WireError) -> DeviceError:
        why = f"the server's answer is wrong: {error}"
        return DeviceError(name_of(command), device=self.name, why=why, hint="fix the server")
