# SPDX-License-Identifier: Apache-2.0
"""IAA's engine configuration and state (AECS): what an operation reads as its second source and may write back.

Pure; driver and model. Layouts: Intel QPL, ``sources/core-iaa/include/hw_aecs_api.h``; accel-config,
``test/algorithms/iaa_compress.h``. What software has no use for is reserved there: in those bytes the model keeps the
code lengths of the block under way, which silicon keeps in a form of its own.

Two states lie one behind the other: a job reads one and writes the other, and ``Flag.IAA_STATE_SECOND`` swaps them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import IntFlag
from struct import Struct

__all__ = [
    "COMPRESS_HEAD",
    "COMPRESS_SIZE",
    "FILTER_SIZE",
    "FIXED_DISTANCES",
    "FIXED_LITERALS",
    "INFLATE_SIZE",
    "INFLATE_SIZE_WITHOUT_HISTORY",
    "BlockState",
    "CompressState",
    "FilterState",
    "InflateState",
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
INFLATE_SIZE, INFLATE_SIZE_WITHOUT_HISTORY = 0x1500, 0x4E0
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


class BlockState(IntFlag):
    """Where in a stream a job ended (QPL, ``hw_iaa_aecs_decompress_state``)."""

    TOKENS = 0
    HEADER = 1
    STORED = 2
    FINAL = 4
    DONE = 8


_BITS_AT, _BIT_COUNTS_AT, _BIT_PLACES = 0xB8, 0x1B8, 32
_TABLE_AT, _NUMBERS_AT, _FIRST_AT, _SYMBOLS_AT = 0x1E0, 0x1F4, 0x208, 0x328
_LENGTHS_AT = 0x230  # reserved: tables of silicon's own
_BLOCK_AT, _STORED_AT, _MATCH_AT, _HISTORY_AT = 0x434, 0x438, 0x43C, 0x4E4
_HISTORY = 4096
_WRITTEN, _GONE_ROUND = 0x7FFF, 0x8000
_CODE_PLACES = ((0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (0, 6), (1, 7), (1, 8), (1, 9), (2, 10), (2, 11), (3, 12))
_CODE_PLACES += ((3, 13), (4, 14), (4, 15))  # type: ignore[assignment]
"""In which of five dwords the number for codes of each length is, one bit wider than that length, densely packed."""


def _spread(numbers: Sequence[int]) -> bytes:
    words, used = [0] * 5, [0] * 5
    for (word, length), number in zip(_CODE_PLACES, numbers, strict=True):
        words[word] |= number << used[word]
        used[word] += length + 1
    return b"".join(word.to_bytes(4, "little") for word in words)


def _gathered(data: bytes) -> list[int]:
    words = [int.from_bytes(data[at : at + 4], "little") for at in range(0, 20, 4)]
    found = []
    for word, length in _CODE_PLACES:
        found.append(words[word] & (1 << length + 1) - 1)
        words[word] >>= length + 1
    return found


@dataclass(frozen=True, slots=True)
class InflateState:
    """For decompressing in pieces: input that was not decoded yet, where in which block, and the last 4 KiB of output.

    ``lengths``: of the codes for literals and lengths, and for distances. ``match``: length and distance of what did
    not fit into the output.
    """

    block: int = BlockState.HEADER
    bits: int = 0
    bit_count: int = 0
    stored: int = 0
    match: tuple[int, int] = (0, 0)
    lengths: tuple[bytes, bytes] = (b"", b"")
    history: bytes = b""

    @classmethod
    def of_codes(cls, lengths: Sequence[int]) -> InflateState:
        """For data of Huffman codes only, without a header: literals with codes of these lengths."""
        return cls(BlockState.TOKENS, lengths=(bytes(lengths), b""))

    def packed(self, summary: FilterState, size: int = INFLATE_SIZE) -> bytes:
        """``size``: with the history or without it."""
        data = bytearray(INFLATE_SIZE)
        data[: FILTER_SIZE - 8] = summary.packed()[: FILTER_SIZE - 8]
        whole = self.bits.to_bytes(8 * _BIT_PLACES, "little")
        data[_BITS_AT : _BITS_AT + len(whole)] = whole
        for place in range(_BIT_PLACES):
            data[_BIT_COUNTS_AT + place] = max(0, min(64, self.bit_count - 64 * place))
        self._put_codes(data)
        data[_BLOCK_AT] = self.block
        data[_STORED_AT : _STORED_AT + 4] = self.stored.to_bytes(4, "little")
        data[_MATCH_AT : _MATCH_AT + 4] = self.match[0].to_bytes(2, "little") + self.match[1].to_bytes(2, "little")
        kept = len(self.history)
        mark = kept % _HISTORY | (_GONE_ROUND if kept == _HISTORY else 0)
        data[_HISTORY_AT : _HISTORY_AT + 2] = mark.to_bytes(2, "little")
        data[_HISTORY_AT + 4 : _HISTORY_AT + 4 + kept] = self.history
        return bytes(data[:size])

    def _put_codes(self, data: bytearray) -> None:
        literals, distances = self.lengths
        if not literals:
            return
        packed = sum(length << 4 * place for place, length in enumerate(literals))
        data[_LENGTHS_AT : _LENGTHS_AT + 144] = packed.to_bytes(144, "little")
        packed = sum(length << 4 * place for place, length in enumerate(distances))
        data[_LENGTHS_AT + 144 : _LENGTHS_AT + 160] = packed.to_bytes(16, "little")

    @classmethod
    def huffman_only(cls, lengths: Sequence[int]) -> bytes:
        """The bytes of a state with codes for literals as software writes them (format 1); no header comes first."""
        codes = canonical_codes(lengths)
        first, count, index, symbols = [0] * 15, [0] * 15, [0] * 15, bytearray()
        for length in range(1, 16):
            members = [(code, symbol) for symbol, (code, one) in enumerate(codes) if one == length]
            index[length - 1], count[length - 1] = len(symbols), len(members)
            first[length - 1] = min(members)[0] if members else 0
            symbols += bytes(symbol for _, symbol in sorted(members))
        data = bytearray(INFLATE_SIZE)
        for at, numbers in ((_TABLE_AT, index), (_NUMBERS_AT, count), (_FIRST_AT, first)):
            data[at : at + 20] = _spread(numbers)
        data[_SYMBOLS_AT : _SYMBOLS_AT + len(symbols)] = symbols
        return bytes(data)

    @classmethod
    def unpacked(cls, data: bytes) -> InflateState:
        """ValueError where it holds what it cannot."""
        data = data.ljust(INFLATE_SIZE, b"\0")
        bits, count = 0, 0
        for place in range(_BIT_PLACES):
            width, at = data[_BIT_COUNTS_AT + place], _BITS_AT + 8 * place
            if width > 64:
                raise ValueError("an accumulator has 64 bits")
            bits |= (int.from_bytes(data[at : at + 8], "little") & (1 << width) - 1) << count
            count += width
        block = data[_BLOCK_AT]
        if block not in (*range(3), *range(4, 7, 2), BlockState.DONE):
            raise ValueError("there is no such state of a block")
        mark = int.from_bytes(data[_HISTORY_AT : _HISTORY_AT + 2], "little")
        at, history = mark & _WRITTEN, data[_HISTORY_AT + 4 : _HISTORY_AT + 4 + _HISTORY]
        if at > _HISTORY:
            raise ValueError("the history has 4 KiB")
        history = history[at:] + history[:at] if mark & _GONE_ROUND else history[:at]
        match = (
            int.from_bytes(data[_MATCH_AT : _MATCH_AT + 2], "little"),
            int.from_bytes(data[_MATCH_AT + 2 : _MATCH_AT + 4], "little"),
        )
        if match[0] and not 0 < match[1] <= len(history):
            raise ValueError("the match is not in the history")
        stored = int.from_bytes(data[_STORED_AT : _STORED_AT + 4], "little")
        return cls(block, bits, count, stored, match, _codes_of(data), history)


def _codes_of(data: bytes) -> tuple[bytes, bytes]:
    """Code lengths: those that the model wrote, else those that software wrote in the documented tables."""
    kept = data[_LENGTHS_AT : _LENGTHS_AT + 160]
    if any(kept):
        lengths = [half for byte in kept for half in (byte & 15, byte >> 4)]
        return bytes(lengths[:288]), bytes(lengths[288:318])
    index, count = _gathered(data[_TABLE_AT:]), _gathered(data[_NUMBERS_AT:])
    found = bytearray(256)
    for length in range(1, 16):
        start = _SYMBOLS_AT + index[length - 1]
        for symbol in data[start : start + count[length - 1]]:
            found[symbol] = length
    return bytes(found) if any(found) else b"", b""
