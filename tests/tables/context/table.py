# SPDX-License-Identifier: Apache-2.0
"""A slot table that is no array in a BAR: contexts in memory, and commands that hand them over."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceError
from vfio_ims.messages import MessageLimits, Slot

from .registers import ENTRY, Bar0

if TYPE_CHECKING:
    from vfio_ims.device import Device

__all__ = ["ContextTable"]


class ContextTable:
    """``ImsTable`` over a buffer of contexts. While the device is disabled what is in memory is all there is."""

    size = ENTRY.count
    limits = MessageLimits()
    has_mask, has_pending, has_pasid = True, True, False

    def __init__(self, device: Device, regs: Bar0) -> None:
        self._device, self._regs = device, regs
        self.memory = device.dma.allocate(ENTRY.size)
        self.enabled = False
        self.write_pattern(range(self.size), [Slot()])

    def _command(self, register: str, slot: int) -> None:
        getattr(self._regs, register).write(slot)
        status = self._regs.STATUS.read()
        if status.fault:
            why = f"the device answers {status}"
            raise DeviceError(f"{register.lower()} context {slot}", device=self._device.name, why=why)

    def _words(self, index: int) -> tuple[int, int, int, int]:
        ENTRY.at(index)
        if not self.enabled:
            low, high, data, control = self.memory.view[index * 16 : index * 16 + 16].cast("I")
            return low, high, data, control
        self._command("SHOW", index)
        regs = self._regs
        return tuple(int(register.read()) for register in (regs.LOW, regs.HIGH, regs.DATA, regs.CONTROL))  # type: ignore[return-value]

    def read(self, index: int) -> Slot:
        return ENTRY.decode(*self._words(index))

    def read_many(self, indices: Sequence[int]) -> list[Slot]:
        return [self.read(index) for index in indices]

    def write(self, index: int, slot: Slot) -> None:
        """One context is handed over whole: there is no moment at which half of it is in use."""
        message, at = slot.message, ENTRY.at(index)
        words = array("I", (message.address & 0xFFFF_FFFF, message.address >> 32, message.data))
        words.append(ENTRY.control_word(slot))
        self.memory.view[at : at + 16] = words.tobytes()
        if self.enabled:
            self._command("LOAD", index)

    def write_control(self, index: int, slot: Slot) -> None:
        self.write(index, slot)

    def write_many(self, slots: Iterable[tuple[int, Slot]]) -> None:
        for index, slot in slots:
            self.write(index, slot)

    def write_pattern(self, indices: Sequence[int], pattern: Sequence[Slot]) -> None:
        for number, index in enumerate(indices):
            self.write(index, pattern[number % len(pattern)])

    def pending(self, index: int) -> bool:
        return self.enabled and ENTRY.is_pending(self._words(index)[3])

    def pending_among(self, indices: Sequence[int]) -> list[int]:
        return [index for index in indices if self.pending(index)]
