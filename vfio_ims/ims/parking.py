# SPDX-License-Identifier: Apache-2.0
"""Leaving slots quiet: masked and zeroed, or, where a table has no mask, parked on a word of our own memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceError
from vfio_ims.messages import Message, Slot

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.dma import Buffer
    from vfio_ims.ims.table import ImsTable

__all__ = ["Parking"]

_PARKED = 0x7061726B  # "park": what a parked slot writes, for whoever finds it in a dump


class Parking:
    """Owns the scratch word: a page of DMA memory that nobody reads, mapped when it is first needed."""

    def __init__(self, device: Device, table: ImsTable) -> None:
        self._device, self._table = device, table
        self._page: Buffer | None = None

    @property
    def scratch(self) -> Message:
        """A message that goes nowhere: a write to the scratch word."""
        if self._page is None:
            self._page = self._device.dma.allocate(4)
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
        """Let pending bits that a former owner left go to the scratch word, so that the next one starts clean."""
        pending = self._table.pending_among(slots)
        if pending:
            self._table.write_pattern(pending, [Slot(self.scratch, masked=False)])
            self._table.write_pattern(pending, [Slot()])

    def close(self) -> None:
        page, self._page = self._page, None
        if page is not None:
            page.close()
