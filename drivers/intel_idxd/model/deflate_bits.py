# SPDX-License-Identifier: Apache-2.0
"""Bits of a deflate stream, and the symbols in them, read so that reading can stop anywhere and go on later."""

from __future__ import annotations

import contextlib
from functools import lru_cache

from ..hardware.aecs import canonical_codes

__all__ = ["BitReader", "Short", "SymbolTable", "symbol_table"]

SymbolTable = tuple[list[int], int]


class Short(Exception):
    """The input ends within a symbol or a header."""


@lru_cache(maxsize=64)
def symbol_table(lengths: bytes) -> SymbolTable:
    """By the next bits: the symbol and, in the lowest 4 bits, its code's length; -1 where there is no such code."""
    most = max(lengths, default=0)
    table = [-1] * (1 << most)
    for symbol, (code, length) in enumerate(canonical_codes(lengths)):
        if length:
            mirrored = int(f"{code:0{length}b}"[::-1], 2)
            for at in range(mirrored, 1 << most, 1 << length):
                table[at] = symbol << 4 | length
    return table, most


class BitReader:
    """Bits, those left from the job before first, then ``data`` without its last ``ignored`` bits."""

    def __init__(self, value: int, count: int, data: bytes, ignored: int) -> None:
        self.value, self.count, self.data, self.at, self._ignored = value, count, data, 0, ignored

    def need(self, bits: int) -> None:
        while self.count < bits:
            piece = self.data[self.at : self.at + 8]
            if not piece:
                raise Short
            self._append(piece)

    def _append(self, piece: bytes) -> None:
        self.value |= int.from_bytes(piece, "little") << self.count
        self.count += 8 * len(piece)
        self.at += len(piece)
        if self._ignored and self.at == len(self.data):
            self.count -= self._ignored
            self.value &= (1 << self.count) - 1

    def take(self, bits: int) -> int:
        self.need(bits)
        found = self.value & (1 << bits) - 1
        self.value >>= bits
        self.count -= bits
        return found

    def symbol(self, table: SymbolTable) -> int:
        """The next symbol; IndexError where the bits are none's."""
        codes, most = table
        if self.count < most:
            with contextlib.suppress(Short):  # the last code may be a shorter one
                self.need(most)
        entry = codes[self.value & len(codes) - 1]
        if entry < 0:
            if self.count < most:
                raise Short
            raise IndexError
        bits = entry & 15
        if bits > self.count:
            raise Short
        self.value >>= bits
        self.count -= bits
        return entry >> 4

    def mark(self) -> tuple[int, int, int]:
        return self.value, self.count, self.at

    def back_to(self, mark: tuple[int, int, int]) -> None:
        self.value, self.count, self.at = mark

    def give_back(self, unit: int) -> int:
        """Whole ``unit`` bytes that are not needed are left to the caller; how many were taken."""
        whole = min(self.count // (8 * unit) * unit, self.at)
        self.count -= 8 * whole
        self.value &= (1 << self.count) - 1
        return self.at - whole

    def absorb(self) -> None:
        """Keep all that is left."""
        rest = self.data[self.at :]
        if rest:
            self._append(rest)
