# SPDX-License-Identifier: Apache-2.0
"""IAA's engine state (AECS) for decompressing a stream in pieces. Pure; driver and model.

Layout: Intel QPL, ``sources/core-iaa/include/hw_aecs_api.h``. What software has no use for is reserved there: in those
bytes the model keeps the code lengths of the block under way, which silicon keeps in a form of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag

from .aecs import FILTER_SIZE, FilterState, canonical_codes

__all__ = ["INFLATE_SIZE", "INFLATE_SIZE_WITHOUT_HISTORY", "BlockState", "InflateState"]

INFLATE_SIZE, INFLATE_SIZE_WITHOUT_HISTORY = 0x1500, 0x4E0


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
_CODE_PLACES = (
    *((0, length) for length in range(1, 7)),
    *((1, length) for length in range(7, 10)),
    *((2, length) for length in (10, 11)),
    *((3, length) for length in (12, 13)),
    *((4, length) for length in (14, 15)),
)
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
