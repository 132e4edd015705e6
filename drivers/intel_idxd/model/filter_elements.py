# SPDX-License-Identifier: Apache-2.0
"""Columns of elements as IAA's filters take and give them: packed in either bit order, or as Parquet's run lengths.

Formats: Intel QPL's documentation, "Parser"; Apache Parquet's, "Run Length Encoding / Bit-Packing Hybrid".
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from ..hardware.status import IaaError, IaaStatus
from .iaa_output import Refused

__all__ = ["pack", "pack_high", "run_lengths", "unpack", "unpack_high"]

_ARRAYS = {8: "B", 16: "H", 32: "I"}


def unpack(data: bytes, width: int, count: int) -> list[int]:
    """``count`` elements of ``width`` bits, the first lowest."""
    if width in _ARRAYS:
        return array(_ARRAYS[width], data[: count * width // 8]).tolist()
    mask, found = (1 << width) - 1, []
    for at in range(0, -(-count // 8) * width, width):  # eight elements are ``width`` bytes
        eight = int.from_bytes(data[at : at + width], "little")
        found += [eight >> n * width & mask for n in range(8)]
    return found[:count]


def pack(values: Sequence[int], width: int) -> tuple[bytes, int]:
    """Elements one behind the other; the bytes, and how many bits of the last are used (0: all)."""
    value = bits = 0
    pieces: list[bytes] = []
    for one in values:
        value |= one << bits
        bits += width
        if bits >= 4096 and not bits % 8:
            pieces.append(value.to_bytes(bits // 8, "little"))
            value = bits = 0
    pieces.append(value.to_bytes(-(-bits // 8), "little"))
    return b"".join(pieces), bits % 8


def unpack_high(data: bytes, width: int, count: int) -> list[int]:
    """``count`` elements of ``width`` bits, the first in the highest bits."""
    mask, found = (1 << width) - 1, []
    for at in range(0, -(-count // 8) * width, width):
        eight = int.from_bytes(data[at : at + width].ljust(width, b"\0"), "big")
        found += [eight >> (7 - n) * width & mask for n in range(8)]
    return found[:count]


def pack_high(values: Sequence[int], width: int) -> tuple[bytes, int]:
    """``pack``, the first element in the highest bits."""
    pieces, bits = [], len(values) * width
    for at in range(0, len(values), 8):
        eight = 0
        for value in [*values[at : at + 8], *[0] * 7][:8]:
            eight = eight << width | value
        pieces.append(eight.to_bytes(width, "big"))
    return b"".join(pieces)[: -(-bits // 8)], bits % 8


def run_lengths(data: bytes, count: int) -> tuple[int, list[int]]:
    """Parquet's hybrid of run lengths and packed elements, its width in front: width, and ``count`` elements."""
    damaged = Refused(IaaStatus.ANALYTICS, IaaError.RUN_LENGTHS)
    if not data or not 0 < data[0] <= 32:
        raise Refused(IaaStatus.ANALYTICS, IaaError.RUN_WIDTH) if data else damaged
    width, at, found = data[0], 1, list[int]()
    size = -(-width // 8)
    while len(found) < count:
        header = 0
        for place in range(5):
            if place == 4 or at >= len(data):
                raise damaged
            byte, at = data[at], at + 1
            header |= (byte & 0x7F) << 7 * place
            if not byte & 0x80:
                break
        length = header >> 1
        if not header & 1:
            if at + size > len(data):
                raise damaged
            found += [int.from_bytes(data[at : at + size], "little")] * min(length, count - len(found))
            at += size
            continue
        wanted = min(8 * length, count - len(found))
        if at + -(-wanted * width // 8) > len(data):
            raise damaged
        found += unpack(data[at : at + length * width], width, wanted)
        at += length * width
    return width, found
