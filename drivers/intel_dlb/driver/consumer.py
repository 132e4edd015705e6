# SPDX-License-Identifier: Apache-2.0
"""A consumer queue in our DMA memory: the device writes entries round it, and toggles their generation on each lap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.native.access import run_length

from ..hardware.elements import ELEMENT_SIZE, GENERATION

if TYPE_CHECKING:
    from vfio_ims.dma import Buffer

__all__ = ["Consumer"]

_STATUS = 15  # the byte of an entry that has the generation


class Consumer:
    """``entries`` of them, 8 or more. Who takes from it holds a lock of its own."""

    def __init__(self, buffer: Buffer, entries: int) -> None:
        self.iova, self.entries, self._buffer = buffer.iova, entries, buffer
        self._view, self._address = buffer.view, buffer.address  # the view keeps the memory at the address
        self._next, self._generation = 0, GENERATION

    def restart(self) -> None:
        """As before the first entry: the device's write pointer is 0 again."""
        self._view[: ELEMENT_SIZE * self.entries] = bytes(ELEMENT_SIZE * self.entries)
        self._next, self._generation = 0, GENERATION

    @property
    def empty(self) -> bool:
        """Whether there is nothing to take."""
        return self._view[ELEMENT_SIZE * self._next + _STATUS] & GENERATION != self._generation

    def take(self, limit: int) -> bytes:
        """Up to ``limit`` entries that have come, 16 bytes each. Never waits."""
        found = b""
        while limit > 0 and not self.empty:
            last = min(self._next + limit, self.entries)
            start = ELEMENT_SIZE * self._next
            first = self._address + start + _STATUS
            count = run_length(first, ELEMENT_SIZE, last - self._next, GENERATION, self._generation)
            found += self._view[start : start + ELEMENT_SIZE * count]
            limit -= count
            self._next += count
            if self._next < self.entries:
                break
            self._next, self._generation = 0, self._generation ^ GENERATION
        return found

    def close(self) -> None:
        self._view.release()
        self._buffer.close()
