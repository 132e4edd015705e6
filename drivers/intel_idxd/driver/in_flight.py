# SPDX-License-Identifier: Apache-2.0
"""Work in flight on one device: the record of each descriptor, its queue, its session and the slot that it raises.

One book for those who ask: a queue asks how many of its entries are taken and which of them are free again, a session
what it has to wait for, the driver which slots have fired.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from vfio_ims.interruption import uninterrupted
from vfio_ims.locks import make_lock
from vfio_ims.native.access import poll_any

if TYPE_CHECKING:
    from vfio_ims.native.row_plan import RowPlan

    from .records import Record

__all__ = ["InFlight", "Waitable"]

_MOST_ASKED = 64
_SEARCH = 8  # slots that are put into a set in the time of one binary search


class Waitable(Protocol):
    """Something in flight that a session waits for before it closes."""

    def wait(self, timeout: float | None = None, *, check: bool = True) -> object: ...


class _Addresses:
    """Addresses of records without an order: for one compiled look at all of them."""

    __slots__ = ("_place", "all")

    def __init__(self) -> None:
        self.all = array("Q")
        self._place: dict[int, int] = {}

    def add(self, address: int) -> None:
        if address not in self._place:
            self._place[address] = len(self.all)
            self.all.append(address)

    def add_all(self, addresses: Iterable[int]) -> None:
        """``add`` of each."""
        places, found = self._place, self.all
        for address in addresses:
            if address not in places:
                places[address] = len(found)
                found.append(address)

    def discard_all(self, addresses: Iterable[int]) -> None:
        """``discard`` of each."""
        gone = self._place.keys() & addresses
        if len(gone) == len(self._place):
            self._place.clear()
            del self.all[:]
        else:
            for address in gone:
                self.discard(address)

    def discard(self, address: int) -> None:
        place = self._place.pop(address, None)
        if place is not None:
            last = self.all.pop()
            if last != address:
                self.all[place], self._place[last] = last, place


class _Entry:
    """One descriptor, until its completion was taken. ``record`` keeps its memory; ``taken``: its queue's entry is."""

    __slots__ = ("queue", "record", "session", "slot", "taken", "work")

    def __init__(self, record: Record, queue: int, slot: int | None, session: object, work: Waitable | None) -> None:
        self.record, self.queue, self.slot, self.session, self.work = record, queue, slot, session, work
        self.taken = True


