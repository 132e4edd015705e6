# SPDX-License-Identifier: Apache-2.0
"""What the kernel would say of the host that a served function sits in: a server that has opened the function says it.

A server of a device model serves hardware: its client plays the kernel. A server of an opened function serves what VFIO
shows of it: vectors, messages and the IOMMU are the host's. It says so in VERSION, to a client that asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vfio_ims.messages import Format, MessagePlatform
from vfio_ims.ports.values import Evidence, IovaRange
from vfio_ims.vfio_user.wire import malformed

__all__ = ["HostSide"]


@dataclass(frozen=True, slots=True)
class HostSide:
    """``mount``: how the server reaches the function ("cdev", "group", "mock", ...). ``settle``: its seconds.

    ``function``: the function's address in this machine, "" where it is none of the kernel's. ``ranges`` and
    ``page_sizes`` are those of its address space.
    """

    mount: str
    settle: float
    function: str
    ranges: tuple[IovaRange, ...]
    page_sizes: int
    remapping: Evidence
    messages: MessagePlatform

    def to_json(self) -> dict[str, object]:
        remapping, messages = self.remapping, self.messages
        return {
            "mount": self.mount,
            "settle": self.settle,
            "function": self.function,
            "ranges": [[one.start, one.last] for one in self.ranges],
            "page_sizes": self.page_sizes,
            "remapping": [remapping.answer, remapping.text, remapping.to_find_out],
            "format": messages.format,
            "windows": [[one.start, one.stop] for one in messages.windows],
            "moves": messages.moves,
            "platform": messages.text,
        }

    @classmethod
    def from_json(cls, said: Mapping[str, object]) -> HostSide:
        """Raises WireError where something is missing or is of the wrong kind."""
        found = said.get("format")
        if found is not None and found not in list(Format):
            malformed("format", "one that is known", found)
        moves = said.get("moves")
        if moves is not None and not isinstance(moves, bool):
            malformed("moves", "true, false or null", moves)
        settle = said.get("settle")
        if isinstance(settle, bool) or not isinstance(settle, int | float) or not 0 <= settle <= 60:
            malformed("settle", "0 to 60 seconds", settle)
        windows = tuple(range(start, stop) for start, stop in _pairs(said, "windows"))
        return cls(
            _text(said, "mount"),
            float(settle),
            _text(said, "function"),
            tuple(IovaRange(start, last) for start, last in _pairs(said, "ranges")),
            _number("page_sizes", said.get("page_sizes")),
            _evidence(said.get("remapping")),
            MessagePlatform(None if found is None else Format(str(found)), windows, moves, _text(said, "platform")),
        )


def _text(said: Mapping[str, object], field: str) -> str:
    value = said.get(field)
    return value if isinstance(value, str) else malformed(field, "text", value)


def _number(field: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 1 << 64:
        malformed(field, "a number of 64 bits", value)
    return value


def _pairs(said: Mapping[str, object], field: str) -> list[tuple[int, int]]:
    pairs = said.get(field)
    if not isinstance(pairs, list):
        malformed(field, "a list", pairs)
    found = []
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            malformed(field, "pairs", pair)
        found.append((_number(field, pair[0]), _number(field, pair[1])))
    return found


def _evidence(value: object) -> Evidence:
    answer, text, to_find_out = value if isinstance(value, list) and len(value) == 3 else (0, 0, 0)
    if (
        not (answer is None or isinstance(answer, bool))
        or not isinstance(text, str)
        or not isinstance(to_find_out, str)
    ):
        malformed("remapping", "an answer and two texts", value)
    return Evidence(answer, text, to_find_out)
