# SPDX-License-Identifier: Apache-2.0
"""Writes allocated slots: mask, donor or message changed; all of them again after a reset or a moved vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vfio_ims.errors import UnsupportedError, UsageError, check_index
from vfio_ims.ims.table import write_controls
from vfio_ims.messages import Message

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.ims.dispatch import Dispatcher
    from vfio_ims.ims.donor import Donor
    from vfio_ims.ims.records import SlotRecords
    from vfio_ims.ims.table import ImsTable
    from vfio_ims.ims.table_donors import TableDonors

__all__ = ["SlotWriter"]


class SlotWriter:
    """Keeps the table as the records say while both change. Called with the domain's lock held."""

    def __init__(
        self,
        device: Device,
        table: ImsTable,
        records: SlotRecords,
        donors: TableDonors,
        dispatcher: Dispatcher,
        check_address: Callable[[int, Message], None],
    ) -> None:
        self._device, self._table, self._records, self._donors = device, table, records, donors
        self._dispatcher, self._check_address = dispatcher, check_address

    def rewrite(self, slots: Sequence[int]) -> None:
        """Write ``slots`` masked with their message, unmask them, and wake every owner: no fire meanwhile is lost.

        All are masked before the first is unmasked: once a message has come by a moved vector's new place, the kernel
        frees the old one, and a message to that reaches whatever has it next (Linux arch/x86/kernel/apic/vector.c).
        """
        if self._table.has_mask:
            self._table.write_pattern(slots, self._records.slots(slots, masked=True))
        self._table.write_pattern(slots, self._records.slots(slots))
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
        groups: dict[int, list[int]] = {}
        for slot, vector in zip(slots, vectors, strict=True):
            groups.setdefault(vector, []).append(slot)
        donors = {vector: self._donors.vector(vector, members) for vector, members in groups.items()}
        before = self._records.donors_of(slots)
        for vector, members in groups.items():
            self._records.set_donors(members, [donors[vector]])
        self._join(slots, before)
        self._table.write_pattern(slots, self._records.slots(slots))
        self._donors.pinned.update(slots)
        self._donors.settle()

    def set_masked(self, slots: Sequence[int], masked: bool) -> None:
        """Mask or unmask ``slots``, several in one compiled call; UnsupportedError where entries have no mask."""
        records = self._records
        if not self._table.has_mask:
            operation = f"mask slot {slots[0]}" if len(slots) == 1 else "mask slots"
            why = "the table's entries have no mask"
            raise UnsupportedError(operation, device=self._device.name, why=why)
        records.set_masked(slots, masked)
        if len(slots) == 1:
            self._table.write_control(slots[0], records.slot(slots[0]))
        else:
            write_controls(self._table, slots, records.slots(slots))
        if masked:
            self._dispatcher.masked(slots)

    def put(self, slot: int, message: Message, *, unsafe: bool) -> None:
        """Put ``message`` into ``slot``: where a donor has it the slot copies that donor and follows it from now on.

        UsageError where it is no message of this device's, unless ``unsafe``.
        """
        self._check(slot, message, unsafe)
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

    def _check(self, slot: int, message: Message, unsafe: bool) -> None:
        name = self._device.name
        if not isinstance(slot, int):
            check_index(slot, self._table.size, "slot", "write a slot", name)
        if not isinstance(message, Message):
            why = f"message must be a Message(address, data), not {message!r}"
            raise UsageError("write a slot", device=name, why=why)
        if not 0 <= slot < self._table.size or self._records.is_free(slot):
            raise UsageError("write a slot", device=name, why=f"slot {slot} is not allocated")
        if not unsafe and not self._is_own(message):
            known = self._device.port.message_platform().of_entry(message)
            raise UsageError(
                f"write slot {slot}",
                device=name,
                why=f"{known} is neither of a vector of this device nor of its DMA memory",
                hint="unsafe=True lets the device write there all the same",
            )
        self._check_address(slot, message)

    def _is_own(self, message: Message) -> bool:
        if any(message == donor.message for donor in self._donors.donors.values()):
            return True
        try:
            buffer, offset = self._device.dma.find(message.address)
        except UsageError:
            return False
        return offset + 4 <= buffer.size

    def _join(self, slots: Sequence[int], before: set[Donor]) -> None:
        """``slots`` have their new donors in the records: they are woken by these, then leave the old ones."""
        donor_now = self._records.donor
        self._dispatcher.rejoin(slots)
        for old in before:
            old.leave([slot for slot in slots if donor_now[slot] is not old])
