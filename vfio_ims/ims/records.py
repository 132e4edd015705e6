# SPDX-License-Identifier: Apache-2.0
"""The domain's own record of its slots: what is allocated, and what each entry must hold. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vfio_ims.errors import DeviceBusy, UsageError
from vfio_ims.ims.donor import Donor
from vfio_ims.messages import Message, Slot

__all__ = ["SlotRecords"]

_FREE, _USED = 1, 0
_ONE_FREE = b"\1"


class SlotRecords:
    """One place for each slot of a table of ``size``. Control words are written from here, never read and modified."""

    def __init__(self, size: int, device: str) -> None:
        self.size, self._device = size, device
        self._free = bytearray(_ONE_FREE) * size
        self.free = size
        """How many slots are free."""
        self._lowest = 0  # no slot below it is free
        self.masked = bytearray(size)
        self.donor: list[Donor | None] = [None] * size
        self.message: dict[int, Message] = {}  # slots that hold a message of no donor: polled, unsafe
        self.pasid: dict[int, int] = {}
        self.any_pasid: set[int] = set()
        self.cookie: dict[int, object] = {}

    @property
    def allocated(self) -> list[int]:
        return [slot for slot in range(self.size) if not self._free[slot]]

    def is_free(self, slot: int) -> bool:
        return bool(self._free[slot])

    def take(self, count: int, slot: int | None = None) -> Sequence[int]:
        """``count`` free slots, consecutive where that is possible, or exactly ``slot``; all or none."""
        if count < 1:
            raise UsageError("allocate slots", device=self._device, why=f"count must be 1 or more, not {count}")
        if slot is not None:
            if not 0 <= slot < self.size:
                why = f"slot must be below {self.size}, not {slot}"
                raise UsageError("allocate a slot", device=self._device, why=why)
            if not self._free[slot]:
                raise DeviceBusy("allocate a slot", device=self._device, why=f"slot {slot} is in use")
            chosen: Sequence[int] = range(slot, slot + 1)
        else:
            first = self._free.find(_ONE_FREE * count, self._lowest) if count <= self.free else -1
            if first >= 0:
                chosen = range(first, first + count)
            elif self.free < count:
                why = f"{count} wanted, {self.free} of {self.size} are free"
                raise DeviceBusy("allocate slots", device=self._device, why=why, hint="close interrupts that are done")
            else:
                chosen = self._scattered(count)
        self._mark(chosen, _USED)
        if chosen[0] == self._lowest:
            self._lowest = chosen[-1] + 1 if is_block(chosen) else chosen[0] + 1
        return chosen

    def _scattered(self, count: int) -> list[int]:
        """The lowest ``count`` free slots, of which there are as many."""
        found, at = [], self._lowest
        for _ in range(count):
            at = self._free.find(_FREE, at)
            found.append(at)
            at += 1
        return found

    def _mark(self, slots: Sequence[int], how: int) -> None:
        """Of slots that are not so yet."""
        if len(slots) == 1:
            self._free[slots[0]] = how
        elif is_block(slots):
            self._free[slots[0] : slots[-1] + 1] = bytes((how,)) * len(slots)
        else:
            for slot in slots:
                self._free[slot] = how
        self.free += len(slots) if how == _FREE else -len(slots)

    def in_use(self, slots: Sequence[int]) -> Sequence[int]:
        """Those of ``slots`` that are allocated, each once; the same object where it is a range of such slots."""
        if len(slots) == 1:
            return () if self._free[slots[0]] else slots
        if is_block(slots) and self._free.find(_FREE, slots[0], slots[-1] + 1) < 0:
            return slots
        return list(dict.fromkeys(slot for slot in slots if not self._free[slot]))

    def donors_of(self, slots: Sequence[int]) -> set[Donor]:
        """The donors that these slots copy."""
        if is_block(slots):
            found = set(self.donor[slots[0] : slots[-1] + 1])
        else:
            found = {self.donor[slot] for slot in slots}
        found.discard(None)
        return found  # type: ignore[return-value]  # None is not in it any more

    def set_donors(self, slots: Sequence[int], donors: Sequence[Donor]) -> None:
        """The n-th slot copies donor n modulo their number."""
        if len(slots) == 1:
            self.donor[slots[0]] = donors[0]
            donors[0].join(slots)
            return
        whole = list(donors) * -(-len(slots) // len(donors))
        if is_block(slots):
            self.donor[slots[0] : slots[-1] + 1] = whole[: len(slots)]
        else:
            for slot, donor in zip(slots, whole, strict=False):
                self.donor[slot] = donor
        for number, donor in enumerate(donors):
            donor.join(slots[number :: len(donors)])

    def set_masked(self, slots: Sequence[int], masked: bool) -> None:
        if len(slots) == 1:
            self.masked[slots[0]] = masked
            donor = self.donor[slots[0]]
            if donor is not None:
                donor.mask_changed(slots)
            return
        if is_block(slots):
            self.masked[slots[0] : slots[-1] + 1] = bytes((masked,)) * len(slots)
        else:
            for slot in slots:
                self.masked[slot] = masked
        for donor in self.donors_of(slots):
            donor.mask_changed(slots)

    def set_cookies(self, slots: Sequence[int], cookies: Sequence[object]) -> None:
        """What the owner keeps with each slot."""
        for slot, one in zip(slots, cookies, strict=False):
            if one is not None:
                self.cookie[slot] = one

    def set_owners(self, slots: Sequence[int], pasid: int | None, *, any_pasid: bool) -> None:
        """Whose work may raise each slot."""
        if pasid is not None:
            self.pasid.update(dict.fromkeys(slots, pasid))
        if any_pasid:
            self.any_pasid.update(slots)

    def message_of(self, index: int) -> Message | None:
        """The message that entry ``index`` must hold now; None where it holds none."""
        donor = self.donor[index]
        return self.message.get(index) if donor is None else donor.message

    def slot(self, index: int) -> Slot:
        """What entry ``index`` must hold now."""
        donor, masked = self.donor[index], bool(self.masked[index])
        if donor is not None and not self.pasid and not self.any_pasid:
            return donor.entry(masked)
        message = self.message.get(index) if donor is None else donor.message
        if message is None:
            return Slot()
        return Slot(message, masked, self.pasid.get(index), index in self.any_pasid)

    def slots(self, indices: Sequence[int], *, masked: bool = False) -> list[Slot]:
        """``slot`` of each, or with ``masked`` the same but held back. Those that hold the same are one object."""
        known: dict[tuple[Donor, int, int | None, bool], Slot] = {}
        donors, masks, pasids, any_pasid = self.donor, self.masked, self.pasid, self.any_pasid
        entries = []
        for index in indices:
            donor = donors[index]
            what = None if donor is None else (donor, masks[index], pasids.get(index), index in any_pasid)
            entry = None if what is None else known.get(what)
            if entry is None:
                entry = self.slot(index)
                if masked and not entry.masked:
                    entry = entry.with_mask(True)
                if what is not None:
                    known[what] = entry
            entries.append(entry)
        return entries

    def message_beside(self, slots: Sequence[int], shares: Callable[[int, int], bool]) -> Message | None:
        """The message of an allocated slot beside ``slots`` that ``shares`` the first's address, if there is one."""
        own = set(slots)
        for index in self.allocated:
            if index not in own and shares(slots[0], index) and (message := self.message_of(index)):
                return message
        return None

    def give_back(self, slots: Sequence[int]) -> None:
        if len(slots) == 1:
            (slot,) = slots
            donor, self.donor[slot] = self.donor[slot], None
            if donor is not None:
                donor.leave(slots)
        else:
            gone = set(slots)
            for donor in self.donors_of(slots):
                donor.leave(gone)
            if is_block(slots):
                self.donor[slots[0] : slots[-1] + 1] = (None,) * len(slots)
            else:
                for slot in slots:
                    self.donor[slot] = None
        if self.message or self.pasid or self.cookie or self.any_pasid:
            for slot in slots:
                self.message.pop(slot, None)
                self.pasid.pop(slot, None)
                self.cookie.pop(slot, None)
                self.any_pasid.discard(slot)
        self._mark(slots, _FREE)
        self._lowest = min(self._lowest, slots[0] if is_block(slots) else min(slots))


def is_block(slots: Sequence[int]) -> bool:
    """Whether they are consecutive and ascending, by their type: a range, or a single one."""
    return len(slots) == 1 or (isinstance(slots, range) and slots.step == 1 and len(slots) > 0)
