# SPDX-License-Identifier: Apache-2.0
"""The elements of a linked list, 24 bytes each: data to move, or a link to where the list goes on.

Layout: Linux struct dw_edma_v0_lli, dw_edma_v0_llp and their HDMA twins. An element is consumed while its cycle bit
equals the channel's; a link with ``TOGGLE`` flips the channel's.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from vfio_ims.errors import UsageError
from vfio_ims.native.access import scatter

__all__ = ["CYCLE", "ELEMENT", "ELEMENT_SIZE", "LINK", "LOCAL", "REMOTE", "TOGGLE", "Element", "Elements", "link"]

CYCLE, TOGGLE, LINK, LOCAL, REMOTE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4
"""Control bits; ``LOCAL`` and ``REMOTE`` ask for an interrupt when the element is done."""

ELEMENT = Struct("<IIQQ")
ELEMENT_SIZE = ELEMENT.size
_WORDS = ELEMENT_SIZE // 8
_LENGTH, _SOURCE, _TARGET = 4, 8, 16  # where they are in an element


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
    """``count`` data elements ready to be stored, made from columns by a few compiled copies: no loop in Python.

    ``sources``, ``targets``: addresses, arrays of native uint64; ``sizes``: bytes, an array of native uint32, or one
    number for all. Controls are put in where the elements are stored, since cycle bits depend on the place.
    """

    def __init__(self, sources: Sequence[int], targets: Sequence[int], sizes: Sequence[int] | int) -> None:
        columns = [_column(sources, "Q"), _column(targets, "Q")]
        self.count = count = len(columns[0])
        lengths = None if isinstance(sizes, int) else _column(sizes, "I")
        same = _size(sizes) if isinstance(sizes, int) else 0
        if not count or len(columns[1]) != count or (lengths is not None and len(lengths) != count):
            given = f"{count} sources, {len(columns[1])} targets, {count if lengths is None else len(lengths)} sizes"
            raise UsageError("make a list", why=f"there must be as many of each, and one at least, not {given}")
        self.words = array("Q", ELEMENT.pack(CYCLE, same, 0, 0)) * count
        scatter(self.words, _SOURCE, ELEMENT_SIZE, columns[0], 8)
        scatter(self.words, _TARGET, ELEMENT_SIZE, columns[1], 8)
        if lengths is not None and scatter(self.words, _LENGTH, ELEMENT_SIZE, lengths, 4):
            raise UsageError("make a list", why="a size must be 1 byte or more, not 0")
        self._view = memoryview(self.words)
        self._controls = self._view.cast("B").cast("I")
        self._cycle, self._marked = True, False  # what the controls hold: one cycle bit in all, interrupt bits in some

    def stored(self, first: int, count: int, cycle: bool, interrupt: int) -> memoryview:
        """``count`` of them from ``first``: with the ``cycle`` bit, and ``interrupt`` bits in the last.

        As native uint64. Valid until this is asked again.
        """
        controls, stride, last = self._controls, 2 * _WORDS, first + count - 1
        if cycle is not self._cycle or self._marked:
            controls[::stride] = memoryview(array("I", [CYCLE if cycle else 0]) * self.count)
            self._cycle, self._marked = cycle, False
        if interrupt:
            controls[last * stride] |= interrupt
            self._marked = True
        return self._view[first * _WORDS : (first + count) * _WORDS]


def _size(value: int) -> int:
    if not 1 <= value < 1 << 32:
        raise UsageError("make a list", why=f"a size must be 1 byte or more and fit 32 bits, not {value!r}")
    return value


def _column(values: Sequence[int], code: str) -> array[int]:
    if isinstance(values, array) and values.typecode == code:
        return values
    try:
        return array(code, values)
    except (TypeError, OverflowError) as error:
        why = f"a column must be numbers of {64 if code == 'Q' else 32} bits, not {values!r}: {error}"
        raise UsageError("make a list", why=why) from error
