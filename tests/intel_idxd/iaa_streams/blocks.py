# SPDX-License-Identifier: Apache-2.0
"""DEFLATE's blocks by hand, bit for bit."""

from __future__ import annotations


def bits_of(text: str) -> bytes:
    """Bits in the order in which they are read."""
    text = text.replace(" ", "")
    text += "0" * (-len(text) % 8)
    return bytes(int(text[at : at + 8][::-1], 2) for at in range(0, len(text), 8))


def number(value: int, width: int) -> str:
    return f"{value:0{width}b}"[::-1]


def dynamic(literals: int, distances: int, lengths: dict[int, int], rest: str = "") -> bytes:
    """A header with these lengths of the codes for code lengths."""
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
    head = number(0b101, 3) + number(literals - 257, 5) + number(distances - 1, 5) + number(15, 4)
    return bits_of(head + "".join(number(lengths.get(one, 0), 3) for one in order) + rest)
