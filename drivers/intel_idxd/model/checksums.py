# SPDX-License-Identifier: Apache-2.0
"""Cyclic redundancy checks as the modelled engines compute them: any polynomial and width, either bit order.

By crcmod-plus (the extra ``crc``) where it is installed, else by a table and a loop, hundreds of times slower.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

__all__ = ["CRC16_T10", "CRC32C", "by_table", "crc", "reflected"]

CRC32C = 0x1EDC_6F41
"""The polynomial of DSA's CRC operations (Intel DML)."""
CRC16_T10 = 0x8BB7
"""The polynomial of T10 DIF's guard."""


def reflected(value: int, width: int) -> int:
    """The low ``width`` bits in reverse order."""
    return int(f"{value & (1 << width) - 1:0{width}b}"[::-1], 2)


@cache
def _table(polynomial: int, width: int, reflect: bool) -> tuple[int, ...]:
    top, mask = 1 << width - 1, (1 << width) - 1
    backward = reflected(polynomial, width)
    table = []
    for byte in range(256):
        value = byte if reflect else byte << width - 8
        for _ in range(8):
            if reflect:
                value = value >> 1 ^ (backward if value & 1 else 0)
            else:
                value = (value << 1 ^ (polynomial if value & top else 0)) & mask
        table.append(value)
    return tuple(table)


def crc(data: bytes, polynomial: int, width: int, register: int = 0, *, reflect: bool = False) -> int:
    """The register after ``data``. ``reflect``: bit 0 of each byte comes first, and the register is mirrored."""
    function = _compiled(polynomial, width, reflect)
    if function is None:
        return by_table(data, polynomial, width, register, reflect=reflect)
    return function(data, register)


@cache
def _compiled(polynomial: int, width: int, reflect: bool) -> Callable[[bytes, int], int] | None:
    """The library's function of data and register; None without it, or where it has none of this width."""
    try:
        from crcmod import mkCrcFun
    except ImportError:
        return None
    if width not in (8, 16, 24, 32, 64):
        return None
    made: Callable[[bytes, int], int] = mkCrcFun(1 << width | polynomial, initCrc=0, rev=reflect, xorOut=0)
    return made


def by_table(data: bytes, polynomial: int, width: int, register: int = 0, *, reflect: bool = False) -> int:
    """As ``crc``, without a library."""
    table = _table(polynomial, width, reflect)
    if reflect:
        for byte in data:
            register = table[(register ^ byte) & 0xFF] ^ register >> 8
        return register
    shift, mask = width - 8, (1 << width) - 1
    for byte in data:
        register = table[register >> shift ^ byte] ^ register << 8 & mask
    return register
