# SPDX-License-Identifier: Apache-2.0
"""IAA's engine configuration and state (AECS): what an operation reads as its second source and may write back.

Pure; driver and model. Layouts: Intel QPL, ``sources/core-iaa/include/hw_aecs_api.h``; accel-config,
``test/algorithms/iaa_compress.h``. The state for decompressing is in ``inflate_state``.

Two states lie one behind the other: a job reads one and writes the other, and ``Flag.IAA_STATE_SECOND`` swaps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from struct import Struct

__all__ = [
    "COMPRESS_HEAD",
    "COMPRESS_SIZE",
    "FILTER_SIZE",
    "FIXED_DISTANCES",
    "FIXED_LITERALS",
    "CompressState",
    "FilterState",
    "canonical_codes",
    "filter_state",
]

_HEAD = Struct("<II20xI256s")
_TABLES = Struct("<286I2I30I2I")
_FILTER = Struct("<IIIIII8x")
COMPRESS_HEAD = _HEAD.size
"""What compressing writes back: checksums and the bits that are left."""
COMPRESS_SIZE = _HEAD.size + _TABLES.size
FILTER_SIZE = _FILTER.size
_LENGTH_AT = 15  # a Huffman code's length is above its 15 bits


def canonical_codes(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """Canonical Huffman codes of these lengths (RFC 1951, 3.2.2): code and length, both 0 where there is none."""
    counts = [0] * 16
    for length in lengths:
        counts[length] += 1
    counts[0], code, following = 0, 0, [0] * 16
    for bits in range(1, 16):
        code = code + counts[bits - 1] << 1
        following[bits] = code
    found = []
    for length in lengths:
        found.append((following[length], length) if length else (0, 0))
        following[length] += 1
    return found


def _codes(lengths: Sequence[int]) -> tuple[int, ...]:
    return tuple(length << _LENGTH_AT | code for code, length in canonical_codes(lengths))


_ALL = _codes([8] * 144 + [9] * 112 + [7] * 24 + [8] * 8)
FIXED_LITERALS, FIXED_DISTANCES = _ALL[:286], _codes([5] * 30)
"""Deflate's fixed codes (RFC 1951, 3.2.6)."""


@dataclass(frozen=True, slots=True)
class CompressState:
    """For compressing: checksums so far, bits that come before what is compressed, and the codes to use."""

    crc: int = 0
    xor: int = 0
    bits: int = 3
    accumulator: bytes = b"\x03"  # a final block with fixed codes
    literals: Sequence[int] = field(default=FIXED_LITERALS)
    distances: Sequence[int] = field(default=FIXED_DISTANCES)

    @classmethod
    def block(cls, *, final: bool = True) -> CompressState:
        """The start of a block with fixed codes."""
        return cls() if final else replace(cls(), accumulator=b"\x02")

    @classmethod
    def of_lengths(cls, literals: Sequence[int], distances: Sequence[int] = ()) -> CompressState:
        """Codes of these lengths, and no block's header before the data (Huffman codes only)."""
        first = _codes([*literals, *[0] * (286 - len(literals))])
        return cls(0, 0, 0, b"", first, _codes([*distances, *[0] * (30 - len(distances))]))

    def head(self) -> bytes:
        return _HEAD.pack(self.crc, self.xor, self.bits, self.accumulator)

    def packed(self) -> bytes:
        return self.head() + _TABLES.pack(*self.literals, 0, 0, *self.distances, 0, 0)

    @classmethod
    def unpacked(cls, data: bytes) -> CompressState:
        crc, xor, bits, accumulator = _HEAD.unpack_from(data)
        numbers = _TABLES.unpack_from(data, _HEAD.size)
        return cls(crc, xor & 0xFFFF, bits, accumulator, numbers[:286], numbers[288:318])


@dataclass(frozen=True, slots=True)
class FilterState:
    """For filters, and the first part of the state for decompressing.

    ``low``, ``high``: the limits of scan, the first and last element of extract. ``first_index``: what the first of
    the output's indices is. ``drop``: decompressed bytes to leave out.
    """

    crc: int = 0
    xor: int = 0
    low: int = 0
    high: int = 0
    first_index: int = 0
    drop: int = 0

    def packed(self) -> bytes:
        return _FILTER.pack(self.crc, self.xor, self.low, self.high, self.first_index, self.drop)

    @classmethod
    def unpacked(cls, data: bytes) -> FilterState:
        return cls(*_FILTER.unpack_from(data))


def filter_state(low: int = 0, high: int = 0, *, crc: int = 0, xor: int = 0, first_index: int = 0) -> bytes:
    """``FilterState``'s bytes."""
    return FilterState(crc, xor, low, high, first_index).packed()
