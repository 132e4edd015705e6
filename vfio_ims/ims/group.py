# SPDX-License-Identifier: Apache-2.0
"""Several slots allocated together, all or none."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self, overload

from vfio_ims.counted import counted
from vfio_ims.ims.slot_owner import SlotOwner
from vfio_ims.lifetime import leaving

if TYPE_CHECKING:
    from vfio_ims.ims.interrupt import ImsInterrupt

__all__ = ["ImsGroup"]


class GroupOwner(SlotOwner, Protocol):
    """What a group asks of its domain beyond what single slots do."""

    def interrupt(self, slot: int) -> ImsInterrupt:
        """The interrupt of an allocated slot."""
        ...

    def interrupts(self, slots: Sequence[int]) -> list[ImsInterrupt]:
        """The interrupts of allocated slots."""
        ...

    def set_all_masked(self, slots: Sequence[int], masked: bool) -> None:
        """Mask or unmask every one of ``slots``, in one compiled call."""
        ...


class ImsGroup(Sequence["ImsInterrupt"]):
    """A sequence of interrupts, each made when it is first asked for. Closing it closes them all."""

    def __init__(self, domain: GroupOwner, slots: Sequence[int]) -> None:
        self.domain, self.slots = domain, slots

    def __len__(self) -> int:
        return len(self.slots)

    @overload
    def __getitem__(self, index: int) -> ImsInterrupt: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[ImsInterrupt]: ...
    def __getitem__(self, index: int | slice) -> ImsInterrupt | Sequence[ImsInterrupt]:
        if isinstance(index, slice):
            return self.domain.interrupts(self.slots[index])
        return self.domain.interrupt(self.slots[index])

    def __iter__(self) -> Iterator[ImsInterrupt]:
        return (self.domain.interrupt(slot) for slot in self.slots)

    def mask(self) -> None:
        """Mask every slot, in one compiled call."""
        self.domain.set_all_masked(self.slots, True)

    def unmask(self) -> None:
        """Unmask every slot, in one compiled call."""
        self.domain.set_all_masked(self.slots, False)

    def close(self) -> None:
        """Quiesce the slots that are still open and give them back."""
        slots, self.slots = self.slots, ()
        self.domain.release(slots, "its group")

    def __enter__(self) -> Self:
        self.domain.check_open("use a group of slots")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leaving(error)
        self.close()

    def __repr__(self) -> str:
        return f"<ImsGroup of {counted(len(self.slots), 'slot')} of {self.domain.label}>"
