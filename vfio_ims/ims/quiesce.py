# SPDX-License-Identifier: Apache-2.0
"""Leaving slots quiet: masked and zeroed, or, where a table has no mask, parked on a word of our own memory.

What that comes to depends on the table: whether entries have a mask, an address of their own, and how many bits they
keep. docs/ims.md, "Tables of other shapes", has the whole.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceError, RemovedError, hint_where_lost
from vfio_ims.ims.health import absence
from vfio_ims.messages import NO_MESSAGE, Format, Message, Slot
from vfio_ims.native.access import poll_memory, store

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.dma import Buffer
    from vfio_ims.ims.table import ImsTable

__all__ = ["Quiescer"]

_WORDS = 1024
_UNDER_WAY = 1.0  # seconds that a pending message may take to leave, once it is unmasked: a model's server may be busy
_PARKED = 0x7061726B  # "park": what a parked slot writes, to be recognised in a dump


class Quiescer:
    """Owns the scratch words: a page of DMA memory that nothing else reads, mapped when it is first needed."""

    def __init__(self, device: Device, table: ImsTable) -> None:
        self._device, self._table = device, table
        self._page: Buffer | None = None
        self._words: tuple[int, memoryview] = (0, memoryview(b""))  # where the scratch words are; their memory, held
        self._taken: Slot | None = None  # what was read last of an entry that holds ``_masked``
        self._masked = Slot(table.limits.kept(NO_MESSAGE), masked=True) if table.has_mask else None

    @property
    def scratch(self) -> Message:
        """A message that goes nowhere: a write to the scratch word, of as many bits of data as the table keeps."""
        if self._page is None:
            page = self._page = self._device.dma.allocate(4 * _WORDS)
            self._words = page.address, page.view
        return Message(self._page.iova, _PARKED & (1 << self._table.limits.data_bits) - 1, Format.MEMORY)

    def quiet(self, neighbour: Message | None = None) -> Slot:
        """What an entry holds when its slot is not in use.

        ``neighbour``: the message of another slot that is in use and shares this one's address, which then stays. Where
        the table can hold neither a mask nor the scratch word's address, the source is what keeps the slot quiet.
        """
        limits = self._table.limits
        if neighbour is not None and limits.one_address:
            return Slot(Message(neighbour.address, 0), masked=self._table.has_mask)
        if self._masked is not None:
            return self._masked
        if limits.refusal(self.scratch) is not None:
            return Slot(limits.kept(NO_MESSAGE), masked=False)
        # Once the address is a donor's again, the data of idle slots must not be another's vector.
        message = Message(self.scratch.address, 0) if limits.one_address else self.scratch
        return Slot(limits.kept(message), masked=False)

    def quiesce(self, slots: Sequence[int], neighbour: Message | None = None) -> None:
        """On return none of ``slots`` can send a message. Read back; DeviceError where one did not take it.

        Their source is off. ``neighbour``: as ``quiet`` takes it.
        """
        if not slots:
            return
        quiet = self.quiet(neighbour)
        self._table.write_pattern(slots, [quiet])
        for slot in slots[:1] if len(slots) == 1 else sorted({slots[0], slots[-1]}):
            found = self._table.read(slot)
            if found is self._taken and quiet is self._masked:
                continue  # as the last one, which was compared
            if found.message == quiet.message and found.masked == quiet.masked:
                self._taken = found if quiet is self._masked else None
            else:
                name, gone = self._device.name, absence(self._device)
                if gone:
                    raise RemovedError(f"quiesce slot {slot}", device=name, why=gone, hint=hint_where_lost(name))
                raise DeviceError(
                    f"quiesce slot {slot}",
                    device=name,
                    why=f"it was written as {quiet} and reads back as {found}",
                    hint="is the table where its layout says? A model has one where ModelBar(slots=...) says",
                )

    def discharge(
        self, pending: Sequence[int], neighbour: Message | None = None, through: Message | None = None
    ) -> None:
        """Let the messages of ``pending`` slots, which a former owner left, go to scratch memory.

        Before the slots are quiesced: a write of the control word may hide the bit for a moment. The messages are seen
        to arrive, where memory takes them. The slots are left as ``quiet`` says. Where the scratch word's
        address cannot be written, because the table does not keep it or a ``neighbour`` uses the one address, they go
        to the neighbour's donor or else to that of ``through``: one spurious wake-up.
        """
        limits = self._table.limits
        if not limits.one_address or neighbour is None:
            neighbour = None
            if limits.refusal(self.scratch) is None:
                most = 1 if limits.one_address else _WORDS
                for first in range(0, len(pending), most):
                    self._discharge(pending[first : first + most])
                return
        message = neighbour or through
        if message is not None and limits.refusal(message) is None:
            self._table.write_pattern(pending, [Slot(message, masked=False)])
            deadline = time.monotonic() + _UNDER_WAY
            while self._table.pending_among(pending) and time.monotonic() < deadline:
                time.sleep(0.0001)
            self._table.write_pattern(pending, [self.quiet(neighbour)])

    def _discharge(self, slots: Sequence[int]) -> None:
        start, data = self.scratch.address, self.scratch.data
        at, _ = self._words
        words = [4 * number for number in range(len(slots))]
        for word in words:
            store(at + word, 4, 0)
        self._table.write_pattern(slots, [Slot(Message(start + word, data), masked=False) for word in words])
        deadline = time.monotonic() + _UNDER_WAY
        for word in words:
            poll_memory(at + word, 4, 0xFFFF_FFFF, data, max(0.0, deadline - time.monotonic()))
        self._table.write_pattern(slots, [self.quiet()])

    def close(self) -> None:
        page, self._page = self._page, None
        self._words = 0, memoryview(b"")
        if page is not None:
            page.close()
