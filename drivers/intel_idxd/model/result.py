# SPDX-License-Identifier: Apache-2.0
"""The result of a modelled operation, and the walk through memory that counts the bytes done."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct

from ..hardware.descriptors import Flag
from ..hardware.status import FAULT_WAS_WRITE, Status
from .memory import Memory, PageFault

__all__ = ["DONE", "READS", "WRITES", "Result", "faulted", "overlap", "pieces"]

_HEAD = Struct("<BBHIQ")
_STEP = 1 << 20

READS = Flag.BLOCK_ON_FAULT | Flag.ADDRESS1_CLASS | Flag.ADDRESS2_CLASS
"""Flags that every operation takes that reaches memory."""
WRITES = READS | Flag.CACHE_CONTROL | Flag.STRICT_ORDERING | Flag.READBACK | Flag.STEERING
"""And every one that writes."""


@dataclass(frozen=True, slots=True)
class Result:
    """The contents of a completion record. ``specific``: from byte 16 on."""

    status: int = Status.SUCCESS
    result: int = 0
    completed: int = 0
    fault: int = 0
    specific: bytes = b""
    invalid_flags: int = 0

    @property
    def plain(self) -> bool:
        """Whether the first 8 bytes say it all."""
        return not (self.fault or self.specific or self.invalid_flags)

    def head(self, size: int) -> bytes:
        return _HEAD.pack(self.status, self.result, 0, self.completed, 0).ljust(size, b"\0")

    def record(self, size: int) -> bytes:
        specific = self.specific or self.invalid_flags.to_bytes(4, "little")
        return (_HEAD.pack(self.status, self.result, 0, self.completed, self.fault) + specific).ljust(size, b"\0")


DONE = Result()
"""Success, with nothing to say of it."""


def faulted(fault: PageFault, completed: int, *, result: int = 0, specific: bytes = b"") -> Result:
    """A page fault after ``completed`` bytes."""
    code = Status.PAGE_FAULT | (FAULT_WAS_WRITE if fault.write else 0)
    return Result(code, result, completed, fault.address, specific)


def overlap(first: int, first_size: int, second: int, second_size: int) -> bool:
    return first < second + second_size and second < first + first_size


def pieces(memory: Memory, places: Sequence[int], size: int, step: int = _STEP) -> Iterator[tuple[int, list[bytes]]]:
    """Read the same range of several places, piece by piece: offset and bytes.

    What comes before a fault is given first, then PageFault is raised, with ``done`` counted from the start.
    """
    at = 0
    while at < size:
        length = min(step, size - at)
        fault = None
        while length:
            try:
                data = [memory.read(place + at, length) for place in places]
                break
            except PageFault as found:
                fault, length = found, found.done
        if length:
            yield at, data
        at += length
        if fault is not None:
            raise PageFault(fault.address, write=False, done=at)
