# SPDX-License-Identifier: Apache-2.0
"""MSI vectors as donors: one address, consecutive data, all taken at once; the message is in the kernel's registers.

VFIO shows a user's MSI address and data registers as scratch (Linux drivers/vfio/pci/vfio_pci_config.c), so the message
is read where the kernel itself wrote it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from vfio_ims.errors import DeviceBusy, DeviceError, UnsupportedError, UsageError, VfioImsError
from vfio_ims.locks import Guard
from vfio_ims.messages import Message
from vfio_ims.ports.values import IrqIndex, IrqSet

if TYPE_CHECKING:
    from vfio_ims.lifetime import Owner
    from vfio_ims.native.events import EventFd
    from vfio_ims.ports.device import DevicePort

__all__ = ["MsiRegisters", "MsiVectors"]

_ATTACH = IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER
_READS = 8


class MsiRegisters(Protocol):
    """The function's own MSI registers, as the kernel set them."""

    missing: str
    """What is not at hand to read them, in words; "" where all is."""
    hint: str

    def read(self) -> Message | None:
        """The message of vector 0; None while MSI is off."""
        ...


class MsiVectors:
    """Which vectors have an event descriptor; ``DonorPool``'s view of MSI, as ``MsixVectors`` is of MSI-X.

    The first ``attach`` enables as many vectors as the kernel gives: all, or half of that, down to one.
    """

    index, kind, dynamic = IrqIndex.MSI, "MSI", False

    def __init__(self, port: DevicePort, owner: Owner, registers: MsiRegisters | None) -> None:
        self._port, self._owner, self._registers = port, owner, registers
        self._lock = Guard()
        self.count = port.irq_info(IrqIndex.MSI).count
        self._attached: dict[int, EventFd] = {}
        self.changes = 0
        """How often a vector was attached or detached."""
        self._enabled = 0

    @property
    def attached(self) -> tuple[int, ...]:
        """The vectors in use, ascending."""
        return tuple(sorted(self._attached))

    def is_attached(self, vector: int) -> bool:
        """Whether ``vector`` is in use."""
        return vector in self._attached

    @property
    def given(self) -> int:
        """How many there are to attach: as many as the kernel has enabled, or, before that, as the function has."""
        return self._enabled or self.count

    def attach(self, vector: int, event: EventFd) -> None:
        """Let ``vector`` signal ``event``. DeviceBusy where it is in use, or the kernel has not given so many."""
        with self._lock:
            self._owner.check_open(f"attach MSI vector {vector}")
            if not 0 <= vector < self.count:
                why = f"the function has {self.count} MSI vectors"
                raise UsageError(f"attach MSI vector {vector}", device=self._port.name, why=why)
            if vector in self._attached:
                raise DeviceBusy(f"attach MSI vector {vector}", device=self._port.name, why="it is attached already")
            if not self._enabled:
                self._enabled = self._enable()
            if vector >= self._enabled:
                why = f"the kernel has given the function {self._enabled} of its {self.count} MSI vectors"
                raise DeviceBusy(f"attach MSI vector {vector}", device=self._port.name, why=why)
            self._port.set_irqs(IrqIndex.MSI, _ATTACH, vector, 1, [event.fileno()])
            self._attached[vector] = event
            self.changes += 1

    def _enable(self) -> int:
        """Enable as many vectors as can be had, none with a descriptor; how many that are."""
        wanted = self.count
        while True:
            try:
                self._port.set_irqs(IrqIndex.MSI, _ATTACH, 0, wanted, [-1] * wanted)
            except VfioImsError:
                if wanted == 1:
                    raise
                wanted //= 2
            else:
                return wanted

    def detach(self, vector: int) -> None:
        """Take the descriptor off. With the last one MSI is disabled."""
        with self._lock:
            if self._attached.pop(vector, None) is None:
                return
            self.changes += 1
            if self._attached:
                self._port.set_irqs(IrqIndex.MSI, _ATTACH, vector, 1, [-1])
            else:
                self._enabled = 0
                self._port.set_irqs(IrqIndex.MSI, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, 0, 0)

    @property
    def readable(self) -> bool:
        """Whether the kernel's registers are at hand."""
        return self._registers is not None and not self._registers.missing

    def unreadable(self, vector: int = 0) -> UnsupportedError:
        """What is missing to read the message of ``vector``, and what to do about it."""
        registers = self._registers
        why = "the function has no MSI capability" if registers is None else registers.missing
        hint = "" if registers is None else registers.hint
        return UnsupportedError(f"read the message of MSI vector {vector}", device=self._port.name, why=why, hint=hint)

    def holds(self, vector: int, message: Message) -> bool:
        """Whether the registers still say ``message`` for ``vector``."""
        return self._registers is not None and self._of(self._registers.read(), vector) == message

    def _of(self, base: Message | None, vector: int) -> Message | None:
        # The function sends the low bits of data itself (PCIe 6.0 7.7.1.5), which are 0 in the register.
        return None if base is None else Message(base.address, base.data & ~(self._enabled - 1) | vector)

    def message(self, vector: int) -> Message:
        """The message of an attached ``vector``, read twice alike. UnsupportedError where the registers are unseen."""
        registers = self._registers
        if registers is None or registers.missing:
            raise self.unreadable(vector)
        before: Message | None = None
        for _ in range(_READS):
            found = self._of(registers.read(), vector)
            if found and found == before:
                return self._port.message_platform().of_vector(found)
            before = found
        why = f"the registers hold no settled message: {before}"
        raise DeviceError(f"read the message of MSI vector {vector}", device=self._port.name, why=why)
