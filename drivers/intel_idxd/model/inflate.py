# SPDX-License-Identifier: Apache-2.0
"""Decompressing in pieces: a deflate stream (RFC 1951) that may end anywhere in one job and go on in the next.

zlib, which serves whole streams, cannot give away what it knows in the middle of a block; this can.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..hardware.iaa_flags import DecompressFlag
from ..hardware.inflate_state import BlockState, InflateState
from ..hardware.status import IaaError
from .deflate import DISTANCE_EXTRA, DISTANCES, LENGTH_EXTRA, LENGTHS
from .deflate_bits import BitReader, Short, SymbolTable, symbol_table

__all__ = ["Damaged", "inflate"]

_HISTORY, _END = 4096, 256
_MOST_BITS = 32 * 64  # that the state has room for: input that was not decoded yet
_LENGTH_ORDER = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)  # RFC 1951, 3.2.7
_FIXED = bytes([8] * 144 + [9] * 112 + [7] * 24 + [8] * 8), bytes([5] * 30)


class Damaged(Exception):
    """The stream makes no sense; ``error`` says why. ``out`` is what came before."""

    def __init__(self, error: IaaError, out: bytes = b"") -> None:
        super().__init__(error.name)
        self.error, self.out = error, out


def _oversubscribed(lengths: Sequence[int]) -> bool:
    return sum(1 << 15 - length for length in lengths if length) > 1 << 15


class _Inflater:
    """One job."""

    def __init__(self, state: InflateState, data: bytes, most: int, flags: int) -> None:
        self._state, self._flags, self._most = state, flags, most
        self._input = BitReader(state.bits, state.bit_count, data, flags // DecompressFlag.IGNORED_BITS & 7)
        self._unit = 2 if flags & DecompressFlag.BIG_ENDIAN else 1
        self._before = len(state.history)
        self._out = bytearray(state.history)
        self._block, self._lengths, self._left, self._match = state.block, state.lengths, state.stored, state.match
        self.used, self.full = 0, False

    @property
    def out(self) -> bytes:
        return bytes(self._out[self._before :])

    def run(self) -> None:
        """As far as input and output allow, or an end is asked for."""
        try:
            self._run()
        except Short:
            bits = self._input
            if bits.count + 8 * (len(bits.data) - bits.at) > _MOST_BITS:
                raise Damaged(IaaError.LONG_HEADER) from None
            bits.absorb()
            self.used = self._input.at
            if self._flags & DecompressFlag.CHECK_END:
                raise Damaged(IaaError.NOT_AT_END) from None
        else:
            self.used = self._input.give_back(self._unit)

    def _run(self) -> None:
        stop, any_end = self._flags & DecompressFlag.STOP_AT_END, not self._flags & DecompressFlag.FINAL_END
        while self._block != BlockState.DONE:
            if self._block == BlockState.HEADER:
                self._header()
            final = bool(self._block & BlockState.FINAL)
            ended = self._stored() if self._block & BlockState.STORED else self._tokens()
            if not ended:
                self.full = True
                return
            self._block = BlockState.DONE if final else BlockState.HEADER
            if stop and any_end:
                return
            if not final and not self._input.count and self._input.at == len(self._input.data):
                if self._flags & DecompressFlag.CHECK_END and not any_end:
                    raise Short
                return

    def _header(self) -> None:
        mark, bits = self._input.mark(), self._input
        try:
            final = bits.take(1) * BlockState.FINAL
            match bits.take(2):
                case 0:
                    self._left = self._stored_size()
                    self._block = BlockState.STORED | final
                case 1:
                    self._lengths, self._block = _FIXED, BlockState.TOKENS | final
                case 2:
                    self._lengths = self._dynamic()
                    self._block = BlockState.TOKENS | final
                case _:
                    raise Damaged(IaaError.BLOCK_TYPE)
        except Short:
            bits.back_to(mark)
            raise

    def _stored_size(self) -> int:
        bits = self._input
        bits.take(bits.count % 8)
        size = bits.take(16)
        if bits.take(16) != size ^ 0xFFFF:
            raise Damaged(IaaError.STORED_SIZE)
        return size

    def _dynamic(self) -> tuple[bytes, bytes]:
        bits = self._input
        literals, distances, counts = bits.take(5) + 257, bits.take(5) + 1, bits.take(4) + 4
        if literals > 286 or distances > 30:
            raise Damaged(IaaError.MANY_LITERALS if literals > 286 else IaaError.MANY_DISTANCES)
        lengths = bytearray(19)
        for place in _LENGTH_ORDER[:counts]:
            lengths[place] = bits.take(3)
        if _oversubscribed(lengths):
            raise Damaged(IaaError.CODE_LENGTHS)
        table = symbol_table(bytes(lengths))
        found = bytearray()
        while len(found) < literals + distances:
            try:
                symbol = bits.symbol(table)
            except IndexError:
                raise Damaged(IaaError.CODE_LENGTH) from None
            if symbol < 16:
                found.append(symbol)
            elif symbol == 16:
                if not found:
                    raise Damaged(IaaError.REPEATED_NOTHING)
                found += found[-1:] * (3 + bits.take(2))
            else:
                found += bytes(3 + bits.take(3) if symbol == 17 else 11 + bits.take(7))
        if len(found) > literals + distances:
            raise Damaged(IaaError.LITERAL_COUNT)
        first, second = bytes(found[:literals]), bytes(found[literals:])
        if not any(first):
            raise Damaged(IaaError.NO_LITERALS)
        for one, error in ((first, IaaError.LITERAL_LENGTHS), (second, IaaError.DISTANCE_LENGTHS)):
            if _oversubscribed(one):
                raise Damaged(error)
        return first, second

    def _stored(self) -> bool:
        """Whether the block ended; not so where the output is full."""
        bits = self._input
        while self._left:
            room = self._most - (len(self._out) - self._before)
            if room <= 0:
                return False
            if bits.count:
                self._out.append(bits.take(8))
                self._left -= 1
                continue
            piece = bits.data[bits.at : bits.at + min(self._left, room)]
            if not piece:
                raise Short
            self._out += piece
            self._left -= len(piece)
            bits.at += len(piece)
        return True

    def _tokens(self) -> bool:
        """Likewise."""
        literals, distances = symbol_table(self._lengths[0]), symbol_table(self._lengths[1])
        bits, out, limit = self._input, self._out, self._before + self._most
        while True:
            if self._match[0] and not self._copy(*self._match):
                return False
            if not bits.count and bits.at == len(bits.data):
                raise Short
            mark = bits.value, bits.count, bits.at
            try:
                symbol = bits.symbol(literals)
                if symbol < _END:
                    if len(out) >= limit:
                        bits.back_to(mark)
                        return False
                    out.append(symbol)
                    continue
                if symbol == _END:
                    return True
                if symbol > 285:
                    raise Damaged(IaaError.LITERAL_CODE)
                length = LENGTHS[symbol - 257] + bits.take(LENGTH_EXTRA[symbol - 257])
                far = self._distance(distances)
                distance = DISTANCES[far] + bits.take(DISTANCE_EXTRA[far])
            except Short:
                bits.back_to(mark)
                raise
            except IndexError:
                raise Damaged(IaaError.LITERAL_CODE) from None
            if distance > _HISTORY:
                raise Damaged(IaaError.FAR_DISTANCE)
            if distance > len(out):
                raise Damaged(IaaError.BEFORE_START)
            self._match = length, distance

    def _distance(self, table: SymbolTable) -> int:
        try:
            found = self._input.symbol(table)
        except IndexError:
            raise Damaged(IaaError.DISTANCE_CODE) from None
        if found > 29:
            raise Damaged(IaaError.DISTANCE_CODE)
        return found

    def _copy(self, length: int, distance: int) -> bool:
        """Whether all of the match had room."""
        out = self._out
        step = min(length, self._before + self._most - len(out))
        start = len(out) - distance
        if distance >= step:
            out += out[start : start + step]
        else:
            piece = bytes(out[start:])
            out += (piece * (step // distance + 1))[:step]
        self._match = (length - step, distance) if step < length else (0, 0)
        return step == length

    def state(self) -> InflateState:
        """For the next job."""
        return InflateState(
            block=self._block,
            bits=self._input.value,
            bit_count=self._input.count,
            stored=self._left if self._block & BlockState.STORED else 0,
            match=self._match,
            lengths=self._lengths if self._block & ~BlockState.FINAL == BlockState.TOKENS else (b"", b""),
            history=bytes(self._out[-_HISTORY:]),
        )


def inflate(state: InflateState, data: bytes, most: int, flags: int) -> tuple[bytes, int, bool, InflateState]:
    """Go on from ``state`` with ``data``, for at most ``most`` bytes of output.

    The output; how many bytes of ``data`` were used; whether there was more output than room; the state after it.
    Raises Damaged.
    """
    job = _Inflater(state, data, most, flags)
    try:
        job.run()
    except Damaged as damage:
        raise Damaged(damage.error, job.out) from None
    return job.out, job.used, job.full, job.state()
