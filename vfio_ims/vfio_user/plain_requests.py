# SPDX-License-Identifier: Apache-2.0
"""Accesses to words that set nothing off, as most are, answered in few steps and without the session's."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import TYPE_CHECKING

from vfio_ims.vfio_user.messages import REGION_ACCESS, REGION_MESSAGE, WORD_MESSAGE
from vfio_ims.vfio_user.server_requests import Requests
from vfio_ims.vfio_user.transport import Connection, Message
from vfio_ims.vfio_user.wire import REPLY, Command

if TYPE_CHECKING:
    from vfio_ims.ports.link import PlainAccess

__all__ = ["PlainRequests"]

_READ, _WRITE = int(Command.REGION_READ), int(Command.REGION_WRITE)
_WORD = Struct("<I")


class PlainRequests:
    """Answers reads and writes of one word through ``accesses``, of each BAR; ``sizes`` are those of the regions.

    What it does not answer is untouched, and the session's to take.
    """

    def __init__(
        self,
        connection: Connection,
        requests: Requests,
        accesses: Sequence[PlainAccess | None],
        sizes: Sequence[int],
    ) -> None:
        self._connection, self._requests, self._accesses, self._sizes = connection, requests, accesses, sizes

    def answer_alone(self) -> bool:
        """Answer the one request that has come, of a client that waits for each: from the receive buffer to the socket.

        False where anything else has come, or more than that.
        """
        connection = self._connection
        if connection.queued or (held := connection.alone(WORD_MESSAGE.size)) is None:
            return False
        value = None
        if len(held) == REGION_MESSAGE.size:
            ident, command, size, flags, _, offset, region, count = REGION_MESSAGE.unpack_from(held)
        elif len(held) == WORD_MESSAGE.size:
            ident, command, size, flags, _, offset, region, count, value = WORD_MESSAGE.unpack_from(held)
        else:
            return False
        if size != len(held):
            return False
        reply = self._reply(ident, command, flags, offset, region, count, value)
        if reply is None:
            return False
        connection.step_over()
        self._requests.reply(reply, more=False)
        return True

    def answer(self, message: Message) -> bool:
        """Answer ``message``, behind what is answered already; False for any other."""
        ident, command, flags, _, payload, fds, fault = message
        if fds or fault or len(payload) < REGION_ACCESS.size:
            return False
        offset, region, count = REGION_ACCESS.unpack_from(payload)
        value = None
        if len(payload) == REGION_ACCESS.size + _WORD.size:
            (value,) = _WORD.unpack_from(payload, REGION_ACCESS.size)
        elif len(payload) != REGION_ACCESS.size:
            return False
        reply = self._reply(ident, command, flags, offset, region, count, value)
        if reply is None:
            return False
        self._requests.reply(reply, more=self._connection.ready)
        return True

    def _reply(
        self, ident: int, command: int, flags: int, offset: int, region: int, count: int, value: int | None
    ) -> bytes | None:
        """Do the access; the reply to it. None: it is no plain one, and nothing was done."""
        if flags or count != _WORD.size or region >= len(self._accesses):
            return None
        plain = self._accesses[region]
        if plain is None or offset + count > self._sizes[region]:
            return None
        if value is None:
            found = plain.read32(offset) if command == _READ else None
            if found is None:
                return None
            return WORD_MESSAGE.pack(ident, command, WORD_MESSAGE.size, REPLY, 0, offset, region, count, found)
        if command != _WRITE or not plain.write32(offset, value):
            return None
        return REGION_MESSAGE.pack(ident, command, REGION_MESSAGE.size, REPLY, 0, offset, region, count)
