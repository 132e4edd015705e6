# SPDX-License-Identifier: Apache-2.0
"""A channel's list as a ring in the device's memory: data elements, and a link back to the start in the last place.

The engine consumes elements whose cycle bit equals its own, which flips at each lap. So new elements may be written
behind those that it is working on; the first of them becomes valid last. This is right whether or not the engine
compares the cycle bit of links, which is inferred.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..hardware.elements import ELEMENT_SIZE, Elements, link

if TYPE_CHECKING:
    from vfio_ims.device.bar import Bar

    from ..hardware.elements import StoreList

__all__ = ["Ring"]

_SCRATCH = 8  # bytes at the end that no element uses: the device's side of a fire


class Ring:
    """``size`` bytes at ``offset`` of ``bar``, which the device has at ``address``. Its owner's lock is held.

    ``produced`` and ``consumed`` count elements from the beginning of the list.
    """

    def __init__(self, bar: Bar, offset: int, size: int, address: int) -> None:
        self._bar, self._offset, self.address = bar, offset, address
        self._store_list: StoreList | None = getattr(bar.window, "store_list", None)
        self.capacity = (size - _SCRATCH) // ELEMENT_SIZE - 1
        self.scratch = address + (size - _SCRATCH) // 8 * 8
        self.produced = self.consumed = 0

    @property
    def room(self) -> int:
        """How many elements can be written now: one place stays free, so that full is not empty."""
        return self.capacity - 1 - (self.produced - self.consumed)

    def clear(self) -> None:
        """Begin anew: no element is valid for an engine that begins at the start with its cycle bit set."""
        self.produced = self.consumed = 0
        self._bar.write_block(self._offset, bytes((self.capacity + 1) * ELEMENT_SIZE), 8)

    def put(self, elements: Elements, first: int, count: int, interrupt: int) -> None:
        """Write ``count`` of ``elements`` from ``first``, at most ``room``; ``interrupt``: control bits of the last."""
        lap, slot = divmod(self.produced, self.capacity)
        before_end = min(count, self.capacity - slot)
        if before_end < count:
            self._store(0, elements, first + before_end, count - before_end, bool(lap & 1), interrupt)
        if slot + count >= self.capacity:
            end = self._offset + self.capacity * ELEMENT_SIZE
            self._bar.write_block(end, link(self.address, not lap & 1), 8)
        self._store(slot, elements, first, before_end, not lap & 1, interrupt if before_end == count else 0)
        self.produced += count

    def _store(self, slot: int, elements: Elements, first: int, count: int, cycle: bool, interrupt: int) -> None:
        """Write ``count`` elements from ``slot`` on; the first becomes valid last.

        It is read back: the elements are there before a doorbell, which goes another way (Linux does so too).
        """
        at, store = self._offset + slot * ELEMENT_SIZE, self._store_list
        if store is None or not elements.store_by(store, at, first, count, cycle, interrupt):
            words = elements.stored(first, count, cycle, interrupt)
            self._bar.write_block(at + 8, words[1:], 8)
            self._bar.write64(at, words[0])
            self._bar.read32(at)

    def take_position(self, position: int) -> int | None:
        """Take note of the ``position`` of the engine; how many elements it has consumed in all.

        None where it is not in this list.
        """
        place, rest = divmod((position - self.address) & 0xFFFF_FFFF, ELEMENT_SIZE)
        if rest or place > self.capacity:
            return None
        done = (place - self.consumed) % self.capacity
        if done <= self.produced - self.consumed:
            self.consumed += done
        return self.consumed
