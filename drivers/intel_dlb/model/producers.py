# SPDX-License-Identifier: Apache-2.0
"""The producer ports' pages: stores of 64 bytes, whole or in pieces. To a port that is off they cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..hardware.places import DIRECTED_PORTS_AT, LDB_PORTS_AT, PORT_PAGE

if TYPE_CHECKING:
    from .ports import PortState

__all__ = ["Producers"]

_LINE = 64


class Producers:
    """``take(port, line)``: a whole store. A driver without MOVDIR64B stores a line in pieces, which are put together.

    Which line of a page is stored to does not matter, as with DPDK, which uses the first one. [others: inferred]
    """

    def __init__(
        self, ldb: Sequence[PortState], directed: Sequence[PortState], take: Callable[[PortState, bytes], None]
    ) -> None:
        self._take = take
        self._ports: dict[int, PortState] = {}
        for bases, ports in ((DIRECTED_PORTS_AT, directed), (LDB_PORTS_AT, ldb)):
            for base in bases:
                self._ports |= {(base + PORT_PAGE * port.number) // PORT_PAGE: port for port in ports}
        self._lines: dict[int, tuple[bytearray, set[int]]] = {}  # by offset: what has come of a line that is not whole

    def reset(self) -> None:
        self._lines.clear()

    def covers(self, offset: int) -> bool:
        return offset // PORT_PAGE in self._ports

    def store(self, offset: int, data: bytes) -> tuple[PortState, bytes] | None:
        """Take a store; the port and the whole line, once it is whole and the port may be on."""
        port = self._ports[offset // PORT_PAGE]
        if not port.stale and not port.valid:
            return None
        if len(data) == _LINE and not offset % _LINE:
            return port, data
        at = offset % _LINE
        line, have = self._lines.setdefault(offset - at, (bytearray(_LINE), set()))
        line[at : at + len(data)] = data[: _LINE - at]
        have.update(range(at, min(at + len(data), _LINE), 4))
        if len(have) < _LINE // 4:
            return None
        del self._lines[offset - at]
        return port, bytes(line)
