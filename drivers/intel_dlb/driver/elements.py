# SPDX-License-Identifier: Apache-2.0
"""Many elements at once: as columns on the way in, as the entries of a consumer queue on the way out."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from typing import Any, Literal, overload

from vfio_ims.counted import counted
from vfio_ims.errors import UsageError
from vfio_ims.native.access import scatter
from vfio_ims.native.lib import CData, native
from vfio_ims.native.whole_numbers import view_of_numbers

from ..hardware.elements import ELEMENT_SIZE, FLOW_BYTE, PER_STORE, Element

__all__ = ["NOTHING", "Elements", "column", "lines"]


class Elements(Sequence[Element]):
    """What was dequeued in one call, in order.

    ``memory``: bytes or a C array that begin with ``length`` entries. ``directed``: the queue of a directed port.
    """

    __slots__ = ("directed", "length", "memory")

    def __init__(self, memory: bytes | CData, length: int, directed: int | None = None) -> None:
        self.memory, self.length, self.directed = memory, length, directed

    def __len__(self) -> int:
        return self.length

    @property
    def view(self) -> memoryview:
        """The entries, 16 bytes each."""
        memory: Any = self.memory
        whole = memory if isinstance(memory, bytes) else native().ffi.buffer(memory)
        return memoryview(whole)[: ELEMENT_SIZE * self.length].toreadonly()

    @property
    def raw(self) -> bytes:
        """A copy of the entries, 16 bytes each."""
        return self.view.tobytes()

    @overload
    def __getitem__(self, index: int) -> Element: ...
    @overload
    def __getitem__(self, index: slice) -> list[Element]: ...
    def __getitem__(self, index: int | slice) -> Element | list[Element]:
        view = self.view
        if isinstance(index, slice):
            return [self._at(view, number) for number in range(self.length)[index]]
        return self._at(view, range(self.length)[index])

    def _at(self, view: memoryview, number: int) -> Element:
        return Element.unpack(view[ELEMENT_SIZE * number : ELEMENT_SIZE * (number + 1)], self.directed)

    def __iter__(self) -> Iterator[Element]:
        view = self.view
        return (self._at(view, number) for number in range(self.length))

    @property
    def data(self) -> memoryview:
        """The column of their 64 bits of data, a part of ``view``."""
        return self.view.cast("Q")[::2]

    @property
    def flows(self) -> memoryview:
        """The column of their flows, a part of ``view``."""
        return self.view.cast("H")[6 if self.directed is None else 5 :: 8]

    @property
    def queues(self) -> memoryview:
        """The column of the queues that they came from; a part of ``view`` where that tells."""
        if self.directed is not None:
            return memoryview(bytes((self.directed,)) * len(self))
        return self.view[10::ELEMENT_SIZE]

    def __repr__(self) -> str:
        return f"<{counted(len(self), 'element')}>"


NOTHING = Elements(b"", 0)


def column(name: str, code: Literal["Q", "H"], values: Any) -> array[int] | memoryview:
    """``values``, numbers or a buffer, as a column of 64 or 16 bits in one piece. UsageError where they are none."""
    if type(values) is array and values.typecode == code:
        return values
    width = 8 if code == "Q" else 2
    try:
        if isinstance(values, (list, tuple, range)):
            return array(code, values)
        try:
            view = view_of_numbers(values, width)
        except TypeError as error:
            raise TypeError(f"not {error}") from None
        whole = view.cast("B") if view.c_contiguous else memoryview(view.tobytes())
        return whole.cast(code)
    except (TypeError, OverflowError, ValueError) as error:
        why = f"{name} must be numbers of {8 * width} bits, or a buffer of them: {error}"
        raise UsageError("enqueue elements", why=why) from None


def lines(second: int, data: array[int] | memoryview, flows: array[int] | memoryview | None) -> bytearray:
    """The 64-byte stores that enqueue ``data``: four elements each, the last one filled up with nothing.

    ``second``: the second word of all, with the ``flows`` beside it.
    """
    count = len(data)
    made = bytearray(bytes(8) + second.to_bytes(8, "little")) * count + bytes(-count % PER_STORE * ELEMENT_SIZE)
    scatter(made, 0, ELEMENT_SIZE, data, 8)
    if flows is not None:
        scatter(made, FLOW_BYTE, ELEMENT_SIZE, flows, 2)
    return made
