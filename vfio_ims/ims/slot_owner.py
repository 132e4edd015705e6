# SPDX-License-Identifier: Apache-2.0
"""What the handle of an allocated slot asks of the domain that the slot belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vfio_ims.ims.donor import Donor
    from vfio_ims.ims.table import ImsTable
    from vfio_ims.interrupts import Wakeup

__all__ = ["SlotOwner"]


class SlotOwner(Protocol):
    """The narrow view of a domain that interrupts, polled slots and groups hold. ``ImsDomain`` is one."""

    label: str
    table: ImsTable

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

    def set_masked(self, slot: int, masked: bool) -> None:
        """Mask or unmask the slot."""
        ...

    def recheck(self, wakeup: Wakeup) -> bool:
        """Whether a wake-up came after all, once the donors' messages were checked."""
        ...

    def release(self, slots: Sequence[int], closed_by: str) -> None:
        """Quiesce these slots and take them back; ``closed_by`` is named as what closed them."""
        ...
