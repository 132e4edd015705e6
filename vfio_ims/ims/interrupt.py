# SPDX-License-Identifier: Apache-2.0
"""One allocated slot: wait for it, hold it back, close it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from vfio_ims.counted import counted
from vfio_ims.errors import ClosedError, UsageError
from vfio_ims.lifetime import leaving

if TYPE_CHECKING:
    from vfio_ims.ims.records import SlotRecords
    from vfio_ims.ims.slot_owner import SlotOwner
    from vfio_ims.interrupts import Wakeup
    from vfio_ims.messages import Message

__all__ = ["ImsInterrupt"]


class ImsInterrupt:
    """Slot ``slot`` of a domain, whose owner is woken at least once after each fire.

    Wake-ups merge, are never counts, and may be spurious. The domain closes what its owner forgot.
    """

    __slots__ = ("__weakref__", "_closed_by", "_records", "domain", "slot", "wakeup")

    def __init__(self, domain: SlotOwner, records: SlotRecords, slot: int, wakeup: Wakeup) -> None:
        self.domain, self._records, self.slot, self.wakeup = domain, records, slot, wakeup
        self._closed_by: str | None = None

    def _open(self, operation: str) -> None:
        if self._closed_by is not None:
            raise ClosedError(
                f"{operation} slot {self.slot}", device=self.domain.label, why=f"closed by {self._closed_by}"
            )
        if not self.domain.usable:  # worded only then: it costs more than the look
            self.domain.check_open(f"{operation} slot {self.slot}")

    @property
    def donor(self) -> int:
        """The MSI-X vector whose message the slot holds."""
        self._open("look up the donor of")
        return self.domain.donor_of(self.slot).vector

    @property
    def message(self) -> Message:
        """The message that the slot must hold."""
        self._open("look up the message of")
        return self.domain.donor_of(self.slot).message

    @property
    def cookie(self) -> object:
        """What the owner gave at allocation: a queue, a PASID, anything."""
        return self._records.cookie.get(self.slot)

    @property
    def pasid(self) -> int | None:
        """The PASID whose work may raise the slot; None: work without one."""
        return self._records.pasid.get(self.slot)

    @property
    def masked(self) -> bool:
        """Whether ``mask`` holds it back now, by the domain's record: the device is not read."""
        return bool(self._records.masked[self.slot])

    @property
    def pending(self) -> bool:
        """Whether the entry holds an interrupt back: one read of the device."""
        self._open("read the pending bit of")
        return self.domain.table.pending(self.slot)

    def mask(self) -> None:
        """Hold interrupts back. When this returns no message leaves the slot; one already sent may still be seen."""
        self._open("mask")
        self.domain.set_masked(self.slot, True)

    def unmask(self) -> None:
        """Let interrupts through; a pending one leaves at once."""
        self._open("unmask")
        self.domain.set_masked(self.slot, False)

    @property
    def settle(self) -> float:
        """Seconds after which an interrupt that has not arrived on this mount will not."""
        return self.domain.settle

    def wait(self, timeout: float | None = None) -> bool:
        """Block until woken; False after ``timeout`` seconds (None: for ever). ClosedError if closed meanwhile."""
        self._open("wait for")
        try:
            return self.wakeup.wait(timeout) or self.domain.recheck(self.wakeup)
        except KeyboardInterrupt:
            self.wakeup.wake()  # it may have been taken on the way
            raise

    def wait_until(self, done: Callable[[], bool], timeout: float | None = None) -> bool:
        """Block until ``done()``, which is asked first and after each interrupt of the device; takes the wake-up.

        For several threads that wait for one slot. False after ``timeout`` seconds. ClosedError if closed meanwhile.
        """
        self._open("wait for")
        return self.wakeup.wait_until(done, timeout) or (self.domain.recheck(self.wakeup) and done())

    def __await__(self) -> Generator[object, None, None]:
        if self._closed_by is not None:
            self._open("wait for")
        return self.wakeup.__await__()

    def __aiter__(self) -> AsyncIterator[None]:
        self._open("wait for")
        return self.wakeup.__aiter__()

    def fileno(self) -> int:
        """The donor's event descriptor, for a loop of your own, which then reads its 8-byte counts.

        Only with an exclusive donor: a shared one wakes several owners, so its descriptor is the hub's. From now on
        ``wait``, ``await`` and ``async for`` raise UsageError: the events are read from the descriptor.
        """
        self._open("hand out the descriptor of")
        donor = self.domain.donor_of(self.slot)
        if not donor.exclusive:
            raise UsageError(
                f"hand out the descriptor of slot {self.slot}",
                device=self.domain.label,
                why=f"its donor, vector {donor.vector}, is shared by {counted(donor.load, 'slot')}",
                hint="allocate(exclusive=True), or wait on domain.hub.fileno() and call domain.hub.drain()",
            )
        descriptor = donor.hand_out()
        why = "its descriptor was handed out by fileno(): its events are read there"
        self.wakeup.fail(UsageError(f"wait for slot {self.slot}", device=self.domain.label, why=why))
        return descriptor

    @property
    def closed(self) -> bool:
        """Whether the slot was given back, by its owner or by the domain's close."""
        return self._closed_by is not None

    def close(self) -> None:
        """Quiesce the slot and give it back; safe to call again."""
        if self._closed_by is None:
            self.domain.release([self.slot], "its owner")

    def mark_closed(self, closed_by: str) -> None:
        """The domain has taken the slot back: waiters raise ClosedError."""
        self._closed_by = closed_by
        slot, device = self.slot, self.domain.label  # worded when a wait raises it: most slots are closed unwaited for
        self.wakeup.fail(lambda: ClosedError(f"wait for slot {slot}", device=device, why=f"closed by {closed_by}"))

    def __enter__(self) -> Self:
        self._open("use")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leaving(error)
        self.close()

    def __str__(self) -> str:
        if self._closed_by is not None:
            return f"slot {self.slot} (closed)"
        donor = self.domain.donor_of(self.slot)
        return f"slot {self.slot} <- vector {donor.vector}: {donor.message}{', masked' if self.masked else ''}"

    def __repr__(self) -> str:
        return f"<ImsInterrupt {self.domain.label} {self}>"
