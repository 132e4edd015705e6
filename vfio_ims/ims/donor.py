# SPDX-License-Identifier: Apache-2.0
"""One donor as one table sees it: the slots that copy its message, and the wake-up flags of their owners."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Protocol

from vfio_ims.locks import make_lock
from vfio_ims.messages import Message, Slot

if TYPE_CHECKING:
    from vfio_ims.interrupts import DonorVector, Wakeup
    from vfio_ims.interrupts.donor_vector import DonorTable

__all__ = ["Donor", "DonorKeeper"]

_FEW = 64  # changed slots that are put into a list one by one


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
        self._unmasked: array[int] | None = None
        self._changed: set[int] = set()
        """Slots that have come, gone or changed their mask since ``_unmasked`` was made."""
        self._wakeups: dict[int, Wakeup] = {}
        self._entries: tuple[Slot, Slot] | None = None  # unmasked, masked
        self._lock = make_lock()  # innermost: taken by the hub's drains and by the domain's changes

    @property
    def message(self) -> Message:
        return self.attached.message

    def entry(self, masked: bool) -> Slot:
        """What an entry that copies this donor, and has no PASID, holds: the same object while the message is."""
        entries, message = self._entries, self.attached.message
        if entries is None or entries[0].message is not message:
            entries = self._entries = Slot(message, False), Slot(message, True)
        return entries[masked]

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

    def join(self, slots: Sequence[int]) -> None:
        """``slots`` copy this donor from now on."""
        with self._lock:
            idle = not self._slots
            self._slots.update(slots)
            self._count(slots)
            if idle and self._slots:
                self.attached.add(self)

    def leave(self, slots: Collection[int]) -> None:
        """``slots`` do not copy it any more; those that did not are passed over."""
        with self._lock:
            busy = bool(self._slots)
            if len(slots) == 1:
                (slot,) = slots
                self._slots.discard(slot)
                self._wakeups.pop(slot, None)
            else:
                gone = self._slots.intersection(slots)
                self._slots.difference_update(gone)
                if self._wakeups:
                    for slot in gone:
                        self._wakeups.pop(slot, None)
            self._count(slots)
            if busy and not self._slots:
                self.attached.discard(self)

    def _count(self, slots: Collection[int]) -> None:
        """Some of ``slots`` have come or gone: the loads, here and of the vector, say so."""
        more = len(self._slots) - self.load
        self.load += more
        self.attached.load += more
        self._note(slots)
        if self.attached.exclusive:
            self._look_who_is_alone()

    def _look_who_is_alone(self) -> None:
        attached = self.attached
        only = len(self._slots) == 1 and attached.exclusive and attached.uses == (self,)
        attached.alone = self._wakeups.get(min(self._slots)) if only else None

    def _note(self, slots: Collection[int]) -> None:
        if self._unmasked is None:
            return
        if len(slots) + len(self._changed) > _FEW:
            self._unmasked = None
            self._changed.clear()
        else:
            self._changed.update(slots)

    def mask_changed(self, slots: Sequence[int]) -> None:
        """Some of these slots were masked or unmasked."""
        with self._lock:
            self._note(slots)

    def watch(self, slot: int, wakeup: Wakeup) -> None:
        """Wake ``wakeup`` for ``slot`` from now on."""
        with self._lock:
            self._wakeups[slot] = wakeup
            self._look_who_is_alone()

    def watch_many(self, wakeups: Mapping[int, Wakeup]) -> None:
        """Wake these, which are by slot, from now on."""
        with self._lock:
            self._wakeups.update(wakeups)
            self._look_who_is_alone()

    def unmasked(self, masked: bytearray) -> Sequence[int]:
        """The slots that can have fired, as native uint32.

        The same array while they are the same, never changed: ``Driver.fired`` may keep what it made of it.
        """
        found = self._unmasked
        if found is None or self._changed:
            with self._lock:
                found = self._unmasked = self._unmasked_now(masked)
                self._changed.clear()
        return found

    def _unmasked_now(self, masked: bytearray) -> array[int]:
        """The array as it was, but for the slots that have changed: the cost grows with these."""
        found = self._unmasked
        if found is None:
            return array("I", [slot for slot in sorted(self._slots) if not masked[slot]])
        for slot in self._changed:
            place = bisect_left(found, slot)
            has = place < len(found) and found[place] == slot
            if has != (slot in self._slots and not masked[slot]):
                if found is self._unmasked:
                    found = found[:]
                if has:
                    del found[place]
                else:
                    found.insert(place, slot)
        return found

    def wakeups(self, slots: Iterable[int] | None = None) -> list[Wakeup]:
        """The flags of ``slots`` that have an interrupt object; of all slots for None."""
        flags = self._wakeups  # without the lock: each look is one step
        if slots is None:
            return list(flags.values())
        found = []
        for slot in slots:
            flag = flags.get(slot)
            if flag is not None:
                found.append(flag)
        return found

    def hand_out(self) -> int:
        """Return the event descriptor, which the hub leaves alone from now on: for an exclusive donor's owner."""
        return self._table.hand_out(self)

    def plan_move(self, taker: DonorTable | None) -> Callable[[], None]:
        """Find other donors for these slots; returns what moves them. DeviceBusy says why they must stay."""
        return self._table.plan_move(self, taker)

    def rewrite(self) -> None:
        """The vector has another message now: write it to the slots and wake their owners."""
        self._table.rewrite(self)
