# SPDX-License-Identifier: Apache-2.0
"""Where rows of 64 bytes differ from one another: columns of values and counters, for ``store_rows``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.errors import UsageError
from vfio_ims.native.lib import CData, native

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["RowColumns"]

_MOST = 16


class RowColumns:
    """Columns of ``values`` and of ``counters``: each an offset in the row and a width of 1, 2, 4 or 8 bytes.

    Made once and filled for each call, since making it costs as much as storing a hundred rows: one user at a time.
    """

    __slots__ = ("_counters", "_from_buffer", "_held", "_values", "following", "size", "table")

    def __init__(self, values: Sequence[tuple[int, int]], counters: Sequence[tuple[int, int]] = ()) -> None:
        ffi, _ = native()
        places = [*values, *counters]
        taken = [byte for at, width in places for byte in range(at, at + width)]
        fits = all(width in (1, 2, 4, 8) and at % width == 0 and 0 <= at < 64 for at, width in places)
        if not fits or len(places) > _MOST or len(taken) > len(set(taken)):
            why = f"at most {_MOST} columns of 1, 2, 4 or 8 aligned bytes, none over another, not {places}"
            raise UsageError("lay out rows", why=why)
        self.table: CData = ffi.new("struct row_column[]", [(ffi.NULL, 0, 0, at, width) for at, width in places])
        self.following: CData = ffi.new("uint64_t *")
        self.size = len(places)
        self._values = [(self.table[number], width) for number, (_, width) in enumerate(values)]
        self._counters = [self.table[number] for number in range(len(values), self.size)]
        self._from_buffer = ffi.from_buffer
        self._held: list[CData] = []

    def fill(self, count: int, values: Sequence[ReadableBuffer]) -> None:
        """Read the columns of values from buffers of ``count`` values each, which are held until ``release``."""
        held = self._held
        for (column, width), buffer in zip(self._values, values, strict=True):
            data = self._from_buffer(buffer)
            if len(data) != width * count:
                self.release()
                kind, found = f"a column of {counted(width, 'byte')}", counted(len(data), "byte")
                why = f"{kind} must hold {counted(count, 'value')}, as the others, not {found}"
                raise UsageError("lay out rows", why=why)
            column.data = data
            held.append(data)

    def count_up(self, number: int, first: int, step: int) -> None:
        """Counter ``number`` holds ``first``, ``first + step`` and so on: their low bytes."""
        column = self._counters[number]
        column.first, column.step = first, step

    def row(self, number: int) -> Iterator[tuple[int, bytes]]:
        """What row ``number`` has in its columns: each one's offset and bytes."""
        ffi = native().ffi
        for (column, width), data in zip(self._values, self._held, strict=True):
            yield column.at, ffi.buffer(data)[number * width : (number + 1) * width]
        for column in self._counters:
            value = column.first + number * column.step & (1 << 8 * column.width) - 1
            yield column.at, value.to_bytes(column.width, "little")

    @property
    def filled(self) -> bool:
        """Whether each column of values has its buffer."""
        return len(self._held) == len(self._values)

    @property
    def holds(self) -> bool:
        """Whether it has any buffer."""
        return bool(self._held)

    def release(self) -> None:
        """Let go of the buffers."""
        self._held.clear()
