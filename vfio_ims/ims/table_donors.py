# SPDX-License-Identifier: Apache-2.0
"""A table's donors: which of the device's donor vectors its slots copy, and which they can copy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceBusy, DeviceError, UnsupportedError, VfioImsError
from vfio_ims.ims.donor import Donor
from vfio_ims.ims.donor_shortage import describe_use, name_slots, shortage
from vfio_ims.messages import Message, MessageLimits

if TYPE_CHECKING:
    from vfio_ims.ims.table import ImsTable
    from vfio_ims.interrupts import DonorPool, DonorVector
    from vfio_ims.interrupts.donor_vector import DonorTable

__all__ = ["TableDonors"]


class TableDonors:
    """Chooses donors for one table from the device's pool: only such as the table's limits can hold the message of.

    ``others``: messages of no donor that slots of the table hold now, by slot. ``move(slots, donors)`` lets the n-th
    slot copy donor n modulo their number, ``rewrite(slots)`` writes slots from the record; both mask meanwhile and wake
    the owners. Every call is made with the pool's lock held.
    """

    def __init__(
        self,
        pool: DonorPool,
        table: ImsTable,
        arrived: Callable[[Donor, int], None],
        *,
        reserved: Collection[int],
        others: Mapping[int, Message],
        move: Callable[[Sequence[int], Sequence[Donor]], None],
        rewrite: Callable[[Sequence[int]], None],
        fail: Callable[[VfioImsError], None],
        device: str,
    ) -> None:
        self._pool, self._table, self._arrived, self._device = pool, table, arrived, device
        self._others, self._move, self._rewrite, self.fail = others, move, rewrite, fail
        self.eligible = tuple(vector for vector in range(pool.count) if vector not in set(reserved))
        self._may_use = frozenset(self.eligible)
        self._any_fits = table.limits == MessageLimits()
        self.pinned: set[int] = set()
        """Slots that were allocated on a vector by its number: they are not moved to another."""
        self._may_hold: set[int] = set()  # vectors whose message a slot may still hold, though none is allocated
        self._full_at = -1  # the pool's ``changes`` when no vector was free
        self._known: dict[int, Donor] = {}
        self._unfit: dict[int, Message] = {}  # vectors that were tried, with the message that did not fit
        pool.join(self)

    @property
    def donors(self) -> dict[int, Donor]:
        """The device's donors that this table may use, by vector, with its own slots on each."""
        return {vector: self._of(found) for vector, found in self._pool.vectors.items() if vector in self._may_use}

    def _of(self, attached: DonorVector) -> Donor:
        donor = self._known.get(attached.vector)
        if donor is None or donor.attached is not attached:
            donor = self._known[attached.vector] = Donor(attached, self, self._arrived)
        return donor

    def _used(self, slots: Sequence[int] = (), without: Donor | None = None) -> list[Message]:
        """The messages that slots hold now: all of the table, or those that share the first of ``slots``' address."""
        limits = self._table.limits
        donors = [donor for donor in self._known.values() if donor.load and donor is not without]
        others = self._others.items()
        if slots and limits.address_groups:
            first = slots[0]
            donors = [one for one in donors if any(limits.share_address(first, slot) for slot in one.slots())]
            return [one.message for one in donors] + [
                message for slot, message in others if limits.share_address(first, slot)
            ]
        return [*(donor.message for donor in donors), *(message for _, message in others)]

    def _refusal(self, message: Message, used: Sequence[Message]) -> str | None:
        return self._table.limits.refusal(message, tuple(used))

    # --- choosing -----------------------------------------------------------------------------------------------------

    def shared(self, slots: Sequence[int]) -> list[Donor]:
        """Up to one shared donor for each of ``slots``, least loaded first.

        Free vectors go before any donor's second slot.
        """
        found = self._shared(slots)
        if not found:
            raise self._none("a shared donor", slots)
        return found

    def _shared(
        self, slots: Sequence[int], without: DonorVector | None = None, beside: Sequence[Message] = ()
    ) -> list[Donor]:
        wanted = len(slots)
        if wanted == 1 and without is None and self._any_fits:
            chosen = self._least_loaded()
            return [] if chosen is None else [chosen]
        used = [] if self._any_fits else [*self._used(slots, None if without is None else self._of(without)), *beside]
        usable = [one for one in self._pool.usable() if one.vector in self._may_use and one is not without]
        idle = sum(1 for one in usable if not one.uses)
        if idle < wanted:
            usable += self._grow(wanted - idle, used)
        usable.sort(key=lambda one: (one.load, one.vector))
        found: list[Donor] = []
        for one in usable:
            if self._any_fits or self._refusal(one.message, used) is None:
                found.append(self._of(one))
                used.append(one.message)
                if len(found) == wanted:
                    break
        return found

    def _least_loaded(self) -> Donor | None:
        """What ``_shared`` finds for one slot of a table that takes any message, by one look at the donors."""
        best = self._pool.least_loaded(self._may_use)
        if (best is None or best.load) and self._full_at != self._pool.changes:
            grown = self._grow(1, ())
            if grown:
                best = grown[0]
            else:
                self._full_at = self._pool.changes
        return None if best is None else self._of(best)

    def exclusive(self, slots: Sequence[int]) -> Donor:
        """A donor for the one slot only: an idle one, a free vector, or one whose slots can be moved to others."""
        used = self._used(slots)
        usable = [
            one
            for one in self._pool.usable()
            if one.vector in self._may_use and self._refusal(one.message, used) is None
        ]
        usable.sort(key=lambda one: (one.load, one.vector))
        chosen = next((one for one in usable if not one.uses), None)
        if chosen is None:
            chosen = next(iter(self._grow(1, used)), None)
        if chosen is None:
            chosen = self._cleared(usable)
        if chosen is None:
            raise self._none("an exclusive donor", slots)
        self._pool.make_exclusive(chosen)
        return self._of(chosen)

    def _cleared(self, usable: Sequence[DonorVector]) -> DonorVector | None:
        for one in usable:
            try:
                self._pool.clear(one, self)
            except DeviceBusy:
                continue
            return one
        return None

    def vector(self, vector: int, slots: Sequence[int]) -> Donor:
        """The shared donor on this very ``vector`` for ``slots``, taken if it is free."""
        found = self._pool.vectors.get(vector)
        if found is None and vector in self._pool.free(self.eligible):
            found = self._pool.take(vector)  # which stays as an idle donor where its message does not fit
        if found is None or found.exclusive or vector not in self._may_use:
            raise DeviceBusy(f"take vector {vector} as a shared donor", device=self._device, why=self._explain(slots))
        donor = self._of(found)
        parts = self._table.limits.by_address(slots)
        why = next(filter(None, (self._refusal(found.message, self._used(part, donor)) for part in parts)), None)
        if why is not None:
            raise UnsupportedError(f"take vector {vector} as a shared donor", device=self._device, why=why)
        return donor

    def _grow(self, wanted: int, used: Sequence[Message]) -> list[DonorVector]:
        """Up to ``wanted`` free vectors as donors, each beside the others.

        Those whose message does not fit are given up at the end: at once, the next would get the same message.
        """
        found: list[DonorVector] = []
        unfit: list[DonorVector] = []
        try:
            for vector in self._pool.free(self.eligible):
                if len(found) == wanted or not self._pool.free([vector]):  # MSI: the kernel may give fewer
                    break
                known, beside = self._unfit.get(vector), [*used, *(one.message for one in found)]
                if known is not None and self._refusal(known, beside) is not None:
                    continue
                taken = self._pool.take(vector)
                if self._refusal(taken.message, beside) is None:
                    self._unfit.pop(vector, None)
                    found.append(taken)
                else:
                    self._unfit[vector] = taken.message
                    unfit.append(taken)
        finally:
            for taken in unfit:
                self._pool.give_up(taken)
        return found

    # --- when there is none -------------------------------------------------------------------------------------------

    def _none(self, what: str, slots: Sequence[int]) -> VfioImsError:
        return shortage(what, self._device, len(self.eligible), self._explain(slots), self._pool.source.kind)

    def _explain(self, slots: Sequence[int]) -> str:
        """What every vector is used for, and why its message does not fit ``slots``."""
        used = self._used(slots)
        shared = {one.vector: one.message for one in self._mine() if not one.exclusive}
        seen = sorted((self._unfit | shared).items())
        unfit = {vector: why for vector, message in seen if (why := self._refusal(message, used)) is not None}
        return describe_use(self._mine(), len(self.eligible), self._pool.taken_by_application(self.eligible), unfit)

    def _mine(self) -> list[DonorVector]:
        return [one for vector, one in self._pool.vectors.items() if vector in self._may_use]

    # --- moving -------------------------------------------------------------------------------------------------------

    def plan_move(self, donor: Donor, taker: DonorTable | None) -> Callable[[], None]:
        """What moves every slot off ``donor``; DeviceBusy where one has to stay there, with the reason.

        ``taker``: the table that wants the donor for a slot of its own, so that its message stays in use there.
        """
        slots = donor.slots()
        why, hint = "", f"close {'that slot' if len(slots) == 1 else 'those slots'}, or take another vector"
        if donor.exclusive:
            why = "it is allocated as exclusive"
        elif pinned := [slot for slot in slots if slot in self.pinned]:
            why = f"{name_slots(pinned)} asked for this vector"
        elif not self._table.has_mask:
            why = "the table has no mask, so that a slot cannot be rewritten while it may fire"
        else:
            parts = self._table.limits.by_address(slots)
            moves = [
                (part, self._shared(part, donor.attached, [donor.message] if taker is self else [])) for part in parts
            ]
            if all(targets for _, targets in moves):
                return lambda: self._move_all(moves)
            why = f"no other vector can be their donor: {self._explain(slots)}"
        busy = f"vector {donor.vector} is the donor of {name_slots(slots)}, and {why}"
        raise DeviceBusy(f"give up vector {donor.vector}", device=self._device, why=busy, hint=hint)

    def rewrite(self, donor: Donor) -> None:
        """The message of ``donor`` has changed: rewrite its slots, or move them where the table cannot hold it."""
        slots = donor.slots()
        parts = self._table.limits.by_address(slots)
        reasons = [self._refusal(donor.message, self._used(part, donor)) for part in parts]
        why = next(filter(None, reasons), None)
        if why is None:
            self._rewrite(slots)
            return
        moves = [(part, [] if donor.exclusive else self._shared(part, donor.attached)) for part in parts]
        if not all(targets for _, targets in moves):
            raise DeviceError(
                f"rewrite the slots of vector {donor.vector}",
                device=self._device,
                why=f"the vector moved to another CPU, and its message cannot go into the slots any more: {why}",
                hint="pin the vector's CPU (/proc/irq/N/smp_affinity), or turn interrupt remapping on",
            )
        self._move_all(moves)

    def _move_all(self, moves: Iterable[tuple[Sequence[int], Sequence[Donor]]]) -> None:
        for slots, targets in moves:
            self._move(slots, targets)

    # --- handing out and giving back ----------------------------------------------------------------------------------

    def hand_out(self, donor: Donor) -> int:
        """The event descriptor of an exclusive donor, for a loop of its owner's own."""
        return self._pool.hand_out(donor.attached)

    def not_quiesced(self, vectors: Iterable[int]) -> None:
        """A slot on one of ``vectors`` was given back though it may hold the message: the vector stays attached."""
        self._may_hold.update(vectors)

    def quiesced(self) -> None:
        """Every slot of the table is known to be quiet."""
        self._may_hold.clear()

    def hold(self, vector: int) -> str:
        """Why ``vector`` must stay attached though no allocated slot copies it; "" where it need not."""
        if vector not in self._may_hold:
            return ""
        return f"a slot that copied vector {vector} could not be quiesced when it was closed, and may still send to it"

    def settle(self) -> None:
        """Slots were given back or have other donors: exclusive donors without a slot are ordinary ones again."""
        self._pool.settle()

    def close(self) -> None:
        """No slot of the table copies a donor any more; with the device's last table the donors are detached."""
        for donor in self._known.values():
            donor.leave(donor.slots())
        self._may_hold.clear()
        try:
            self._pool.settle()
        finally:  # the others are detached even where one could not be
            self._pool.leave(self)
