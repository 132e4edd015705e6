# SPDX-License-Identifier: Apache-2.0
"""Many elements at once: as columns on the way in, as the entries of a consumer queue on the way out."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from vfio_ims.counted import counted
from vfio_ims.errors import UsageError
from vfio_ims.native.access import scatter

from ..hardware.elements import ELEMENT_SIZE, PER_STORE, Element, pack

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["Elements", "lines"]

_FLOW = 12  # where an element has it


class Elements(Sequence[Element]):
    """What was dequeued in one call, in order. ``raw``: 16 bytes each. ``directed``: the queue of a directed port."""

    __slots__ = ("_directed", "raw")

    def __init__(self, raw: bytes, directed: int | None = None) -> None:
        self.raw, self._directed = raw, directed

    def __len__(self) -> int:
        return len(self.raw) // ELEMENT_SIZE

    @overload
    def __getitem__(self, index: int) -> Element: ...
    @overload
    def __getitem__(self, index: slice) -> list[Element]: ...
    def __getitem__(self, index: int | slice) -> Element | list[Element]:
        if isinstance(index, slice):
            return [self[number] for number in range(len(self))[index]]
        number = range(len(self))[index]
        return Element.unpack(self.raw[ELEMENT_SIZE * number : ELEMENT_SIZE * (number + 1)], self._directed)

    def __iter__(self) -> Iterator[Element]:
        return (self[number] for number in range(len(self)))

    @property
    def data(self) -> memoryview:
        """The column of their 64 bits of data, a view of ``raw``."""
        return memoryview(self.raw).cast("Q")[::2]

    @property
    def flows(self) -> memoryview:
        """The column of their flows, a view of ``raw``."""
        return memoryview(self.raw).cast("H")[6 if self._directed is None else 5 :: 8]

    @property
    def queues(self) -> memoryview:
        """The column of the queues that they came from; a view of ``raw`` where that tells."""
        if self._directed is not None:
            return memoryview(bytes((self._directed,)) * len(self))
        return memoryview(self.raw)[10::ELEMENT_SIZE]

    def __repr__(self) -> str:
        return f"<{counted(len(self), 'element')}>"


def _column(name: str, code: Literal["Q", "H"], values: Any) -> memoryview:
    """``values``, numbers or a buffer, as a column of 64 or 16 bits."""
    try:
        view = memoryview(array(code, values) if isinstance(values, (list, tuple, range)) else values)
        return view if view.format == code else view.cast("B").cast(code)
    except (TypeError, OverflowError, ValueError) as error:
        bits = 64 if code == "Q" else 16
        why = f"{name} must be numbers of {bits} bits, or a buffer of them: {error}"
        raise UsageError("enqueue elements", why=why) from None


def lines(
    command: int,
    queue: int,
    kind: int,
    data: Sequence[int] | ReadableBuffer,
    flows: Sequence[int] | ReadableBuffer | int,
    priority: int,
) -> tuple[int, bytearray]:
    """How many elements, and the 64-byte stores that enqueue them: four each, the last one filled up with nothing.

    ``flows``: one for all, or as many as there are ``data``.
    """
    column = _column("data", "Q", data)
    count = len(column)
    one = flows if isinstance(flows, int) else 0
    made = bytearray(pack(command, 0, queue, kind, priority=priority, flow=one)) * count
    made += bytes(-count % PER_STORE * ELEMENT_SIZE)
    scatter(made, 0, ELEMENT_SIZE, column, 8)
    if not isinstance(flows, int):
        given = _column("flows", "H", flows)
        if len(given) != count:
            why = f"flows must be one for each of {counted(count, 'element')}, not {len(given)}"
            raise UsageError("enqueue elements", why=why)
        scatter(made, _FLOW, ELEMENT_SIZE, given, 2)
    return count, made
