# SPDX-License-Identifier: Apache-2.0
"""The 16-byte elements: what a producer port takes (HCW, four in a 64-byte store), and what a consumer queue holds.

Sources: DPDK drivers/event/dlb2/dlb2_priv.h (dlb2_enqueue_qe, dlb2_dequeue_qe), Intel's driver 8.1 for ARM (5).
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

__all__ = [
    "COMMANDS",
    "ELEMENT",
    "ELEMENT_SIZE",
    "FLOW_BIT",
    "FLOW_BYTE",
    "GENERATION",
    "PER_STORE",
    "PRIORITY_BIT",
    "Command",
    "Element",
    "Kind",
    "pack",
    "second_word",
]

ELEMENT = Struct("<QHBBHBB")  # data, opaque, queue, kind and priority, flow, flags, command or status
ELEMENT_SIZE, PER_STORE = 16, 4
FLOW_BYTE = 12
"""Where an element has its flow, 16 bits; a command that returns tokens has their number there, less 1."""
PRIORITY_BIT, FLOW_BIT = 26, 32
"""Of the second of its two words of 64 bits. The first is its data."""
GENERATION = 1
"""Of the status byte: 1 on the first lap through a consumer queue, and toggled on each."""


class Kind(IntEnum):
    """How elements of a queue are scheduled."""

    ATOMIC = 0
    """Those of one flow to one port at a time, in order."""
    UNORDERED = 1
    """To any port."""
    ORDERED = 2
    """To any port, and what is forwarded leaves in the order in which it was scheduled."""
    DIRECTED = 3
    """To the one port of the queue."""


class Command(IntEnum):
    """The low bits of an element's last byte. 4, 6, 7, 14 and 15 are illegal here."""

    NOTHING = 0
    POP = 1
    """Return tokens: as many as the flow field says, and one more."""
    COMPLETE = 2
    """The oldest element that was scheduled to the port is done."""
    COMPLETE_POP = 3
    ARM = 5
    """Interrupt once when the consumer queue has enough elements."""
    NEW = 8
    NEW_POP = 9
    FORWARD = 10
    """A new element in place of the oldest one that was scheduled to the port, which is done."""
    FORWARD_POP = 11
    FRAGMENT = 12
    """One of several elements in place of the oldest, which is not done yet."""
    FRAGMENT_POP = 13


COMMANDS = frozenset(Command)


class Element(NamedTuple):
    """What a consumer queue held."""

    data: int
    opaque: int
    queue: int
    kind: Kind
    priority: int
    flow: int
    error: bool = False

    @classmethod
    def unpack(cls, raw: bytes | memoryview, directed: int | None = None) -> Element:
        """From the 16 bytes of an entry. ``directed``: the queue of the port, where it is a directed one.

        A directed entry has its flow where others have queue, kind and priority, which it does not tell (DPDK
        dlb2_sse.c, dlb2_event_build_hcws; Intel's libdlb, dlb_common.h: both "load-balanced only").
        """
        data, opaque, queue, how, flow, _, status = ELEMENT.unpack(raw)
        error = bool(status & 0x20)
        if directed is not None:
            return cls(data, opaque, directed, Kind.DIRECTED, 0, queue | how << 8, error)
        return cls(data, opaque, queue, Kind(how & 3), how >> 2 & 7, flow, error)


def pack(
    command: int, data: int = 0, queue: int = 0, kind: int = 0, *, priority: int = 0, flow: int = 0, opaque: int = 0
) -> bytes:
    """The 16 bytes that a producer port takes."""
    return ELEMENT.pack(data, opaque, queue, kind | priority << 2, flow, 0, command)


def second_word(command: int = 0, queue: int = 0, kind: int = 0) -> int:
    """The second of an element's two words, but for priority, flow and opaque."""
    return int.from_bytes(pack(command, 0, queue, kind)[8:], "little")
