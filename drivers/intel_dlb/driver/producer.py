# SPDX-License-Identifier: Apache-2.0
"""The producer side of a port: 64-byte stores to its page of BAR 0, four commands each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.native.command_portal import CommandPortal

from ..hardware.elements import ELEMENT_SIZE, FLOW_BYTE, Command, pack, second_word
from ..hardware.places import DIRECTED_PORTS_AT, LDB_PORTS_AT, PORT_PAGE

if TYPE_CHECKING:
    from vfio_ims.device.bar import Bar

__all__ = ["Producer"]

_LINE, _MOST_POPS = 64, 1024
_REST = bytes(_LINE - ELEMENT_SIZE)


class Producer:
    """Every store goes to the page's first line, as DPDK's: how a device takes the others is not public."""

    def __init__(self, bar: Bar, number: int, *, ldb: bool) -> None:
        self._bar, self._at = bar, (LDB_PORTS_AT if ldb else DIRECTED_PORTS_AT)[0] + PORT_PAGE * number
        self._arm = pack(Command.ARM) + _REST
        self.portal = CommandPortal(
            bar.window, self._at, bar.port.name, pieces=bar.in_pieces, column=(FLOW_BYTE, 2),
            acknowledge=second_word(Command.POP), number_at=FLOW_BYTE, most=_MOST_POPS,
        )  # fmt: skip
        """What many elements go through, and the tokens of many, in one compiled call; their flows are its column."""

    def send(self, command: bytes) -> None:
        """One command of 16 bytes."""
        self._bar.store64(self._at, command + _REST)

    def send_lines(self, lines: bytes | bytearray) -> None:
        """Four commands in each 64 bytes of ``lines``, in one compiled call where the page is mapped."""
        self._bar.store64_many(self._at, lines, len(lines) // _LINE, stride=0)

    def pop(self, count: int) -> None:
        """Return ``count`` tokens."""
        while count > 0:
            some = min(count, _MOST_POPS)
            self.send(pack(Command.POP, flow=some - 1))
            count -= some

    def arm(self) -> None:
        """Let the consumer queue interrupt once."""
        self._bar.store64(self._at, self._arm)

    def complete(self, count: int) -> None:
        """The oldest ``count`` elements that were scheduled to the port are done."""
        one = pack(Command.COMPLETE)
        self.send_lines(one * count + bytes(-count % 4 * ELEMENT_SIZE))
