# SPDX-License-Identifier: Apache-2.0
"""The event log: memory that the device writes errors to, so that none is lost to SWERR's one place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError
from vfio_ims.locks import make_lock

from ..hardware.events import Event, decode_event, entry_size

if TYPE_CHECKING:
    from vfio_ims.dma import AddressSpace

    from ..hardware.registers import Bar0

__all__ = ["EventLog"]

_LEAST = 64


class EventLog:
    """``entries`` of them (64 or more), each as long as GENCAP's ``support`` says."""

    def __init__(self, space: AddressSpace, entries: int, support: int) -> None:
        if not _LEAST <= entries < 1 << 16:
            raise UsageError("make an event log", why=f"entries must be {_LEAST} to 65535, not {entries}")
        self.entries, self._size = entries, entry_size(support)
        self._memory = space.allocate(entries * self._size)
        self._view = self._memory.view  # keeps the memory when the buffer is closed
        self._lock = make_lock()
        self._kept: list[Event] = []  # read from the device, and not taken yet

    def set_up(self, regs: Bar0) -> None:
        """Write the log's address to the disabled device."""
        self._kept.clear()
        regs.EVLCFG.write(base=self._memory.iova >> 12, size=self.entries)
        regs.EVLSTATUS.write(head=0)
        regs.GENCFG.update(event_log=1)

    def take(self, regs: Bar0) -> list[Event]:
        """The entries since this was last asked; the device may reuse their places."""
        with self._lock:
            self._read(regs)
            found, self._kept = self._kept, []
        return found

    def take_about(self, regs: Bar0, queue: int, handle: int) -> Event | None:
        """The entry about a bad interrupt handle in that queue, if there is one; the others are kept."""
        with self._lock:
            self._read(regs)
            for event in self._kept:
                if (event.queue, event.handle) == (queue, handle):
                    self._kept.remove(event)
                    return event
        return None

    def _read(self, regs: Bar0) -> None:
        status = regs.EVLSTATUS.read()
        head, tail = status.head, status.tail
        if head == tail:
            return
        while head != tail:
            self._kept.append(decode_event(self._view[head * self._size : (head + 1) * self._size].tobytes()))
            head = (head + 1) % self.entries
        regs.EVLSTATUS.write(head=head, interrupt=1)

    def close(self) -> None:
        self._memory.close()
