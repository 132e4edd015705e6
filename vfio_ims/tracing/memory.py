# SPDX-License-Identifier: Apache-2.0
"""The memory that a device may reach, as a recording sees it: addresses as buffer and offset, and what changed."""

from __future__ import annotations

import ctypes
import hashlib
from bisect import bisect_right, insort
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Buffers", "MappedBuffer", "digest"]

_PAGE = 4096
_PIECE = 64  # compared as a whole: what changed in neighbouring pieces is one change


@dataclass
class MappedBuffer:
    """Buffer ``number``, mapped at ``iova``; ``address`` is where it is in this process, 0 where it is not."""

    number: int
    iova: int
    size: int
    address: int
    known: bytearray = field(default_factory=bytearray)

    @property
    def name(self) -> str:
        return f"b{self.number}"

    def content(self) -> bytes:
        return ctypes.string_at(self.address, self.size) if self.address else b""

    def store(self, offset: int, data: bytes) -> None:
        ctypes.memmove(self.address + offset, data, len(data))

    def changes(self) -> Iterator[tuple[int, bytes]]:
        """The runs of bytes that differ from when this was last asked."""
        now = self.content()
        if now == self.known:
            return
        for page in range(0, self.size, _PAGE):
            new = now[page : page + _PAGE]
            if new != self.known[page : page + _PAGE]:
                for start, end in _runs(bytes(self.known[page : page + _PAGE]), new):
                    yield page + start, new[start:end]
        self.known[:] = now


def _runs(old: bytes, new: bytes) -> Iterator[tuple[int, int]]:
    """Where the two differ: neighbouring pieces as one, without the equal bytes at both ends."""
    pieces = [at for at in range(0, len(new), _PIECE) if old[at : at + _PIECE] != new[at : at + _PIECE]]
    for number, at in enumerate(pieces):
        if not number or pieces[number - 1] != at - _PIECE:
            start = at
        if number + 1 < len(pieces) and pieces[number + 1] == at + _PIECE:
            continue
        end = min(at + _PIECE, len(new))
        while old[start] == new[start]:
            start += 1
        while old[end - 1] == new[end - 1]:
            end -= 1
        yield start, end


class Buffers:
    """Those of one address space. ``numbers`` counts the mappings of all spaces, so that they are alike in each run."""

    def __init__(self, numbers: Iterator[int], *, contents: bool) -> None:
        self._contents, self._numbers = contents, numbers
        self._starts: list[int] = []
        self._by_start: dict[int, MappedBuffer] = {}

    def __iter__(self) -> Iterator[MappedBuffer]:
        return iter([self._by_start[start] for start in self._starts])

    def add(self, iova: int, size: int, address: int) -> MappedBuffer:
        buffer = MappedBuffer(next(self._numbers), iova, size, address)
        if self._contents:
            buffer.known = bytearray(buffer.content())
        if iova not in self._by_start:
            insort(self._starts, iova)
        self._by_start[iova] = buffer
        return buffer

    def within(self, iova: int, size: int) -> list[MappedBuffer]:
        """Those that lie in a range: what an unmap takes back."""
        return [one for one in self if iova <= one.iova and one.iova + one.size <= iova + size]

    def remove(self, buffer: MappedBuffer) -> None:
        self._starts.remove(buffer.iova)
        del self._by_start[buffer.iova]

    def symbol(self, address: int) -> str | None:
        """``b2+0x40`` for an address in a buffer."""
        index = bisect_right(self._starts, address)
        if index:
            buffer = self._by_start[self._starts[index - 1]]
            if address < buffer.iova + buffer.size:
                return f"{buffer.name}+{address - buffer.iova:#x}"
        return None

    def changes(self) -> list[list[object]]:
        """What changed since this was last asked, as buffer, offset and bytes."""
        return [[one.number, offset, data.hex()] for one in self if one.address for offset, data in one.changes()]


def digest(data: bytes) -> str:
    """What stands for content that is not recorded."""
    return hashlib.sha256(data).hexdigest()[:16]
