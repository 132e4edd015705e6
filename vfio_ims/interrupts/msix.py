# SPDX-License-Identifier: Apache-2.0
"""MSI-X vectors through VFIO: attached one a call, never naming a live one."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Protocol

from vfio_ims.counted import counted
from vfio_ims.errors import DeviceBusy, DeviceError, UnsupportedError, UsageError, hint_where_lost
from vfio_ims.locks import Guard
from vfio_ims.messages import Message
from vfio_ims.ports.values import IrqFlags, IrqIndex, IrqSet

if TYPE_CHECKING:
    from vfio_ims.lifetime import Owner
    from vfio_ims.native.events import EventFd
    from vfio_ims.ports.device import DevicePort

__all__ = ["MsixTable", "MsixVectors"]

_ATTACH = IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER
_NO_ANSWER = (0xFFFF_FFFF,) * 3
_READS = 8
_MESSAGE = struct.Struct("<QI")


class MsixTable(Protocol):
    """Reads the MSI-X table as the device has it: address low and high, data of each vector."""

    @property
    def readable(self) -> bool:
        """Whether the messages can be read: only a mapping of the table shows them."""
        ...

    @property
    def obstacle(self) -> tuple[str, str]:
        """Of a table that is not readable: why, and what to do about it."""
        ...

    def read(self, vector: int) -> tuple[int, int, int]:
        """Three single reads of 32 bits."""
        ...

    def read_bytes(self, vector: int) -> bytes:
        """The same 12 bytes, by three reads in one compiled call."""
        ...


class MsixVectors:
    """Which vectors have an event descriptor, and what message the kernel wrote for each.

    Where the kernel cannot grow the set (NORESIZE, before Linux 6.5 commit e4163438e015), the first ``attach`` enables
    all vectors at once, because growing later would change every message.
    """

    index, kind = IrqIndex.MSIX, "MSI-X"

    def __init__(self, port: DevicePort, owner: Owner, table: MsixTable | None) -> None:
        self._port, self._owner, self._table = port, owner, table
        self._lock = Guard()
        info = port.irq_info(IrqIndex.MSIX)
        self.count = self.given = info.count
        self.dynamic = not info.flags & IrqFlags.NORESIZE
        self._attached: dict[int, EventFd] = {}
        self.changes = 0
        """How often a vector was attached or detached."""

    @property
    def attached(self) -> tuple[int, ...]:
        """The vectors in use, ascending."""
        return tuple(sorted(self._attached))

    def is_attached(self, vector: int) -> bool:
        """Whether ``vector`` is in use."""
        return vector in self._attached

    def attach(self, vector: int, event: EventFd) -> None:
        """Let ``vector`` signal ``event``. UsageError outside the table, DeviceBusy if the vector is in use."""
        with self._lock:
            self._owner.check_open(f"attach vector {vector}")
            if not 0 <= vector < self.count:
                why = (
                    f"the function has {counted(self.count, 'MSI-X vector')}, 0 to {self.count - 1}"
                    if self.count
                    else "no MSI-X"
                )
                raise UsageError(f"attach vector {vector}", device=self._port.name, why=why)
            if vector in self._attached:
                raise DeviceBusy(f"attach vector {vector}", device=self._port.name, why="it is attached already")
            if not self.dynamic and not self._attached:
                descriptors = [event.fileno() if index == vector else -1 for index in range(self.count)]
                self._port.set_irqs(IrqIndex.MSIX, _ATTACH, 0, self.count, descriptors)
            else:
                self._port.set_irqs(IrqIndex.MSIX, _ATTACH, vector, 1, [event.fileno()])
            self._attached[vector] = event
            self.changes += 1

    def detach(self, vector: int) -> None:
        """Take the descriptor off. The kernel clears the vector's message: slots must not hold it any more.

        With the last one MSI-X is disabled: all remapping entries go to the next that asks.
        """
        with self._lock:
            if self._attached.pop(vector, None) is None:
                return
            self.changes += 1
            if self._attached:
                self._port.set_irqs(IrqIndex.MSIX, _ATTACH, vector, 1, [-1])
            else:
                self._port.set_irqs(IrqIndex.MSIX, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, 0, 0)

    @property
    def readable(self) -> bool:
        """Whether the messages can be read: only a mapping of the table shows them."""
        return self._table is not None and self._table.readable

    def unreadable(self, vector: int = 0) -> UnsupportedError:
        """What is missing to read the message of ``vector``, and what to do about it."""
        why, hint = ("the function has no MSI-X", "") if self._table is None else self._table.obstacle
        return UnsupportedError(f"read the message of vector {vector}", device=self._port.name, why=why, hint=hint)

    def holds(self, vector: int, message: Message) -> bool:
        """Whether one look at the table shows ``message`` for ``vector``: three reads of the device, in one call."""
        return self._table is not None and self._table.read_bytes(vector) == _MESSAGE.pack(
            message.address, message.data
        )

    def message(self, vector: int) -> Message:
        """The message that the kernel wrote for an attached ``vector``, read twice alike with an address.

        UnsupportedError where the table cannot be mapped.
        """
        table, name = self._table, self._port.name
        if table is None or not table.readable:
            raise self.unreadable(vector)
        before: tuple[int, int, int] | None = None
        for _ in range(_READS):
            words = table.read(vector)
            if words == before == _NO_ANSWER:
                why, hint = "it reads as all ones: the device does not answer", hint_where_lost(name)
                raise DeviceError(f"read the message of vector {vector}", device=name, why=why, hint=hint)
            if words == before and words[0] | words[1]:
                return self._port.message_platform().of_vector(Message(words[1] << 32 | words[0], words[2]))
            before = words
        raise UsageError(
            f"read the message of vector {vector}",
            device=name,
            why=f"the table's entry holds no settled message: {before}",
        )
