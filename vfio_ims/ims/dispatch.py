# SPDX-License-Identifier: Apache-2.0
"""Dispatches the events of donors to the interrupts of the slots that copy them."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vfio_ims.ims.records import is_block

if TYPE_CHECKING:
    from vfio_ims.errors import VfioImsError
    from vfio_ims.ims.donor import Donor
    from vfio_ims.ims.driver_callbacks import DriverCallbacks
    from vfio_ims.ims.interrupt import ImsInterrupt
    from vfio_ims.ims.records import SlotRecords
    from vfio_ims.interrupts import EventHub, Wakeup

__all__ = ["Dispatcher"]


class Dispatcher:
    """The interrupt objects that exist, and what has fired for slots that have none yet.

    ``dispatch`` runs in whatever thread drains the hub, under the hub's lock: it takes no lock of the domain's. Its
    cost grows with events and waiters, not with slots. The other methods are called with the domain's lock held.
    """

    def __init__(self, records: SlotRecords, callbacks: DriverCallbacks, hub: EventHub) -> None:
        self._records, self._callbacks, self._hub = records, callbacks, hub
        self.fault: VfioImsError | None = None
        """What every wait raises now; None while nothing is wrong with the device."""
        self.interrupts: dict[int, ImsInterrupt] = {}
        """The objects that exist, by slot."""
        self._events = 0
        self._allocated_at = array("Q", bytes(8 * records.size))  # by slot: how many events there had been by then
        self._undelivered: set[int] = set()  # fired before their interrupt object was made

    def allocated(self, slots: Sequence[int]) -> None:
        """These slots are being allocated: what arrived before is not theirs."""
        if len(slots) > 1 and is_block(slots):
            self._allocated_at[slots[0] : slots[-1] + 1] = array("Q", [self._events]) * len(slots)
        else:
            for slot in slots:
                self._allocated_at[slot] = self._events

    def dispatch(self, donor: Donor, count: int) -> None:
        """Wake the owners of a donor's slots: one or more of them may have fired."""
        self._events += 1
        try:
            fired = None if donor.attached.exclusive else self._callbacks.fired(donor.unmasked(self._records.masked))
            if fired is None:
                donor.all_notified_at = self._events
            else:
                self._undelivered.update(set(fired).difference(self.interrupts))
            for wakeup in donor.wakeups(fired):
                wakeup.wake()
        except BaseException:  # Ctrl-C, or the driver: what it has reported once it does not report again
            donor.all_notified_at = self._events
            for wakeup in donor.wakeups():
                wakeup.wake()
            raise

    def masked(self, slots: Sequence[int]) -> None:
        """Ask the driver which of these slots, masked just now, had fired before, and wake their owners.

        Such a slot has a message under way, and when that arrives a masked slot is not asked about.
        """
        self._deliver(self._callbacks.fired(array("I", sorted(slots))) or ())

    def _deliver(self, slots: Sequence[int]) -> None:
        for slot in slots:
            interrupt = self.interrupts.get(slot)
            if interrupt is not None:
                interrupt.wakeup.wake()
            else:
                self._undelivered.add(slot)

    def interrupt(self, slot: int) -> ImsInterrupt | None:
        """The interrupt object of ``slot``; None where none was made yet."""
        return self.interrupts.get(slot)

    def add(self, interrupt: ImsInterrupt, donor: Donor) -> None:
        """Wake the new ``interrupt`` object from now on, and at once if its slot may have fired already."""
        slot, wakeup = interrupt.slot, interrupt.wakeup
        self.interrupts[slot] = interrupt
        donor.watch(slot, wakeup)
        if self.fault is not None:
            wakeup.fail(self.fault)
        if slot in self._undelivered or donor.all_notified_at > self._allocated_at[slot]:
            self._undelivered.discard(slot)
            wakeup.wake()

    def add_many(self, interrupts: Sequence[ImsInterrupt], donors: Sequence[Donor]) -> None:
        """As ``add`` of each, whose slot copies the donor at its place."""
        by_slot = {one.slot: one for one in interrupts}
        self.interrupts.update(by_slot)
        self._watch(by_slot, donors)
        late = self._undelivered.intersection(by_slot)
        self._undelivered -= late
        for (slot, one), donor in zip(by_slot.items(), donors, strict=True):
            if self.fault is not None:
                one.wakeup.fail(self.fault)
            if slot in late or donor.all_notified_at > self._allocated_at[slot]:
                one.wakeup.wake()

    def _watch(self, interrupts: Mapping[int, ImsInterrupt], donors: Sequence[Donor]) -> None:
        """Each of ``interrupts``, which are by slot, is woken by the donor at its place."""
        groups: dict[Donor, dict[int, Wakeup]] = {}
        for (slot, interrupt), donor in zip(interrupts.items(), donors, strict=True):
            groups.setdefault(donor, {})[slot] = interrupt.wakeup
        for donor, wakeups in groups.items():
            donor.watch_many(wakeups)

    def rejoin(self, slots: Sequence[int]) -> None:
        """``slots`` copy other donors now: those in the records."""
        found, donors = self.interrupts, self._records.donor
        moved = {slot: found[slot] for slot in slots if slot in found and donors[slot] is not None}
        self._watch(moved, [donor for slot in moved if (donor := donors[slot]) is not None])

    def wake(self, slots: Sequence[int]) -> None:
        """Wake the owners of ``slots`` without an event; those without an interrupt object as soon as it is made."""
        self._deliver(slots)
        self._hub.kick()

    def fail(self, reason: VfioImsError) -> None:
        """Let every wait, under way or to come, raise ``reason`` until ``recover``. The first reason stays."""
        if self.fault is None:
            self.fault = reason
            for interrupt in self.interrupts.values():
                interrupt.wakeup.fail(reason)
            self._hub.kick()

    def recover(self) -> None:
        """What ``fail`` was given is over."""
        reason, self.fault = self.fault, None
        if reason is not None:
            for interrupt in self.interrupts.values():
                interrupt.wakeup.recover(reason)

    def forget(self, slots: Sequence[int], closed_by: str) -> None:
        """These slots are given back: waits for them raise ClosedError."""
        interrupts, closed = self.interrupts, []
        if interrupts:
            closed = [one for slot in slots if (one := interrupts.pop(slot, None)) is not None]
        for interrupt in closed:
            interrupt.mark_closed(closed_by)
        if self._undelivered:
            self._undelivered.difference_update(slots)
        if closed:
            self._hub.kick()
