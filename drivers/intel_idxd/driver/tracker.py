# SPDX-License-Identifier: Apache-2.0
"""Which slots have fired: completion records of work that raises a slot, looked through in one compiled call."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

from vfio_ims.interruption import uninterrupted
from vfio_ims.locks import make_lock
from vfio_ims.native.access import load, poll_any

from .records import Record

__all__ = ["Tracker"]


class Tracker:
    """Work that raises slots, by the address of its completion record, from before it is submitted until it is told.

    Whoever waits for a record never waits for this, and this never waits for a record: records are not cleared here.
    """

    def __init__(self) -> None:
        self._lock = make_lock()  # held for microseconds, never while the device works
        self._addresses = array("Q")
        self._slots: list[int] = []
        self._held: list[Record] = []  # the records at those addresses: their memory stays
        self._place: dict[int, int] = {}
        self._told: set[int] = set()  # completed, its record is in use for something else, and nobody was told yet
        self._open: set[int] = set()  # may fire at any moment, and no record will say so
        self._asked: tuple[Sequence[int], frozenset[int]] = ((), frozenset())

    def begin(self, slot: int, record: Record) -> None:
        """Work that raises ``slot`` is about to be submitted; its ``record`` is clear, or is cleared next."""
        with self._lock:
            place = self._place.get(record.address)
            if place is not None:
                if load(record.address, 1):
                    self._told.add(self._slots[place])
                self._slots[place] = slot
                return
            self._place[record.address] = len(self._addresses)
            self._addresses.append(record.address)
            self._slots.append(slot)
            self._held.append(record)

    def settle(self, record: Record) -> None:
        """The record is about to be used for something else: remember its slot if nobody was told of it."""
        with self._lock:
            place = self._place.get(record.address)
            if place is not None:
                self._told.add(self._drop(place))

    def forget(self, record: Record) -> None:
        """The work was never submitted."""
        with self._lock:
            place = self._place.get(record.address)
            if place is not None:
                self._drop(place)

    def open(self, slot: int) -> None:
        """Work without a record may raise ``slot`` from now on: every question is answered with yes until ``shut``."""
        with self._lock:
            self._open.add(slot)

    def watch(self, slot: int) -> None:
        """Something that has no record may raise ``slot``: its owner is told at every event from now on."""
        self.open(slot)

    def unwatch(self, slot: int) -> None:
        """Nothing does any more."""
        with self._lock:
            self._open.discard(slot)

    def shut(self, slot: int) -> None:
        """That work is done: its interrupt may not have been drained yet."""
        with self._lock:
            self._open.discard(slot)
            self._told.add(slot)

    def _drop(self, place: int) -> int:
        slot, last = self._slots[place], len(self._slots) - 1
        del self._place[self._addresses[place]]
        if place != last:
            self._addresses[place], self._slots[place] = self._addresses[last], self._slots[last]
            self._held[place] = self._held[last]
            self._place[self._addresses[place]] = place
        self._addresses.pop()
        self._slots.pop()
        self._held.pop()
        return slot

    def fired(self, slots: Sequence[int]) -> list[int]:
        """Those of ``slots`` whose work has completed and who were not told so far."""
        with self._lock:
            if self._addresses:
                done = poll_any(self._addresses, 1, 0xFF, 0, 0, differs=True)
                if done:
                    with uninterrupted():
                        for place in reversed(done):  # descending: what is dropped is filled from behind
                            self._told.add(self._drop(place))
            if not self._told and not self._open:
                return []
            if self._asked[0] is not slots:
                self._asked = (slots, frozenset(slots))
            found = self._told & self._asked[1]
            self._told -= found
            return sorted(found | self._open & self._asked[1])

    def clear(self) -> None:
        """The device was reset: what was in flight never completes."""
        with self._lock:
            for place in range(len(self._slots) - 1, -1, -1):
                self._told.add(self._drop(place))
