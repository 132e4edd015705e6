# SPDX-License-Identifier: Apache-2.0
"""Reconciling events with fires, donor by donor, with at most one message in flight on each.

Messages in flight together merge, so that counts are exact only while one is in flight.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.ims.donor import Donor
    from vfio_ims.interrupts.donor_vector import DonorVector

__all__ = ["Account", "Extra", "Ledger", "rounds"]


@dataclass(slots=True, eq=False)
class Account:
    """One donor's events. ``place``: the donor's among all; ``open``: the slot whose message is on its way."""

    donor: Donor
    counter: DonorVector
    """Its ``count`` is the donor's."""
    place: int
    seen: int
    open: int | None = None
    last: int | None = None
    before: int | None = None
    """The last slot fired there, and the one before it."""
    overdue: int | None = None
    """A slot that was given up: its event may still come."""

    def expect(self, slot: int) -> None:
        """``slot`` fires now, and its event must come here."""
        self.open = slot
        if slot != self.last:
            self.before, self.last = self.last, slot

    def give_up(self) -> None:
        self.open, self.overdue = None, self.open


@dataclass(frozen=True, slots=True)
class Extra:
    """``count`` events more than fires. ``late``: the slot whose overdue event the first of them was.

    ``last``, ``before``: the slots that had fired there last when they were taken.
    """

    account: Account
    count: int
    late: int | None = None
    last: int | None = None
    before: int | None = None


class Ledger:
    """Starts from the counts as they are: drain the hub and let it settle before."""

    def __init__(self, donors: Iterable[Donor]) -> None:
        self.accounts = [
            Account(donor, donor.attached, place, donor.attached.count) for place, donor in enumerate(donors)
        ]
        self.by_vector = {account.donor.vector: account for account in self.accounts}

    def take_extras(self) -> list[Extra]:
        """Take what was drained since the last call; one event answers an open fire, the others are extra."""
        extras = []
        for account in self.accounts:
            new = account.counter.count - account.seen
            if not new:
                continue
            account.seen += new
            if account.open is not None:
                account.open = None
                new -= 1
            if new:
                extras.append(Extra(account, new, account.overdue, account.last, account.before))
                account.overdue = None
        return extras

    def expect(self, slots: Sequence[int], vectors: Mapping[int, int]) -> None:
        """``slots`` fire now, and the event of each must come at ``vectors[slot]``."""
        for slot in slots:
            self.by_vector[vectors[slot]].open = slot
        self.remember(slots, vectors)

    def remember(self, slots: Sequence[int], vectors: Mapping[int, int]) -> None:
        """``slots`` fire now, each at ``vectors[slot]``."""
        for slot in slots:
            account = self.by_vector[vectors[slot]]
            if slot != account.last:
                account.before, account.last = account.last, slot

    def forget(self) -> None:
        """What has come until now is accounted for elsewhere."""
        for account in self.accounts:
            account.seen = account.counter.count
            account.open = account.overdue = None


def rounds(slots: Sequence[int], vectors: Sequence[int], *, skewed: bool = False) -> Iterator[list[int]]:
    """``slots`` in rounds in which each vector occurs once at most; ``vectors[n]`` is the n-th slot's.

    ``skewed``: each vector's slots start at another place, so that slots that lie side by side are rarely in one round:
    two that answer for each other do not show when they are fired together.
    """
    queues: dict[int, list[int]] = {}
    for slot, vector in zip(slots, vectors, strict=True):
        queues.setdefault(vector, []).append(slot)
    if skewed:
        for number, (vector, queue) in enumerate(queues.items()):
            start = number % len(queue)
            queues[vector] = queue[start:] + queue[:start]
    for turn in range(max(map(len, queues.values()), default=0)):
        yield [queue[turn] for queue in queues.values() if turn < len(queue)]
