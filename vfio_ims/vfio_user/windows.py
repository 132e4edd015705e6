# SPDX-License-Identifier: Apache-2.0
"""A sorted map of address windows, for hundreds of thousands of them: 32 bytes each, found by bisection. Pure."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Window", "WindowMap"]

_CHUNK = 1024


class Window(NamedTuple):
    """``size`` bytes at ``start``, which are those at ``offset`` in the file that ``tag`` stands for."""

    start: int
    size: int
    offset: int
    tag: int

    @property
    def end(self) -> int:
        return self.start + self.size


class _Chunk:
    """Up to 2 * _CHUNK windows, ascending, column by column."""

    __slots__ = ("offsets", "sizes", "starts", "tags")

    def __init__(self) -> None:
        self.starts, self.sizes, self.offsets, self.tags = array("Q"), array("Q"), array("Q"), array("Q")

    def columns(self) -> tuple[array[int], array[int], array[int], array[int]]:
        return self.starts, self.sizes, self.offsets, self.tags

    def window(self, at: int) -> Window:
        return Window(self.starts[at], self.sizes[at], self.offsets[at], self.tags[at])

    def split(self) -> _Chunk:
        upper = _Chunk()
        for mine, others in zip(self.columns(), upper.columns(), strict=True):
            others.extend(mine[_CHUNK:])
            del mine[_CHUNK:]
        return upper


class WindowMap:
    """Windows that do not overlap. Not safe for threads: the owner has a lock."""

    def __init__(self) -> None:
        self._chunks: list[_Chunk] = []
        self._firsts: list[int] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Window]:
        for chunk in self._chunks:
            for at in range(len(chunk.starts)):
                yield chunk.window(at)

    def find(self, address: int) -> Window | None:
        """The window that holds ``address``."""
        number = bisect_right(self._firsts, address) - 1
        if number < 0:
            return None
        chunk = self._chunks[number]
        at = bisect_right(chunk.starts, address) - 1
        return chunk.window(at) if address - chunk.starts[at] < chunk.sizes[at] else None

    def after(self, address: int) -> Window | None:
        """The first window that starts at ``address`` or above."""
        number = max(bisect_right(self._firsts, address) - 1, 0)
        for chunk in self._chunks[number : number + 2]:
            at = bisect_left(chunk.starts, address)
            if at < len(chunk.starts):
                return chunk.window(at)
        return None

    def meets(self, start: int, size: int) -> bool:
        """Whether a window has a byte in ``[start, start + size)``."""
        if self.find(start) is not None:
            return True
        above = self.after(start)
        return above is not None and above.start < start + size

    def add(self, window: Window) -> None:
        """``window`` meets no other: the caller has looked."""
        number = max(bisect_right(self._firsts, window.start) - 1, 0)
        if not self._chunks:
            self._chunks.append(_Chunk())
            self._firsts.append(window.start)
        chunk = self._chunks[number]
        at = bisect_left(chunk.starts, window.start)
        for column, value in zip(chunk.columns(), window, strict=True):
            column.insert(at, value)
        self._firsts[number] = chunk.starts[0]
        self._count += 1
        if len(chunk.starts) >= 2 * _CHUNK:
            upper = chunk.split()
            self._chunks.insert(number + 1, upper)
            self._firsts.insert(number + 1, upper.starts[0])

    def remove(self, start: int, size: int) -> list[Window] | None:
        """Take out the windows within ``[start, start + size)``. None, and nothing done, where the range cuts one."""
        end = start + size
        for edge in (start, end - 1):
            window = self.find(edge)
            if window is not None and (window.start < start or window.end > end):
                return None
        gone: list[Window] = []
        number = max(bisect_right(self._firsts, start) - 1, 0)
        while number < len(self._chunks) and self._firsts[number] < end:
            chunk = self._chunks[number]
            first, last = bisect_left(chunk.starts, start), bisect_left(chunk.starts, end)
            gone += [chunk.window(at) for at in range(first, last)]
            for column in chunk.columns():
                del column[first:last]
            if chunk.starts:
                self._firsts[number] = chunk.starts[0]
                number += 1
            else:
                del self._chunks[number], self._firsts[number]
        self._count -= len(gone)
        return gone

    def clear(self) -> None:
        self._chunks.clear()
        self._firsts.clear()
        self._count = 0
