# SPDX-License-Identifier: Apache-2.0
"""The pool of donor vectors, whose messages slots copy: attached, detached, and checked for a changed message."""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable
from contextlib import ExitStack
from operator import attrgetter
from typing import TYPE_CHECKING

from vfio_ims.errors import ClosedError, DeviceBusy, VfioImsError, check_index
from vfio_ims.interrupts.donor_vector import DonorTable, DonorVector
from vfio_ims.lifetime import Owner
from vfio_ims.locks import Guard
from vfio_ims.messages import Message
from vfio_ims.native.events import EventFd

if TYPE_CHECKING:
    from vfio_ims.interrupts.hub import EventHub
    from vfio_ims.interrupts.msi import MsiVectors
    from vfio_ims.interrupts.msix import MsixVectors

__all__ = ["CHECK_PERIOD", "DonorPool", "ReservedVectors"]

_BY_LOAD = attrgetter("load", "vector")
CHECK_PERIOD = 1.0
"""Seconds within which a moved vector is noticed, where nothing remaps interrupts."""


class DonorPool:
    """Attaches vectors as donors, gives idle ones up on demand, and notices those whose message has changed.

    An idle donor, which no slot copies, stays attached until the application asks for the vector or the last table
    leaves. ``source``: the vectors, of one kind. ``lock`` serialises what changes donors and slots; tables hold it as
    their own, so that one table's slots can be moved for another's sake, or for the application's.
    """

    def __init__(
        self,
        device: str,
        source: MsixVectors | MsiVectors,
        hub: EventHub,
        moves: Callable[[], bool | None],
        check_usable: Callable[[str], None],
    ) -> None:
        self._device, self.source, self._hub, self._ask_moves = device, source, hub, moves
        self._check_usable = check_usable  # raises where another kind of interrupt is open
        self.lock = Guard()
        self.vectors: dict[int, DonorVector] = {}
        self._tables: list[DonorTable] = []
        self._reserved: Counter[int] = Counter()
        self._exclusive: list[DonorVector] = []
        self._bookings = 0  # how often vectors were reserved or released
        self._moves: bool | None = None
        self._watch: threading.Event | None = None

    @property
    def count(self) -> int:
        """How many vectors of its donors' kind the function has."""
        return self.source.count

    @property
    def needs_checks(self) -> bool:
        """Whether messages have to be compared now and then, since a vector that moves gets a new one.

        So too while it is not known: a kernel shows it once a vector is attached.
        """
        if self._moves is None:
            self._moves = self._ask_moves()
        return self._moves is not False

    # --- tables -------------------------------------------------------------------------------------------------------

    def join(self, table: DonorTable) -> None:
        """``table`` takes donors from now on."""
        with self.lock:
            self._tables.append(table)

    def leave(self, table: DonorTable) -> None:
        """``table`` takes no more, and no slot of it copies a donor. With the last one every donor is detached."""
        with self.lock:
            if table in self._tables:
                self._tables.remove(table)
            if not self._tables:
                with ExitStack() as each:  # one that fails to detach does not keep the others
                    for donor in list(self.vectors.values()):
                        each.callback(self.give_up, donor)

    def usable(self) -> list[DonorVector]:
        """The donors that a further slot may copy: neither exclusive nor reserved by the application."""
        return [one for one in self.vectors.values() if not one.exclusive and not self._reserved.get(one.vector)]

    def least_loaded(self, among: Container[int]) -> DonorVector | None:
        """Of the ``usable`` donors on vectors ``among`` the one that fewest slots copy, on the lowest such vector."""
        best = min(self.vectors.values(), key=_BY_LOAD, default=None)
        if best is None or (not best.exclusive and best.vector in among and not self._reserved.get(best.vector)):
            return best
        return min((one for one in self.usable() if one.vector in among), key=_BY_LOAD, default=None)

    @property
    def changes(self) -> int:
        """Another number whenever a vector was attached, detached, reserved or released: ``free`` may have changed."""
        return self.source.changes + self._bookings

    def free(self, eligible: Iterable[int]) -> list[int]:
        """Those of ``eligible`` that are neither attached nor reserved by the application."""
        given = self.source.given
        others = [one for one in eligible if one < given and one not in self.vectors and not self._reserved.get(one)]
        return [vector for vector in others if not self.source.is_attached(vector)]

    def taken_by_application(self, eligible: Iterable[int]) -> list[int]:
        """Those of ``eligible`` that the application opened or reserved."""
        return [
            vector
            for vector in eligible
            if self._reserved.get(vector) or (vector not in self.vectors and self.source.is_attached(vector))
        ]

    def take(self, vector: int) -> DonorVector:
        """Attach a free vector, then read the message that the kernel wrote for it.

        DeviceBusy while the function uses MSI or INTx: it has one kind at a time.
        """
        self._check_usable("take a donor vector")
        event = EventFd()
        try:
            self.source.attach(vector, event)
            try:
                donor = DonorVector(vector, event, self.source.message(vector))
                self._hub.add(event, donor.arrived)
            except BaseException:
                self.source.detach(vector)
                raise
        except BaseException:
            event.close()
            raise
        self.vectors[vector] = donor
        if len(self.vectors) == 1 and self.needs_checks:
            self._hub.call_every(CHECK_PERIOD, self.check)
        return donor

    def messages(self, vectors: Iterable[int]) -> dict[int, Message]:
        """The message of each of ``vectors`` that is a donor or free. Free ones are attached together for the moment.

        Those of which no more can be attached are left out.
        """
        found: dict[int, Message] = {}
        with self.lock, ExitStack() as taken:
            for vector in self.free(vectors):
                try:
                    donor = self.take(vector)
                except VfioImsError:
                    break
                taken.callback(self.give_up, donor)
                found[vector] = donor.message
            return found | {vector: self.vectors[vector].message for vector in vectors if vector in self.vectors}

    def give_up(self, donor: DonorVector) -> None:
        """Detach a donor that no slot copies. The kernel clears its message; its number may be handed out again."""
        self.vectors.pop(donor.vector, None)
        if donor in self._exclusive:
            self._exclusive.remove(donor)
        with ExitStack() as steps:
            if not self.vectors:
                steps.callback(self._hub.call_never)
                steps.callback(self._stop_watching)
            steps.callback(donor.event.close)
            steps.callback(self.source.detach, donor.vector)
            steps.callback(self._hub.remove, donor.event)

    def make_exclusive(self, donor: DonorVector) -> None:
        """The next slot that copies ``donor`` has it for itself, until it is closed and ``settle`` is called."""
        donor.exclusive = True
        self._exclusive.append(donor)

    def settle(self) -> None:
        """Exclusive donors that no slot copies any more are ordinary idle ones again.

        One whose descriptor was handed out is given up instead: what still polls that descriptor must not take the
        events of others.
        """
        if not self._exclusive and self._watch is None:
            return
        for donor in [donor for donor in self._exclusive if not donor.uses]:
            self._exclusive.remove(donor)
            donor.exclusive = False
            if donor.handed_out:
                self.give_up(donor)
        if self._watch is not None and not any(donor.handed_out for donor in self.vectors.values()):
            self._stop_watching()

    # --- the application's vectors ------------------------------------------------------------------------------------

    def vacate(self, vector: int, operation: str) -> None:
        """Give ``vector`` up for the application: no slot copies its message when this returns.

        Slots that share it are moved to other donors, masked meanwhile, and their owners woken once. DeviceBusy names
        those that cannot be moved.
        """
        with self.lock:
            donor = self.vectors.get(vector)
            if donor is None:
                return
            for why in filter(None, (table.hold(vector) for table in self._tables)):
                raise DeviceBusy(operation, device=self._device, why=why, hint="reset the device: driver.reset()")
            try:
                self.clear(donor)
            except DeviceBusy as busy:
                busy.operation = operation
                raise
            self.give_up(donor)

    def clear(self, donor: DonorVector, taker: DonorTable | None = None) -> None:
        """Move every slot off ``donor``, or none: DeviceBusy where one has to stay.

        ``taker``: the table that wants it for a slot of its own.
        """
        for move in [use.plan_move(taker) for use in donor.uses]:
            move()

    def give_up_idle(self) -> None:
        """Detach every donor that no slot copies."""
        with self.lock, ExitStack() as steps:  # one whose release fails keeps no other
            for donor in reversed(self.vectors.values()):
                if not donor.uses and not any(table.hold(donor.vector) for table in self._tables):
                    steps.callback(self.give_up, donor)

    def reserve(self, vectors: Collection[int]) -> None:
        """Keep ``vectors`` for the application, all or none. Donors among them are given up as ``vacate`` does."""
        with self.lock:
            for vector in vectors:
                check_index(vector, self.count, "vector", "reserve MSI-X vectors", self._device)
            self._bookings += 1
            self._reserved.update(vectors)  # first: a slot that is moved must not go to one of these
            try:
                for vector in vectors:
                    self.vacate(vector, f"reserve MSI-X vector {vector}")
            except BaseException:
                self._bookings += 1
                self._reserved.subtract(vectors)
                raise

    def release(self, vectors: Collection[int]) -> None:
        """``vectors`` may be donors again."""
        with self.lock:
            self._bookings += 1
            self._reserved.subtract(vectors)

    # --- moved vectors ------------------------------------------------------------------------------------------------

    def refresh(self) -> list[int]:
        """Compare every donor's message with the MSI-X table; where one has changed, rewrite its slots together.

        Returns the vectors that had moved. Owners of their slots are woken once.
        """
        with self.lock:
            moved = [donor for donor in self.vectors.values() if not self.source.holds(donor.vector, donor.message)]
            messages = [self.source.message(donor.vector) for donor in moved]
            for donor, message in zip(moved, messages, strict=True):
                donor.message = message
            for donor in moved:
                for use in donor.uses:
                    use.rewrite()
                if donor.handed_out:
                    donor.event.signal()
            return [donor.vector for donor in moved]

    def check(self) -> None:
        """``refresh`` for those that wait: what it raises, their waits raise."""
        try:
            self.refresh()
        except ClosedError:
            return
        except VfioImsError as error:
            for table in list(self._tables):
                table.fail(error)

    def hand_out(self, donor: DonorVector) -> int:
        """The event descriptor of an exclusive donor, for a loop of the owner's own; the hub leaves it alone.

        Where messages have to be checked, a thread does so from now on until the slot closes: nothing of ours runs
        while the owner waits. A moved vector signals the descriptor.
        """
        with self.lock:
            if not donor.handed_out:
                donor.handed_out = True
                self._hub.remove(donor.event)
            if self._watch is None and self.needs_checks:
                self._watch = threading.Event()
                name = f"moved vectors of {self._device}"
                threading.Thread(target=_watch, args=(weakref.ref(self), self._watch), name=name, daemon=True).start()
            return donor.event.fileno()

    def _stop_watching(self) -> None:
        watch, self._watch = self._watch, None
        if watch is not None:
            watch.set()


def _watch(pool: weakref.ref[DonorPool], stop: threading.Event) -> None:
    while not stop.wait(CHECK_PERIOD):
        found = pool()
        if found is None:
            return
        found.check()
        del found


class ReservedVectors(Owner):
    """MSI-X ``vectors`` that are never donors while this is open: the application's own. Closes with the device."""

    def __init__(self, label: str, parent: Owner, pool: DonorPool, vectors: Collection[int]) -> None:
        self.vectors, self._pool = tuple(sorted(set(vectors))), pool
        pool.reserve(self.vectors)
        super().__init__(label, parent)

    def _release(self) -> None:
        self._pool.release(self.vectors)
