# SPDX-License-Identifier: Apache-2.0
"""Damage for what is well formed, and numbers that tend to be wrong."""

from __future__ import annotations

import random
from typing import Any

__all__ = ["damaged", "damaged_tree", "number"]

_EDGES = [0, 1, 2, 3, 4, 7, 8, 16, 20, 32, 63, 64, 65, 255, 256, 4095, 4096, 4097, 0x10000, 0xFEE00000, (1 << 31) - 1]
_EDGES += [1 << 31, (1 << 32) - 1, 1 << 32, (1 << 63) - 1, 1 << 63, (1 << 64) - 4096, (1 << 64) - 1]
_STRANGE: list[Any] = [
    None,
    True,
    -1,
    0,
    1 << 70,
    1e308,
    "",
    "a",
    "\x1b[2J",
    "../..",
    "/etc//x",
    "0" * 400,
    [],
    {},
    [[]],
]


def number(random: random.Random, bits: int) -> int:
    """Any number of so many bits, with a taste for the edges."""
    value = random.choice(_EDGES) if random.random() < 0.7 else random.getrandbits(bits)
    return (value + random.choice((0, 0, 0, -1, 1))) & (1 << bits) - 1


def damaged(random: random.Random, data: bytes) -> bytes:
    """Some bytes changed, cut out, doubled or added."""
    out = bytearray(data)
    for _ in range(random.randrange(1, 6)):
        at, size = random.randrange(len(out) + 1), random.randrange(9)
        match random.randrange(5):
            case 0 | 1 if at < len(out):
                out[at] = random.choice((0, 0xFF, random.randrange(256)))
            case 2:
                del out[at : at + size]
            case 3:
                out[at:at] = random.randbytes(size)
            case _:
                out[at:at] = out[at : at + 4 * size]
    return bytes(out)


def damaged_tree(random: random.Random, value: Any) -> Any:
    """A copy of JSON's values with one of them changed, removed, renamed, or buried in lists."""
    if random.random() < 0.15 or not isinstance(value, (dict, list)) or not value:
        strange = random.choice(_STRANGE)
        return [[[value]]] if random.random() < 0.1 else strange
    if isinstance(value, list):
        at = random.randrange(len(value))
        return [*value[:at], damaged_tree(random, value[at]), *value[at + 1 :]]
    key = random.choice(list(value))
    copy = dict(value)
    match random.randrange(8):
        case 0:
            del copy[key]
        case 1:
            copy[damaged(random, str(key).encode()).decode("latin-1")] = copy.pop(key)
        case _:
            copy[key] = damaged_tree(random, value[key])
    return copy
