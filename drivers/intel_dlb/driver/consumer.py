# SPDX-License-Identifier: Apache-2.0
"""A consumer queue in our DMA memory: the device writes entries round it, and toggles their generation on each lap."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.native.ring import EntryRing

from ..hardware.elements import ELEMENT_SIZE, GENERATION

if TYPE_CHECKING:
    from vfio_ims.dma import Buffer

__all__ = ["Consumer"]

_STATUS = 15  # the byte of an entry that has the generation


class Consumer(EntryRing):
    """``entries`` of them, 8 or more."""

    __slots__ = ("_buffer", "iova")

    def __init__(self, buffer: Buffer, entries: int) -> None:
        self.iova, self._buffer = buffer.iova, buffer
        super().__init__(buffer.view, buffer.address, entries, ELEMENT_SIZE, _STATUS, GENERATION)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to take."""
        return bool(self._view[self.size * self.c.next + _STATUS] & GENERATION) != bool(self.c.ones)

    def drop(self) -> int:
        """Take all entries that have come, unseen: how many. Their tokens are still to be returned."""
        return self.take(self.entries, self.room(), lambda count: None)

    def close(self) -> None:
        super().close()
        self._buffer.close()
