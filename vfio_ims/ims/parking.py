# SPDX-License-Identifier: Apache-2.0
"""Leaving slots quiet: masked and zeroed, or, where a table has no mask, parked on a word of our own memory."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceError
from vfio_ims.messages import Message, Slot
from vfio_ims.native.access import poll_memory, store

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.dma import Buffer
    from vfio_ims.ims.table import ImsTable

__all__ = ["Parking"]

_WORDS = 1024
_UNDER_WAY = 0.1  # seconds that a pending message may take to leave, once it is unmasked
_PARKED = 0x7061726B  # "park": what a parked slot writes, for whoever finds it in a dump


class Parking:
    """Owns the scratch words: a page of DMA memory that nobody else reads, mapped when it is first needed."""

    def __init__(self, device: Device, table: ImsTable) -> None:
        self._device, self._table = device, table
        self._page: Buffer | None = None

    @property
    def scratch(self) -> Message:
        """A message that goes nowhere: a write to the scratch word."""
        if self._page is None:
            self._page = self._device.dma.allocate(4 * _WORDS)
        return Message(self._page.iova, _PARKED)

    def quiesce(self, slots: Sequence[int]) -> None:
        """On return none of ``slots`` can send a message. Read back; DeviceError where one did not take it."""
        if not slots:
            return
        quiet = Slot() if self._table.has_mask else Slot(self.scratch, masked=False)
        self._table.write_pattern(slots, [quiet])
        for slot in (slots[0], slots[-1]):
            found = self._table.read(slot)
            if found.message != quiet.message or found.masked != quiet.masked:
                raise DeviceError(
                    f"quiesce slot {slot}",
                    device=self._device.name,
                    why=f"it was written as {quiet} and reads back as {found}",
                    hint="run the self-test: the table does not keep what is written to it",
                )

    def discharge(self, slots: Sequence[int]) -> None:
        """Let pending bits that a former owner left go to scratch memory, so that the next one starts clean.

        Before the slots are quiesced: a write of the control word may hide the bit for a moment. The pending messages
        are seen to arrive, where memory takes them. The slots are left masked and zeroed.
        """
        pending = self._table.pending_among(slots)
        for first in range(0, len(pending), _WORDS):
            self._discharge(pending[first : first + _WORDS])

    def _discharge(self, slots: Sequence[int]) -> None:
        start = self.scratch.address
        assert self._page is not None
        words = [4 * number for number in range(len(slots))]
        for word in words:
            store(self._page.address + word, 4, 0)
        self._table.write_pattern(slots, [Slot(Message(start + word, _PARKED), masked=False) for word in words])
        deadline = time.monotonic() + _UNDER_WAY
        for word in words:
            poll_memory(self._page.address + word, 4, 0xFFFF_FFFF, _PARKED, max(0.0, deadline - time.monotonic()))
        self._table.write_pattern(slots, [Slot()])

    def close(self) -> None:
        page, self._page = self._page, None
        if page is not None:
            page.close()