class InFlight:
    """The book of one device. Every method takes microseconds: nothing is waited for with its lock held.

    A descriptor is begun before it is submitted, and ends when its completion was taken. Its queue's entry may be
    freed, and its slot reported as fired, before that: as soon as its record shows that it has completed.
    """

    def __init__(self) -> None:
        self._lock = make_lock()
        self._entries: dict[int, _Entry] = {}
        self._taken: dict[int, int] = defaultdict(int)  # by queue: how many of the entries above have one of its own
        self._singles = 0
        """The sum of them."""
        self._raising = _Addresses()
        self._many: list[tuple[RowPlan, int, object, Waitable | None]] = []
        self._fired: set[int] = set()  # completed, and not reported yet
        self._open: set[int] = set()  # may fire at any moment, and no record will show it
        self._asked: dict[int, tuple[Sequence[int], frozenset[int] | None]] = {}  # by id: the slots last asked about

    # --- descriptors --------------------------------------------------------------------------------------------------

    def begin(
        self,
        record: Record,
        queue: int,
        *,
        slot: int | None = None,
        session: object = None,
        work: Waitable | None = None,
    ) -> None:
        """A descriptor is about to be submitted; its record is clear. Its completion interrupt raises ``slot``.

        One that was given up, and would have completed into the same record, may have raised its slot.
        """
        address = record.address
        with self._lock:
            if address in self._entries:
                self._drop(address, fired=True)
            self._entries[address] = _Entry(record, queue, slot, session, work)
            self._taken[queue] += 1
            self._singles += 1
            if slot is not None:
                self._raising.add(address)

    def begin_all(self, records: Sequence[Record], queue: int, slots: Sequence[int]) -> None:
        """``begin`` of each of ``records``, whose descriptor raises the slot at its place."""
        entries = self._entries
        with self._lock:
            addresses = [record.address for record in records]
            for address in entries.keys() & addresses:
                self._drop(address, fired=True)
            for address, record, slot in zip(addresses, records, slots, strict=True):
                entries[address] = _Entry(record, queue, slot, None, None)
            self._taken[queue] += len(records)
            self._raising.add_all(addresses)

    def cancel(self, record: Record) -> None:
        """The descriptor was not taken by the device: nothing fires."""
        with self._lock:
            self._drop(record.address, fired=False)

    def end(self, record: Record, work: Waitable | None = None) -> bool:
        """The completion was taken: the record may be used again. A slot that was not reported yet has fired.

        False where it has ended before, or the record is other ``work``'s by now.
        """
        with self._lock:
            address = record.address
            entry = self._entries.get(address)
            if entry is None or entry.work is not work:
                return False
            del self._entries[address]
            self._leave(address, entry, fired=True)
            return True

    def end_all(self, records: Sequence[Record]) -> None:
        """``end`` of each of ``records``, which are no work's."""
        with self._lock:
            addresses = [record.address for record in records]
            for address in addresses:
                entry = self._entries.get(address)
                if entry is None or entry.work is not None:
                    continue
                del self._entries[address]
                if entry.taken:
                    entry.taken = False
                    self._taken[entry.queue] -= 1
                if entry.slot is not None:
                    self._fired.add(entry.slot)
            self._raising.discard_all(addresses)

    def _drop(self, address: int, *, fired: bool) -> None:
        entry = self._entries.pop(address, None)
        if entry is not None:
            self._leave(address, entry, fired=fired)

    def _leave(self, address: int, entry: _Entry, *, fired: bool) -> None:
        """The entry is in the book no more."""
        self._free(entry)
        if entry.slot is not None:
            self._raising.discard(address)
            if fired:
                self._fired.add(entry.slot)

    def _free(self, entry: _Entry) -> None:
        if entry.taken:
            entry.taken = False
            self._taken[entry.queue] -= 1
            self._singles -= 1

    def has(self, record: Record, work: Waitable) -> bool:
        """Whether the descriptor of ``work`` that completes into ``record`` has not ended."""
        entry = self._entries.get(record.address)
        return entry is not None and entry.work is work

    # --- many at once -------------------------------------------------------------------------------------------------

    def begin_many(self, rows: RowPlan, queue: int, session: object = None, work: Waitable | None = None) -> None:
        """From now on ``rows`` are asked, which book themselves whether they are under way, until ``end_many``."""
        with self._lock:
            self._many = [*self._many, (rows, queue, session, work)]  # replaced, not changed: read without the lock

    def end_many(self, rows: RowPlan) -> None:
        """They are not under way, and will not be."""
        with self._lock:
            self._many = [one for one in self._many if one[0] is not rows]

    def many(self, queue: int) -> list[RowPlan]:
        """The rows that have entries of a queue, oldest first."""
        return [rows for rows, index, _, _ in self._many if index == queue and rows.taken] if self._many else []

    def beside(self, queue: int, rows: RowPlan) -> int:
        """How many descriptors of a queue have entries, or may have, besides those of ``rows``."""
        taken, many = self._taken.get(queue, 0), self._many
        if len(many) == 1 and many[0][0] is rows:
            return taken
        return taken + sum(one.count for one, index, _, _ in many if index == queue and one is not rows and one.taken)

    # --- what queues ask ----------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether any entry of any queue is taken."""
        # Without the lock: it is asked for each slot that closes. A look at the numbers is one step of the interpreter.
        many = self._many
        return self._singles > 0 or (bool(many) and any(rows.taken for rows, _, _, _ in many))

    def singles(self, queue: int) -> int:
        """Entries of a queue that descriptors begun one by one have."""
        return self._taken.get(queue, 0)

    def free(self, record: Record) -> None:
        """The queue's entry is free, and the completion was not taken."""
        with self._lock:
            entry = self._entries.get(record.address)
            if entry is not None:
                self._free(entry)

    def free_completed(self, queue: int, timeout: float) -> bool:
        """Free the entries of a queue whose records show completion; False where none does within ``timeout`` seconds.

        The caller holds the queue's lock, so that none is begun meanwhile.
        """
        with self._lock:
            taken = [entry for entry in self._entries.values() if entry.taken and entry.queue == queue]
        if not taken:
            return True
        done = poll_any(array("Q", [entry.record.address for entry in taken]), 1, 0xFF, 0, timeout, differs=True)
        with self._lock:
            for place in done:
                self._free(taken[place])
        return bool(done)

    # --- what sessions ask --------------------------------------------------------------------------------------------

    def of_session(self, session: object) -> list[Waitable]:
        """What a session has in flight."""
        with self._lock:
            many = [
                work for rows, _, owner, work in self._many if owner is session and work is not None and rows.under_way
            ]
            return many + [
                entry.work for entry in self._entries.values() if entry.session is session and entry.work is not None
            ]

    def rows_of(self, session: object) -> list[Waitable]:
        """The works of a session's rows, under way or not."""
        return [work for _, _, owner, work in self._many if owner is session and work is not None]

    # --- which slots have fired ---------------------------------------------------------------------------------------

    def watch(self, slot: int) -> None:
        """Work without a record may raise ``slot`` from now on: it counts as fired at every look until ``unwatch``."""
        with self._lock:
            self._open.add(slot)

    def watch_all(self, slots: Sequence[int]) -> None:
        """``watch`` of each."""
        with self._lock:
            self._open.update(slots)

    def unwatch_all(self, slots: Sequence[int]) -> None:
        """``unwatch`` of each, which may have fired."""
        with self._lock:
            self._open.difference_update(slots)
            self._fired.update(slots)

    def unwatch(self, slot: int, *, fired: bool = False) -> None:
        """Nothing without a record raises ``slot`` any more. ``fired``: it may have, and counts as fired once more."""
        if fired or slot in self._open:
            with self._lock:
                self._open.discard(slot)
                if fired:
                    self._fired.add(slot)

    def fired(self, slots: Sequence[int]) -> list[int]:
        """Those of ``slots`` whose work has completed and was not reported so far.

        One compiled look at the records. ``slots`` is not changed by its owner: see ``Driver.fired``.
        """
        with self._lock:
            if self._raising.all:
                done = poll_any(self._raising.all, 1, 0xFF, 0, 0, differs=True)
                if done:
                    with uninterrupted():
                        for address in [self._raising.all[place] for place in done]:
                            self._report(address)
            if not self._fired and not self._open:
                return []
            asked = self._asked_about(slots)
            found = self._fired.intersection(asked) if self._fired else set[int]()
            self._fired -= found
            return sorted(found | self._open.intersection(asked) if self._open else found)

    def _asked_about(self, slots: Sequence[int]) -> Collection[int]:
        """``slots``, as a set once they are asked about again: then a look costs what there are few."""
        known = self._asked.get(id(slots))
        if known is None:
            if len(self._asked) >= _MOST_ASKED:
                self._asked.clear()
            self._asked[id(slots)] = slots, None  # held: nothing else has its id
            few = len(self._fired) + len(self._open)
            return slots if few * _SEARCH >= len(slots) else _among(self._fired | self._open, slots)
        if known[1] is None:
            known = self._asked[id(slots)] = slots, frozenset(slots)
        return known[1] or ()

    def _report(self, address: int) -> None:
        """The slot of a descriptor in flight counts as fired, once."""
        entry = self._entries[address]
        self._raising.discard(address)
        if entry.slot is not None:
            self._fired.add(entry.slot)
            entry.slot = None

    def clear(self) -> None:
        """The device was reset: what was in flight never completes, and its slots' owners look once."""
        with uninterrupted(), self._lock:
            for address in list(self._raising.all):
                self._report(address)
            for entry in self._entries.values():
                self._free(entry)
            self._entries = {address: entry for address, entry in self._entries.items() if entry.work is not None}
            for rows, _, _, _ in self._many:
                rows.lose()


def _among(few: set[int], slots: Sequence[int]) -> Collection[int]:
    """Those of ``few`` that are in ``slots``, which ascend where they are many: the cost grows with the few."""
    if not few:
        return ()
    if len(few) * _SEARCH >= len(slots):
        return few.intersection(slots)
    found, count = [], len(slots)
    for slot in few:
        at = bisect_left(slots, slot)
        if at < count and slots[at] == slot:
            found.append(slot)
    return found
