# SPDX-License-Identifier: Apache-2.0
"""The registers of a model's slot table that lie beside its entries: one address for all, bitmaps of one bit a slot."""

from __future__ import annotations

from collections.abc import Callable, Set
from struct import Struct

from vfio_ims.registers import SlotLayout

__all__ = ["Beside"]

_WORD = Struct("<I")
_ONES = 0xFFFF_FFFF
_ACTIONS = ("set", "clear", "drop")  # kinds of register in which a 1 acts on its slot, and a 0 on none


class Beside:
    """What ``layout`` declares outside its array, by offset in the BAR. ``pending``: the slots that pend, by number.

    ``drop`` forgets what one of them holds back.
    """

    def __init__(
        self, layout: SlotLayout, pending: Set[int], drop: Callable[[int], None], *, reset_masked: bool = True
    ) -> None:
        self._layout, self._pending, self._drop, self._reset_masked = layout, pending, drop, reset_masked
        self.address = [0, 0]
        """The low and the high word of the address that all entries share, where they share one."""
        self._masked = bytearray(layout.count)
        self.places: dict[int, tuple[str, int]] = {}
        """By offset in the BAR: which register, and its number among those of its kind."""
        for number, place in enumerate(layout.shared_address or ()):
            if place is not None:
                self.places[place] = "address", number
        if layout.shared_address is not None:
            copies = [place for copy in layout.address_copies for place in copy if place is not None]
            self.places.update({place: ("copy", number) for number, place in enumerate(copies)})
        self._copies: dict[int, int] = {}
        apart = layout.mask_set is not None
        bitmaps = (
            ("shown" if apart else "mask", layout.mask_bitmap),
            ("set", layout.mask_set),
            ("clear", layout.mask_clear),
            ("drop" if layout.drops_pending else "pending", layout.pending_bitmap),
        )
        for kind, start in bitmaps:
            if start is not None:
                self.places.update({start + 4 * n: (kind, n) for n in range(-(-layout.count // 32))})
        self.reset()

    def reset(self) -> None:
        """As after power-on."""
        fixed = self._layout.limits.address_fixed & ~self._layout.limits.address_mask
        self.address[:] = fixed & _ONES, fixed >> 32
        self._copies.clear()
        masked = self._reset_masked and self._layout.mask_bitmap is not None
        self._masked[:] = bytes((masked,)) * self._layout.count

    def state(self, index: int) -> tuple[int, int, int]:
        """Address low, address high and mask of one slot."""
        return self.address[0], self.address[1], self._masked[index]

    def covers(self, offset: int) -> bool:
        """Whether a register lies at ``offset`` in the BAR."""
        return offset & ~3 in self.places

    def load(self, offset: int, size: int) -> bytes:
        """A read by the client at ``offset`` in the BAR."""
        start = offset & ~3
        words = b"".join(_WORD.pack(self._read(at)) for at in range(start, offset + size, 4))
        return words[offset - start : offset - start + size]

    def store(self, offset: int, data: bytes) -> list[int]:
        """A write by the client at ``offset`` in the BAR; returns the slots whose mask it may have changed."""
        start, touched = offset & ~3, list[int]()
        whole = bytearray(offset - start + len(data) + 3 & ~3)
        for at in range(start, start + len(whole), 4):  # what is not written keeps its value; where a 1 acts, it is 0
            if self.places.get(at, ("", 0))[0] not in _ACTIONS:
                _WORD.pack_into(whole, at - start, self._read(at))
        whole[offset - start : offset - start + len(data)] = data
        for at in range(start, start + len(whole), 4):
            touched += self._write(at, _WORD.unpack_from(whole, at - start)[0])
        return touched

    def _slots(self, number: int) -> range:
        """The slots of a bitmap's register."""
        return range(32 * number, min(32 * number + 32, self._layout.count))

    def _read(self, at: int) -> int:
        kind, number = self.places.get(at, ("", 0))
        match kind:
            case "address":
                return self.address[number]
            case "copy":
                return self._copies.get(number, 0)
            case "mask" | "shown":
                return self._masks(number)
            case "set" | "clear" if at == (self._layout.mask_bitmap or 0) + 4 * number:
                return self._masks(number)
            case "pending" | "drop":
                held = bool(self._layout.pending_when)
                return sum(1 << slot % 32 for slot in self._slots(number) if (slot in self._pending) == held)
        return 0  # where bits are set or cleared only

    def _masks(self, number: int) -> int:
        held = self._layout.masked_when
        return sum(1 << slot % 32 for slot in self._slots(number) if self._masked[slot] == held)

    def _write(self, at: int, value: int) -> list[int]:
        kind, number = self.places.get(at, ("", 0))
        if kind == "address":
            limits = self._layout.limits
            kept, fixed = limits.address_mask, limits.address_fixed & ~limits.address_mask
            self.address[number] = value & kept >> 32 * number & _ONES | fixed >> 32 * number & _ONES
        elif kind == "copy":
            self._copies[number] = value
        elif kind == "mask":
            for slot in self._slots(number):
                self._masked[slot] = (value >> slot % 32 & 1) == self._layout.masked_when
            return list(self._slots(number))
        elif kind in _ACTIONS:
            slots = [slot for slot in self._slots(number) if value >> slot % 32 & 1]
            for slot in slots:
                if kind == "drop":
                    self._drop(slot)
                else:
                    self._masked[slot] = (kind == "set") == bool(self._layout.masked_when)
            return slots if kind != "drop" else []
        return []
