# SPDX-License-Identifier: Apache-2.0
"""Takes slots of a table into use and gives them back: the record, the entry, the donor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vfio_ims.errors import UnsupportedError
from vfio_ims.ims.table import drop_pending
from vfio_ims.interruption import break_off

if TYPE_CHECKING:
    from vfio_ims.ims.dispatch import Dispatcher
    from vfio_ims.ims.donor import Donor
    from vfio_ims.ims.polled import PolledWord, PolledWords
    from vfio_ims.ims.quiesce import Quiescer
    from vfio_ims.ims.records import SlotRecords
    from vfio_ims.ims.request import Request
    from vfio_ims.ims.table import ImsTable
    from vfio_ims.ims.table_donors import TableDonors
    from vfio_ims.messages import Message

__all__ = ["SlotAllocator"]


class SlotAllocator:
    """All or none: what fails half-way is given back. Called with the domain's lock held."""

    def __init__(
        self,
        device: str,
        table: ImsTable,
        records: SlotRecords,
        donors: TableDonors,
        dispatcher: Dispatcher,
        quiescer: Quiescer,
        words: PolledWords,
    ) -> None:
        self._device, self._table, self._records, self._donors = device, table, records, donors
        self._dispatcher, self._quiescer, self._words = dispatcher, quiescer, words
        self._by_address, self._groups = table.limits.by_address, bool(table.limits.address_groups)
        self._one_address = table.limits.one_address
        self.keeps: bool | None = None
        """Whether entries read back as they were written; None until the first was."""

    def allocate(self, request: Request) -> Sequence[int]:
        """Take slots and let them copy donors, as ``request`` asks; returns the slots."""
        slots = self._take(request)
        try:
            for part in self._by_address(slots) if self._groups else (slots,):
                self._set_up(part, self._choose(part, request), request)
            self._records.set_cookies(slots, request.cookies)
            if request.vector is not None:
                self._donors.pinned.update(slots)
            break_off()  # Ctrl-C: rather now than when the caller does not have the slots yet
        except BaseException:
            self.take_back(slots, "a failed allocation")
            raise
        return slots

    def _take(self, request: Request) -> Sequence[int]:
        """Free slots, marked as taken. One that wants a donor for itself shares no address with others, if it can."""
        slot = request.slot
        if self._groups and request.exclusive and slot is None:
            free = (index for index in range(self._table.size) if self._records.is_free(index))
            slot = next((index for index in free if self._neighbour([index]) is None), None)
        return self._records.take(request.count, slot)

    def _choose(self, slots: Sequence[int], request: Request) -> list[Donor]:
        if request.vector is not None:
            return [self._donors.vector(request.vector, slots)]
        return [self._donors.exclusive(slots)] if request.exclusive else self._donors.shared(slots)

    def _set_up(self, slots: Sequence[int], donors: Sequence[Donor], request: Request) -> None:
        """Record, then write: masked, the message, unmasked last. The slots share an address, or none does."""
        records = self._records
        self.discharge(slots, self._neighbour(slots), donors[0].message)
        records.set_masked(slots, request.masked)  # first: then each donor learns of both at once
        records.set_donors(slots, donors)
        records.set_owners(slots, request.pasid, any_pasid=request.any_pasid)
        self._dispatcher.allocated(slots)
        entries = [records.slot(index) for index in slots[: len(donors)]]
        self._table.write_pattern(slots, entries)
        if self.keeps is None:  # where the device does not keep the first, a later difference shows nothing
            self.keeps = self._table.read(slots[0]) == entries[0]

    def allocate_polled(self, slot: int | None, pasid: int | None) -> tuple[int, PolledWord]:
        """Take one slot, or exactly ``slot``, and point it at a word of DMA memory; returns both."""
        slots = self._records.take(1, slot)
        return slots[0], self._point_at_words(slots, pasid)[0]

    def allocate_polled_group(self, count: int, pasid: int | None) -> list[tuple[int, PolledWord]]:
        """Take ``count`` slots and point each at a word of its own; returns both of each."""
        slots = self._records.take(count)
        return list(zip(slots, self._point_at_words(slots, pasid), strict=True))

    def _point_at_words(self, slots: Sequence[int], pasid: int | None) -> list[PolledWord]:
        """Point ``slots``, taken just now, at words of DMA memory; what fails gives them back."""
        records = self._records
        words: list[PolledWord] = []
        try:
            for part in self._by_address(slots) if self._groups else (slots,):
                neighbour = beside = self._neighbour(part)
                taken = self._words.take(len(part))
                words += taken
                records.message.update(zip(part, [word.message for word in taken], strict=True))
                for slot, word in zip(part, taken, strict=True):
                    self._check_address(slot, word.message, beside)
                    if self._table.limits.one_address:
                        beside = word.message
                self.discharge(part, neighbour)
                records.set_masked(part, False)
                records.set_owners(part, pasid, any_pasid=False)
                self._table.write_pattern(part, records.slots(part))
        except BaseException:
            self.take_back(slots, "a failed allocation")
            raise
        return words

    def check_address(self, slot: int, message: Message) -> None:
        """Raise UnsupportedError where ``slot`` cannot hold ``message`` beside the slots in use."""
        self._check_address(slot, message, self._neighbour([slot]))

    def _neighbour(self, slots: Sequence[int]) -> Message | None:
        """Where entries share an address: the message of a slot beside ``slots`` that is in use, if one is."""
        if not self._one_address:
            return None
        return self._records.message_beside(slots, self._table.limits.share_address)

    def _check_address(self, slot: int, message: Message, neighbour: Message | None) -> None:
        """UnsupportedError where ``message`` would change the address that slots in use share, or cannot be held."""
        why = self._table.limits.refusal(message, () if neighbour is None else (neighbour,))
        if why is not None:
            hint = "" if neighbour is None else "close the other slots first"
            raise UnsupportedError(f"point slot {slot} at {message}", device=self._device, why=why, hint=hint)

    def discharge(self, slots: Sequence[int], neighbour: Message | None = None, through: Message | None = None) -> None:
        """Drop what ``slots`` hold back, or let it leave, so that the next owner starts clean."""
        pending = self._table.pending_among(slots)
        if pending:
            pending = drop_pending(self._table, pending)
        if pending:
            self._quiescer.discharge(pending, neighbour, through)

    def take_back(self, slots: Sequence[int], closed_by: str) -> None:
        """Quiesce ``slots``, whose source is off, and free them; waits for them raise ClosedError."""
        if not slots:
            return
        records = self._records
        try:
            for part in self._by_address(slots) if self._groups else (slots,):
                neighbour = self._neighbour(part)
                self.discharge(part, neighbour, records.message_of(part[0]))
                self._quiescer.quiesce(part, neighbour)
        except BaseException:
            self._donors.not_quiesced(donor.vector for donor in records.donors_of(slots))
            raise
        finally:
            self._dispatcher.forget(slots, closed_by)
            if records.message:
                self._words.give_back([records.message[slot] for slot in slots if slot in records.message])
            records.give_back(slots)
            if self._donors.pinned:
                self._donors.pinned.difference_update(slots)
            self._donors.settle()
