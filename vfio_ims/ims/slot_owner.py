# SPDX-License-Identifier: Apache-2.0
"""What the handle of an allocated slot asks of the domain that the slot belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vfio_ims.ims.donors import Donor
    from vfio_ims.interrupts import Wakeup
    from vfio_ims.messages import Message

__all__ = ["SlotOwner"]


class SlotOwner(Protocol):
    """The narrow view of a domain that interrupts, polled slots and groups hold. ``ImsDomain`` is one."""

    label: str

    @property
    def usable(self) -> bool:
        """Whether ``check_open`` would raise nothing."""
        ...

    @property
    def settle(self) -> float:
        """Seconds after which an interrupt that has not arrived on this mount will not."""
        ...

    def check_open(self, operation: str) -> None:
        """Raise ClosedError where the domain is closed, or belongs to another process."""
        ...

    def donor_of(self, slot: int) -> Donor:
        """The donor that the slot copies; UsageError where it copies none."""
        ...

    def message_of(self, slot: int) -> Message | None:
        """The message that the slot holds instead of a donor's; None where it has none."""
        ...

    def cookie_of(self, slot: int) -> object:
        """What the caller gave at allocation."""
        ...

    def pasid_of(self, slot: int) -> int | None:
        """The PASID whose work may raise the slot; None: work without one."""
        ...

    def is_masked(self, slot: int) -> bool:
        """Whether the slot is masked, as recorded."""
        ...

    def is_pending(self, slot: int) -> bool:
        """Whether the entry holds an interrupt back: one read of the device."""
        ...

    def set_masked(self, slot: int, masked: bool) -> None:
        """Mask or unmask the slot."""
        ...

    def recheck(self, wakeup: Wakeup) -> bool:
        """Whether a wake-up came after all, once the donors' messages were checked."""
        ...

    def release(self, slots: Sequence[int], who: str) -> None:
        """Quiesce these slots and take them back; ``who`` is named as what closed them."""
        ...
