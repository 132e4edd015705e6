# SPDX-License-Identifier: Apache-2.0
"""A flattened device tree with one property changed (Devicetree Specification, chapter 5)."""

from __future__ import annotations

import struct

__all__ = ["get", "put"]

BEGIN_NODE, END_NODE, PROP, NOP, END = 1, 2, 3, 4, 9
HEADER = struct.Struct(">10I")
MAGIC = 0xD00DFEED


def get(tree: bytes, name: str) -> tuple[int, ...]:
    """The 32-bit cells of the only property of this name."""
    start, length = _find(tree, name)
    return struct.unpack_from(f">{length // 4}I", tree, start + 12)


def put(tree: bytes, name: str, cells: tuple[int, ...]) -> bytes:
    """The tree with other cells for it."""
    start, length = _find(tree, name)
    end = start + 12 + _padded(length)
    (at,) = struct.unpack_from(">I", tree, start + 8)
    changed = struct.pack(f">III{len(cells)}I", PROP, 4 * len(cells), at, *cells)
    magic, _, structure, strings, reserved, *versions, string_size, structure_size = HEADER.unpack_from(tree)
    if not reserved < structure < strings or magic != MAGIC:
        raise ValueError("a device tree must begin with its reservations, then its structure, then its strings")
    more = len(changed) - (end - start)
    used = strings + string_size  # QEMU leaves a megabyte of room behind it, and adds as much when it loads the file
    header = HEADER.pack(
        magic, used + more, structure, strings + more, reserved, *versions, string_size, structure_size + more
    )
    return header + tree[HEADER.size : start] + changed + tree[end:used]


def _find(tree: bytes, name: str) -> tuple[int, int]:
    """Where its token is, and how long its value."""
    _, _, at, strings, *_ = HEADER.unpack_from(tree)
    found = []
    while (token := struct.unpack_from(">I", tree, at)[0]) != END:
        if token == BEGIN_NODE:
            at += 4 + _padded(tree.index(b"\0", at + 4) + 1 - (at + 4))
        elif token == PROP:
            length, named = struct.unpack_from(">II", tree, at + 4)
            start = strings + named
            if tree[start : tree.index(b"\0", start)].decode() == name:
                found.append((at, length))
            at += 12 + _padded(length)
        else:
            at += 4
    if len(found) != 1:
        raise ValueError(f"the device tree has {len(found)} properties of the name {name}, not one")
    return found[0]


def _padded(length: int) -> int:
    return -(-length // 4) * 4
