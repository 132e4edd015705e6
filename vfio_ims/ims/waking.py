# SPDX-License-Identifier: Apache-2.0
"""Who is woken when a donor's event arrives."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vfio_ims.ims.donors import Donor
from vfio_ims.ims.interrupt import ImsInterrupt

if TYPE_CHECKING:
    from vfio_ims.ims.domain import ImsDomain

__all__ = ["Waking"]


class Waking:
    """The interrupts that somebody holds, and what arrived for slots that nobody holds yet.

    ``arrived`` runs in whatever thread drains the hub, under the hub's lock: it takes no lock of the domain's. Its cost
    grows with events and waiters, not with slots.
    """

    def __init__(self, domain: ImsDomain, size: int) -> None:
        self._domain = domain
        self.held: dict[int, ImsInterrupt] = {}
        self._events = 0
        self._born = array("Q", bytes(8 * size))  # by slot: how many events there had been when it was allocated
        self._early: set[int] = set()  # told as fired before anybody held their interrupt

    def born(self, slots: Sequence[int]) -> None:
        """These slots are being allocated: what arrived before is not theirs."""
        if isinstance(slots, range) and slots.step == 1:
            self._born[slots.start : slots.stop] = array("Q", [self._events]) * len(slots)
        else:
            for slot in slots:
                self._born[slot] = self._events

    def arrived(self, donor: Donor, count: int) -> None:
        """A donor's event: one or more of its slots may have fired."""
        self._events += 1
        try:
            fired = None if donor.exclusive else self._domain.source.fired(donor.unmasked(self._domain.records.masked))
            if fired is None:
                donor.told_all_at = self._events
            else:
                self._early.update(slot for slot in fired if slot not in self.held)
            for wakeup in donor.wakeups(fired):
                wakeup.wake()
        except BaseException:  # Ctrl-C, or the driver: what it has told once it does not tell again
            donor.told_all_at = self._events
            for wakeup in donor.wakeups():
                wakeup.wake()
            raise

    def masked(self, slots: Sequence[int]) -> None:
        """These slots were masked just now. One that had fired before has a message under way, and once it is masked

        it is not asked about when that arrives: ask now.
        """
        for slot in self._domain.source.fired(array("I", slots)) or ():
            held = self.held.get(slot)
            if held is not None:
                held.wakeup.wake()
            else:
                self._early.add(slot)

    def interrupt(self, slot: int) -> ImsInterrupt:
        """The interrupt of an allocated slot, made when it is first asked for; called with the domain's lock held."""
        found = self.held.get(slot)
        if found is None:
            donor = self._domain.donor_of(slot)
            wakeup = self._domain.hub.wakeup()
            found = self.held[slot] = ImsInterrupt(self._domain, slot, wakeup)
            donor.watch(slot, wakeup)
            if self._domain.fault is not None:
                wakeup.fail(self._domain.fault)
            if slot in self._early or donor.told_all_at > self._born[slot]:  # it may have fired already
                self._early.discard(slot)
                wakeup.wake()
        return found

    def rejoin(self, slot: int, donor: Donor) -> None:
        """``slot`` copies ``donor`` now."""
        held = self.held.get(slot)
        if held is not None:
            donor.watch(slot, held.wakeup)

    def wake(self, slots: Sequence[int]) -> None:
        """Wake the owners of ``slots``, whatever happened; those that hold no interrupt yet as soon as they do."""
        for slot in slots:
            held = self.held.get(slot)
            if held is not None:
                held.wakeup.wake()
            else:
                self._early.add(slot)
        self._domain.hub.kick()

    def fail(self, reason: Exception) -> None:
        """Every wait, under way or to come, raises ``reason`` until ``recover``."""
        for held in self.held.values():
            held.wakeup.fail(reason)
        self._domain.hub.kick()

    def recover(self, reason: Exception) -> None:
        """``reason`` is over."""
        for held in self.held.values():
            held.wakeup.recover(reason)

    def forget(self, slots: Sequence[int], who: str) -> None:
        """These slots are given back: whoever waits for one gets ClosedError."""
        closed = [held for slot in slots if (held := self.held.pop(slot, None)) is not None]
        for held in closed:
            held.mark_closed(who)
        self._early.difference_update(slots)
        if closed:
            self._domain.hub.kick()
