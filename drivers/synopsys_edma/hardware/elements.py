# SPDX-License-Identifier: Apache-2.0
"""The elements of a linked list, 24 bytes each: data to move, or a link to where the list goes on.

Layout: Linux struct dw_edma_v0_lli, dw_edma_v0_llp and their HDMA twins. An element is consumed while its cycle bit
equals the channel's; a link with ``TOGGLE`` flips the channel's.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from functools import lru_cache
from struct import Struct
from typing import NamedTuple, TypeAlias

from vfio_ims.errors import UsageError
from vfio_ims.native.access import scatter
from vfio_ims.native.lib import calls

__all__ = ["CYCLE", "ELEMENT", "ELEMENT_SIZE", "LINK", "LOCAL", "REMOTE", "TOGGLE", "Element", "Elements", "link"]

CYCLE, TOGGLE, LINK, LOCAL, REMOTE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4
"""Control bits; ``LOCAL`` and ``REMOTE`` ask for an interrupt when the element is done."""

ELEMENT = Struct("<IIQQ")
ELEMENT_SIZE = ELEMENT.size
_WORDS = ELEMENT_SIZE // 8
_LENGTH, _SOURCE, _TARGET = 4, 8, 16  # where they are in an element

StoreList: TypeAlias = "Callable[[int, bytes, bytes, int, int, int, tuple[array[int], ...]], bool]"
"""A window's ``store_list``."""


class Element(NamedTuple):
    """One element as the engine reads it. A link's ``source`` is where the list goes on."""

    control: int
    size: int
    source: int
    target: int


def link(to: int, cycle: bool) -> bytes:
    """A link to address ``to`` that flips the channel's cycle."""
    return ELEMENT.pack(LINK | TOGGLE | cycle, 0, to, 0)


class Elements:
    """``count`` data elements ready to be stored: copies of columns, checked. No loop in Python.

    ``sources``, ``targets``: addresses, arrays of native uint64; ``sizes``: bytes, an array of native uint32, or one
    number for all. Controls are put in where the elements are stored, since cycle bits depend on the place.
    """

    __slots__ = ("_columns", "_laid", "_patterns", "_places", "count")

    def __init__(self, sources: Sequence[int], targets: Sequence[int], sizes: Sequence[int] | int) -> None:
        columns: tuple[array[int], ...] = (_column(sources, "Q"), _column(targets, "Q"))
        self.count = count = len(columns[0])
        if isinstance(sizes, int):
            self._patterns, self._places = _patterns(sizes), _SAME
        else:
            self._patterns, self._places = _OWN
            columns = (*columns, _column(sizes, "I"))
        self._columns = columns
        if not count or len(columns[1]) != count or len(columns[-1]) != count:
            given = [len(column) for column in columns] + [count]
            why = "there must be as many of each, and one at least, not {} sources, {} targets, {} sizes"
            raise UsageError("make a list", why=why.format(*given))
        if self._places is not _SAME and calls().lacks(columns[-1]):
            raise UsageError("make a list", why="a size must be 1 byte or more, not 0")
        self._laid: array[int] | None = None
        """All, as they are stored but for their controls; None until they are asked for."""

    def store_by(self, store: StoreList, at: int, first: int, count: int, cycle: bool, interrupt: int) -> bool:
        """Have ``store``, a window's ``store_list``, store what ``stored`` gives at ``at``; whether it did.

        Args:
            store: the window's.
            at: the offset of the first in its BAR.
            first: the number of that.
            count: of elements.
            cycle: their cycle bit.
            interrupt: control bits of the last.
        """
        return store(at, self._patterns[cycle], self._places, first, count, interrupt, self._columns)

    def stored(self, first: int, count: int, cycle: bool, interrupt: int) -> array[int]:
        """``count`` of them from ``first``: with the ``cycle`` bit, and ``interrupt`` bits in the last.

        As native uint64.
        """
        laid = self._laid
        if laid is None:
            laid = array("Q", self._patterns[False]) * self.count
            for column, at, width in zip(self._columns, self._places[::2], self._places[1::2], strict=True):
                scatter(laid, at, ELEMENT_SIZE, column, width)
            self._laid = laid
        found = laid[first * _WORDS : (first + count) * _WORDS]
        if cycle:
            memoryview(found).cast("B")[::ELEMENT_SIZE] = bytes((CYCLE,)) * count
        found[-_WORDS] |= interrupt
        return found


@lru_cache(maxsize=64)
def _patterns(size: int) -> tuple[bytes, bytes]:
    """What elements of ``size`` bytes have in common, without the cycle bit and with it."""
    return ELEMENT.pack(0, _size(size), 0, 0), ELEMENT.pack(CYCLE, size, 0, 0)


_SAME = bytes((_SOURCE, 8, _TARGET, 8))
"""Place and width of each column of elements of the same size."""
_OWN = (ELEMENT.pack(0, 0, 0, 0), ELEMENT.pack(CYCLE, 0, 0, 0)), bytes((*_SAME, _LENGTH, 4))
"""Patterns, and the columns, of elements that have a size each."""


def _size(value: int) -> int:
    if not 1 <= value < 1 << 32:
        raise UsageError("make a list", why=f"a size must be 1 byte or more and fit 32 bits, not {value!r}")
    return value


def _column(values: Sequence[int], code: str) -> array[int]:
    if isinstance(values, array) and values.typecode == code:
        return values[:]
    try:
        return array(code, values)
    except (TypeError, OverflowError) as error:
        why = f"a column must be numbers of {64 if code == 'Q' else 32} bits, not {values!r}: {error}"
        raise UsageError("make a list", why=why) from error
