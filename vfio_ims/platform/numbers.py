# SPDX-License-Identifier: Apache-2.0
"""Which numbers of a table are handed out: the lowest free one first, a block aligned to its power of two."""

from __future__ import annotations

__all__ = ["Numbers"]


class Numbers:
    """``size`` numbers from ``first`` on."""

    def __init__(self, size: int, first: int = 0) -> None:
        self.size, self._first = size, first
        self._used = bytearray(size)

    @property
    def used(self) -> int:
        return sum(self._used)

    def take(self, width: int = 1) -> int | None:
        """The first of ``width`` numbers, a power of two, in a row; None where there is no such row left."""
        at = self._used.find(bytes(width))
        while at >= 0 and at % width:
            at = self._used.find(bytes(width), at + width - at % width)
        if at < 0:
            return None
        self._used[at : at + width] = b"\1" * width
        return at + self._first

    def give(self, number: int) -> None:
        """Anyone may get this number from now on."""
        self._used[number - self._first] = 0
