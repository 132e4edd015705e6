# SPDX-License-Identifier: Apache-2.0
"""One donor as one table sees it: the slots that copy its message, and the wake-up flags of their owners."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from vfio_ims.locks import make_lock
from vfio_ims.messages import Message

if TYPE_CHECKING:
    from vfio_ims.interrupts import DonorVector, Wakeup
    from vfio_ims.interrupts.donor_vector import DonorTable

__all__ = ["Donor", "DonorKeeper"]


class DonorKeeper(Protocol):
    """What a donor asks of the table that it serves: ``TableDonors`` is one."""

    def hand_out(self, donor: Donor) -> int:
        """The event descriptor of an exclusive donor."""
        ...

    def plan_move(self, donor: Donor, taker: DonorTable | None) -> Callable[[], None]:
        """What moves every slot off ``donor``; DeviceBusy where one has to stay."""
        ...

    def rewrite(self, donor: Donor) -> None:
        """Rewrite the slots of ``donor``, whose message has changed."""
        ...


class Donor:
    """The slots of one table that copy one donor vector."""

    def __init__(self, attached: DonorVector, table: DonorKeeper, arrived: Callable[[Donor, int], None]) -> None:
        self.attached, self._table = attached, table
        self.vector = attached.vector
        self.load = 0
        """How many slots of this table copy this donor."""
        self.arrived = partial(arrived, self)
        self.all_notified_at = 0
        """The last event, by the dispatcher's count, of which the driver could not say which slot had fired."""
        self._slots: set[int] = set()
        self._unmasked: Sequence[int] | None = None
        self._wakeups: dict[int, Wakeup] = {}
        self._lock = make_lock()  # innermost: taken by the hub's drains and by the domain's changes

    @property
    def message(self) -> Message:
        return self.attached.message

    @property
    def exclusive(self) -> bool:
        """Whether one slot has it for itself now."""
        return self.attached.exclusive

    @property
    def count(self) -> int:
        """Events drained. Interrupts in flight together merge: this is at most the number of fires."""
        return self.attached.count

    def slots(self) -> list[int]:
        with self._lock:
            return sorted(self._slots)

    def join(self, slots: Iterable[int]) -> None:
        with self._lock:
            idle = not self._slots
            self._slots.update(slots)
            self._changed()
            if idle and self._slots:
                self.attached.add(self)

    def leave(self, slots: Iterable[int]) -> None:
        with self._lock:
            busy = bool(self._slots)
            for slot in slots:
                self._slots.discard(slot)
                self._wakeups.pop(slot, None)
            self._changed()
            if busy and not self._slots:
                self.attached.discard(self)

    def _changed(self) -> None:
        """Slots have come or gone: the loads, here and of the vector, say so."""
        more = len(self._slots) - self.load
        self.load += more
        self.attached.load += more
        self._unmasked = None

    def mask_changed(self) -> None:
        self._unmasked = None

    def watch(self, slot: int, wakeup: Wakeup) -> None:
        """Wake ``wakeup`` for ``slot`` from now on."""
        with self._lock:
            self._wakeups[slot] = wakeup

    def unmasked(self, masked: bytearray) -> Sequence[int]:
        """The slots that can have fired, as native uint32.

        The same array while they are the same, never changed: ``Driver.fired`` may keep what it made of it.
        """
        found = self._unmasked
        if found is None:
            with self._lock:
                found = self._unmasked = array("I", [slot for slot in sorted(self._slots) if not masked[slot]])
        return found

    def wakeups(self, slots: Iterable[int] | None = None) -> list[Wakeup]:
        """The flags of ``slots`` that have an interrupt object; of all slots for None."""
        with self._lock:
            if slots is None:
                return list(self._wakeups.values())
            return [self._wakeups[slot] for slot in slots if slot in self._wakeups]

    def hand_out(self) -> int:
        """Return the event descriptor, which the hub leaves alone from now on: for an exclusive donor's owner."""
        return self._table.hand_out(self)

    def plan_move(self, taker: DonorTable | None) -> Callable[[], None]:
        """Find other donors for these slots; returns what moves them. DeviceBusy says why they must stay."""
        return self._table.plan_move(self, taker)

    def rewrite(self) -> None:
        """The vector has another message now: write it to the slots and wake their owners."""
        self._table.rewrite(self)
