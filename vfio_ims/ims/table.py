# SPDX-License-Identifier: Apache-2.0
"""What the domain asks of a slot table, wherever the vendor keeps it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from vfio_ims.messages import MessageLimits, Slot

__all__ = ["ImsTable", "drop_pending", "limits_at", "table_fault", "write_controls"]


class ImsTable(Protocol):
    """A table of ``size`` slots. Control words are written whole: mask changes go through the domain's record.

    Every method reaches the device. An index outside the table raises UsageError. ``SlotArray`` is this for a plain
    array of entries; a table behind a command or in queue memory implements it itself.
    """

    @property
    def size(self) -> int:
        """How many slots the device has in it. Never changes while the table is in use."""
        ...

    @property
    def limits(self) -> MessageLimits:
        """What an entry keeps of a message: donors are chosen by it."""
        ...

    @property
    def has_mask(self) -> bool:
        """Whether an entry can hold messages back. Without it, what silences a slot is ``Driver.quiesce``."""
        ...

    @property
    def has_pending(self) -> bool:
        """Whether an entry shows that it holds an interrupt back."""
        ...

    @property
    def has_pasid(self) -> bool:
        """Whether an entry says whose work may raise it."""
        ...

    def read(self, index: int) -> Slot:
        """The entry as the device has it."""
        ...

    def read_many(self, indices: Sequence[int]) -> list[Slot]:
        """``read`` of each, in one compiled call where the table allows it."""
        ...

    def write(self, index: int, slot: Slot) -> None:
        """The whole entry: masked first, then the message, ``slot``'s own mask last; flushed when it returns."""
        ...

    def write_control(self, index: int, slot: Slot) -> None:
        """Only mask and PASID of ``slot``; flushed when it returns."""
        ...

    def write_many(self, slots: Iterable[tuple[int, Slot]]) -> None:
        """``write`` for each, in one compiled call where the table allows it."""
        ...

    def write_pattern(self, indices: Sequence[int], pattern: Sequence[Slot]) -> None:
        """``write`` of ``pattern[n % len(pattern)]`` to the n-th index: many slots, few different values."""
        ...

    def pending(self, index: int) -> bool:
        """Whether an interrupt is held back in the entry. False where the table has no such bit."""
        ...

    def pending_among(self, indices: Sequence[int]) -> list[int]:
        """Those of ``indices`` with a pending interrupt."""
        ...


def drop_pending(table: ImsTable, indices: Sequence[int]) -> list[int]:
    """Have ``table`` drop what ``indices`` hold back, where it can; returns those that hold it still.

    A table may have a method ``drop_pending(indices)`` that answers the same. Without it nothing is dropped.
    """
    drop = getattr(table, "drop_pending", None)
    return list(indices) if drop is None else drop(indices)


def write_controls(table: ImsTable, indices: Sequence[int], slots: Sequence[Slot]) -> None:
    """``table.write_control`` of the n-th of ``slots`` to the n-th index; flushed when it returns.

    A table may have a method ``write_controls(indices, slots)`` that does so in one compiled call. Without it the
    entries are written whole.
    """
    own: Callable[[Sequence[int], Sequence[Slot]], None] = getattr(table, "write_controls", table.write_pattern)
    own(indices, slots)


def limits_at(table: ImsTable, index: int) -> MessageLimits:
    """What entry ``index`` keeps: the table's ``limits``, or what its method ``limits_at(index)`` says.

    A table of unlike parts has that method: its ``limits`` are what all of them keep.
    """
    own: Callable[[int], MessageLimits] | None = getattr(table, "limits_at", None)
    return table.limits if own is None else own(index)


def table_fault(table: object) -> str:
    """Why ``table`` is no ``ImsTable``, for its author; "" where it has all of one."""
    missing = [name for name in vars(ImsTable) if not name.startswith("_") and not hasattr(table, name)]
    return f"which is no ImsTable: it has no {', '.join(missing)}" if missing else ""
