# SPDX-License-Identifier: Apache-2.0
"""Flags and fields of IAA's descriptors. Pure; driver and model.

Sources: Intel QPL, ``sources/core-iaa/sources/include/own_hw_definitions.h``; accel-config, ``test/algorithms``.
"""

from __future__ import annotations

from enum import IntEnum
from struct import Struct
from typing import NamedTuple

__all__ = [
    "END_MASK",
    "IAA_SPECIFIC",
    "CompressFlag",
    "Crc64Flag",
    "DecompressFlag",
    "FilterFlags",
    "IaaOutcome",
    "IaaSpecific",
]

IAA_SPECIFIC = Struct("<QIIII")


class IaaSpecific(NamedTuple):
    """Bytes 0x28 to 0x3f of most of IAA's descriptors."""

    source2: int = 0
    most: int = 0
    size2: int = 0
    filter_flags: int = 0
    inputs: int = 0

    def packed(self) -> bytes:
        return IAA_SPECIFIC.pack(*self)


class CompressFlag(IntEnum):
    """``LITERALS``: no matches. ``BIG_ENDIAN``: each 16-bit word of the output in reverse bit order."""

    STATISTICS = 1 << 0
    FLUSH = 1 << 1
    END_OF_BLOCK = 1 << 2
    END_OF_BLOCK_AND_STORED = 2 << 2
    END_OF_BLOCK_AND_FINAL_STORED = 3 << 2
    LITERALS = 1 << 4
    BIG_ENDIAN = 1 << 5


END_MASK = 3 << 2
"""The field of the END_ flags."""


class DecompressFlag(IntEnum):
    """``STOP_AT_END``, ``CHECK_END``: of any block; with ``FINAL_END`` of the final one.

    A multiple of ``IGNORED_BITS``: so many bits at the end of the input are not part of it.
    """

    ENABLE = 1 << 0
    FLUSH = 1 << 1
    STOP_AT_END = 1 << 2
    CHECK_END = 1 << 3
    FINAL_END = 1 << 4
    BIG_ENDIAN = 1 << 5
    IGNORED_BITS = 1 << 6
    SUPPRESS_OUTPUT = 1 << 9


class Crc64Flag(IntEnum):
    """How a CRC64 is made: the descriptor's extra field."""

    INVERT = 1 << 14
    REFLECT = 1 << 15


class FilterFlags(NamedTuple):
    """How a filter takes its input and gives its output.

    ``parse``: 0 packed elements, the first in the lowest bits; 1 in the highest; 2 Parquet's run lengths, which say
    the width themselves (``width`` must be 1). ``output``: 0 as they are, 1 to 3 elements or indices of 8, 16, 32 bits.
    ``big_endian``: the output's first element in the highest bits, ``big_endian2``: the second source's.
    """

    parse: int = 0
    width: int = 8
    width2: int = 1
    big_endian2: bool = False
    output: int = 0
    big_endian: bool = False
    invert: bool = False
    drop_low: int = 0
    drop_high: int = 0

    def packed(self) -> int:
        return (
            self.parse
            | self.width - 1 << 2
            | self.width2 - 1 << 7
            | self.big_endian2 << 12
            | self.output << 13
            | self.big_endian << 15
            | self.invert << 16
            | self.drop_low << 17
            | self.drop_high << 22
        )

    @classmethod
    def unpacked(cls, flags: int) -> FilterFlags:
        return cls(
            flags & 3,
            (flags >> 2 & 31) + 1,
            (flags >> 7 & 31) + 1,
            bool(flags >> 12 & 1),
            flags >> 13 & 3,
            bool(flags >> 15 & 1),
            bool(flags >> 16 & 1),
            flags >> 17 & 31,
            flags >> 22 & 31,
        )


_OUTCOME = Struct("<IIIBBHIIII")


class IaaOutcome(NamedTuple):
    """Bytes 0x10 to 0x2f of a completion record.

    ``low``, ``high``, ``total``: minimum or first, maximum or last, sum or number of ones. ``bits``: how many of the
    last byte are output (0: all).
    """

    size: int = 0
    bits: int = 0
    xor: int = 0
    crc: int = 0
    low: int = 0
    high: int = 0
    total: int = 0

    def packed(self) -> bytes:
        return _OUTCOME.pack(0, 0, self.size, self.bits, 0, self.xor, self.crc, self.low, self.high, self.total)

    @classmethod
    def unpacked(cls, data: bytes) -> IaaOutcome:
        _, _, size, bits, _, xor, crc, low, high, total = _OUTCOME.unpack_from(data)
        return cls(size, bits, xor, crc, low, high, total)
