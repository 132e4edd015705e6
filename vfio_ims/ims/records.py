# SPDX-License-Identifier: Apache-2.0
"""The domain's own record of its slots: what is allocated, and what each entry must hold. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vfio_ims.errors import DeviceBusy, UsageError
from vfio_ims.ims.donor import Donor
from vfio_ims.messages import Message, Slot

__all__ = ["SlotRecords"]

_FREE, _USED = b"\1", b"\0"


class SlotRecords:
    """One place for each slot of a table of ``size``. Control words are written from here, never read and modified."""

    def __init__(self, size: int, device: str) -> None:
        self.size, self._device = size, device
        self._free = bytearray(_FREE) * size
        self.masked = bytearray(size)
        self.donor: list[Donor | None] = [None] * size
        self.message: dict[int, Message] = {}  # slots that hold a message of no donor: polled, unsafe
        self.pasid: dict[int, int] = {}
        self.any_pasid: set[int] = set()
        self.cookie: dict[int, object] = {}

    @property
    def free(self) -> int:
        return self._free.count(_FREE)

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
            first = self._free.find(_FREE * count) if count <= self.free else -1
            if first >= 0:
                chosen = range(first, first + count)
            elif self.free < count:
                why = f"{count} wanted, {self.free} of {self.size} are free"
                raise DeviceBusy("allocate slots", device=self._device, why=why, hint="close interrupts that are done")
            else:
                chosen = [index for index in range(self.size) if self._free[index]][:count]
        self._mark(chosen, _USED)
        return chosen

    def _mark(self, slots: Sequence[int], how: bytes) -> None:
        if isinstance(slots, range) and slots.step == 1:
            self._free[slots.start : slots.stop] = how * len(slots)
        else:
            for slot in slots:
                self._free[slot : slot + 1] = how

    def donors_of(self, slots: Sequence[int]) -> set[Donor]:
        """The donors that these slots copy."""
        if isinstance(slots, range) and slots.step == 1:
            found = set(self.donor[slots.start : slots.stop])
        else:
            found = {self.donor[slot] for slot in slots}
        return {donor for donor in found if donor is not None}

    def set_donors(self, slots: Sequence[int], donors: Sequence[Donor]) -> None:
        """The n-th slot copies donor n modulo their number."""
        whole = list(donors) * -(-len(slots) // len(donors))
        if isinstance(slots, range) and slots.step == 1:
            self.donor[slots.start : slots.stop] = whole[: len(slots)]
        else:
            for slot, donor in zip(slots, whole, strict=False):
                self.donor[slot] = donor
        for number, donor in enumerate(donors):
            donor.join(slots[number :: len(donors)])

    def set_masked(self, slots: Sequence[int], masked: bool) -> None:
        if isinstance(slots, range) and slots.step == 1:
            self.masked[slots.start : slots.stop] = bytes((masked,)) * len(slots)
        else:
            for slot in slots:
                self.masked[slot] = masked
        for donor in self.donors_of(slots):
            donor.mask_changed()

    def set_cookies(self, slots: Sequence[int], cookies: Sequence[object]) -> None:
        """What the owner keeps with each slot."""
        self.cookie.update((slot, one) for slot, one in zip(slots, cookies, strict=False) if one is not None)

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
        message = self.message_of(index)
        if message is None:
            return Slot()
        return Slot(message, bool(self.masked[index]), self.pasid.get(index), index in self.any_pasid)

    def message_beside(self, slots: Sequence[int], shares: Callable[[int, int], bool]) -> Message | None:
        """The message of an allocated slot beside ``slots`` that ``shares`` the first's address, if there is one."""
        own = set(slots)
        for index in self.allocated:
            if index not in own and shares(slots[0], index) and (message := self.message_of(index)):
                return message
        return None

    def give_back(self, slots: Sequence[int]) -> None:
        for donor in self.donors_of(slots):
            donor.leave(slots)
        for slot in slots:
            self.donor[slot] = None
        if self.message or self.pasid or self.cookie or self.any_pasid:
            for slot in slots:
                self.message.pop(slot, None)
                self.pasid.pop(slot, None)
                self.cookie.pop(slot, None)
                self.any_pasid.discard(slot)
        self._mark(slots, _FREE)
