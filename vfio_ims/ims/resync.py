# SPDX-License-Identifier: Apache-2.0
"""Writes allocated slots again: after a reset, when their donor's message has changed, or for another donor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.ims.dispatch import Dispatcher
    from vfio_ims.ims.donors import Donor, TableDonors
    from vfio_ims.ims.records import SlotRecords
    from vfio_ims.ims.table import ImsTable
    from vfio_ims.messages import Message

__all__ = ["SlotWriter"]


class SlotWriter:
    """Keeps the table as the records say while both change. Called with the domain's lock held."""

    def __init__(self, table: ImsTable, records: SlotRecords, dispatcher: Dispatcher, donors: TableDonors) -> None:
        self._table, self._records, self._dispatcher, self._donors = table, records, dispatcher, donors

    def rewrite(self, slots: Sequence[int]) -> None:
        """Write ``slots`` masked with their message, unmask them, and wake every owner: no fire meanwhile is lost.

        All are masked before the first is unmasked: once a message has come by a moved vector's new place, the kernel
        frees the old one, and a message to that reaches whatever has it next (Linux arch/x86/kernel/apic/vector.c).
        """
        entries = [(slot, self._records.slot(slot)) for slot in slots]
        if self._table.has_mask:
            self._table.write_many([(slot, entry.with_mask(True)) for slot, entry in entries])
        self._table.write_many(entries)
        self._dispatcher.wake(slots)

    def copy(self, slots: Sequence[int], donors: Sequence[Donor]) -> None:
        """Let the n-th of ``slots`` copy donor n modulo their number: rewritten masked, their owners woken."""
        records = self._records
        before = records.donors_of(slots)
        records.set_donors(slots, donors)
        for slot in slots:
            records.message.pop(slot, None)
        self._join(slots, before)
        self.rewrite(slots)
        self._donors.settle()

    def retarget(self, slots: Sequence[int], vectors: Sequence[int]) -> None:
        """Let the n-th of ``slots`` copy the donor on ``vectors[n]`` and stay there; one compiled call, no mask."""
        donors = {vector: self._donors.vector(vector) for vector in set(vectors)}
        groups: dict[int, list[int]] = {}
        for slot, vector in zip(slots, vectors, strict=True):
            groups.setdefault(vector, []).append(slot)
        before = self._records.donors_of(slots)
        for vector, members in groups.items():
            self._records.set_donors(members, [donors[vector]])
        self._join(slots, before)
        self._table.write_many([(slot, self._records.slot(slot)) for slot in slots])
        self._donors.pinned.update(slots)
        self._donors.settle()

    def put(self, slot: int, message: Message) -> None:
        """Put ``message`` into ``slot``: where a donor has it the slot copies that donor and follows it from now on."""
        copied = next((donor for donor in self._donors.donors.values() if donor.message == message), None)
        if copied is not None:
            self.copy([slot], [copied])
            return
        records = self._records
        before, records.donor[slot] = records.donor[slot], None
        records.message[slot] = message
        self._table.write(slot, records.slot(slot))
        if before is not None:
            before.leave([slot])
            self._donors.settle()

    def _join(self, slots: Sequence[int], before: set[Donor]) -> None:
        """``slots`` have their new donors in the records: they are woken by these, then leave the old ones."""
        donor_now = self._records.donor
        for slot in slots:
            donor = donor_now[slot]
            if donor is not None:
                self._dispatcher.rejoin(slot, donor)
        for old in before:
            old.leave([slot for slot in slots if donor_now[slot] is not old])
