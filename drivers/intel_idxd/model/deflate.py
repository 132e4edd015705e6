# SPDX-License-Identifier: Apache-2.0
"""Deflate's parts for the IAA model: matches in a history of 4 KiB, Huffman output by given codes, histogram, tables.

Which matches the hardware finds is its own affair: any choice decompresses to the same data.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

__all__ = [
    "DISTANCES",
    "DISTANCE_EXTRA",
    "LENGTHS",
    "LENGTH_EXTRA",
    "BitWriter",
    "Codes",
    "histogram",
    "tokens",
]

_HISTORY, _SHORTEST, _LONGEST = 4096, 3, 258
_CODE = (1 << 15) - 1
_END = 256

# RFC 1951, 3.2.5: the first length or distance of each code, and how many more bits follow the code.
LENGTH_EXTRA = [0] * 8 + [n for n in range(1, 6) for _ in range(4)] + [0]
LENGTHS = [3 + n for n in range(8)]
DISTANCE_EXTRA = [0, 0] + [n for n in range(14) for _ in range(2)]
DISTANCES = [1]
for _n in range(8, 28):
    LENGTHS.append(LENGTHS[-1] + (1 << LENGTH_EXTRA[_n - 1]))
LENGTHS.append(258)
for _n in range(1, 30):
    DISTANCES.append(DISTANCES[-1] + (1 << DISTANCE_EXTRA[_n - 1]))

Token = tuple[int, int]
"""A byte and 0, or a match's length and distance."""


def tokens(data: bytes) -> Iterator[Token]:
    """Literals and matches, greedily."""
    last: dict[bytes, int] = {}
    at, size = 0, len(data)
    while at < size:
        key = data[at : at + _SHORTEST]
        before = last.get(key, -1)
        last[key] = at
        if len(key) == _SHORTEST and before >= 0 and at - before <= _HISTORY:
            length, most = _SHORTEST, min(_LONGEST, size - at)
            while length < most and data[before + length] == data[at + length]:
                length += 1
            yield length, at - before
            for inside in range(at + 1, min(at + length, size - 2)):
                last[data[inside : inside + _SHORTEST]] = inside
            at += length
        else:
            yield data[at], 0
            at += 1


class BitWriter:
    """Bits, the first one lowest in the first byte."""

    def __init__(self, data: bytes = b"", bits: int = 0) -> None:
        self._value = int.from_bytes(data, "little") & (1 << bits) - 1
        self._bits = bits
        self.done = bytearray()
        self._settle()

    def put(self, value: int, bits: int) -> None:
        self._value |= value << self._bits
        self._bits += bits
        if self._bits >= 1024:
            self._settle()

    def _settle(self) -> None:
        whole = self._bits // 8
        self.done += (self._value & (1 << 8 * whole) - 1).to_bytes(whole, "little")
        self._value >>= 8 * whole
        self._bits -= 8 * whole

    def align(self) -> None:
        """Zeros up to a whole byte."""
        self.put(0, -self._bits % 8)

    def finish(self) -> tuple[bytes, int, int]:
        """The whole bytes; the bits that are left, and how many."""
        self._settle()
        return bytes(self.done), self._value, self._bits


class Codes:
    """Huffman codes as a state's tables have them. Symbols without a code cannot be written: ValueError."""

    def __init__(self, literals: Sequence[int], distances: Sequence[int]) -> None:
        self._literals, self._distances = [_reversed(c) for c in literals], [_reversed(c) for c in distances]

    def write(self, out: BitWriter, found: Iterator[Token]) -> None:
        for first, distance in found:
            if not distance:
                self._put(out, self._literals[first])
                continue
            code, far = bisect_right(LENGTHS, first) - 1, bisect_right(DISTANCES, distance) - 1
            self._put(out, self._literals[257 + code])
            out.put(first - LENGTHS[code], LENGTH_EXTRA[code])
            self._put(out, self._distances[far])
            out.put(distance - DISTANCES[far], DISTANCE_EXTRA[far])

    def end(self, out: BitWriter) -> None:
        """The end of the block."""
        self._put(out, self._literals[_END])

    @staticmethod
    def _put(out: BitWriter, code: tuple[int, int]) -> None:
        if not code[1]:
            raise ValueError("a symbol has no code")
        out.put(*code)


def _reversed(entry: int) -> tuple[int, int]:
    """A code as it is written, lowest bit first, and its length."""
    length = entry >> 15 & 15
    return int(f"{entry & _CODE:0{length}b}"[::-1], 2) if length else 0, length


def histogram(found: Iterator[Token]) -> tuple[list[int], list[int]]:
    """How often each literal, length and distance code is used; the end of a block once."""
    literals, distances = [0] * 286, [0] * 30
    literals[_END] = 1
    for first, distance in found:
        if distance:
            literals[257 + bisect_right(LENGTHS, first) - 1] += 1
            distances[bisect_right(DISTANCES, distance) - 1] += 1
        else:
            literals[first] += 1
    return literals, distances
