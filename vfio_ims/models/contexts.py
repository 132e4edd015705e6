# SPDX-License-Identifier: Apache-2.0
"""A model's slots that are in the driver's memory: when the device takes them, and what it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.errors import BusFault
from vfio_ims.messages import FireStatus
from vfio_ims.models.slot_store import SlotStore
from vfio_ims.registers import Context, Doorbell

if TYPE_CHECKING:
    from vfio_ims.ports.model import Bus

__all__ = ["Contexts"]


class Contexts:
    """The registers that ``context`` declares, and ``table``: the entries as the device has them."""

    def __init__(self, context: Context, table: SlotStore, bus: Callable[[], Bus | None]) -> None:
        self._context, self._table, self._bus = context, table, bus
        self._base, self._shown = bytearray(8), bytes(table.layout.stride)
        self.enabled = False

    def answers(self) -> list[tuple[Doorbell | None, Callable[[int], object]]]:
        """What each write that the context describes sets off."""
        context = self._context
        return [(context.enable, lambda _: self.enable()), (context.load, self.load), (context.show, self.show)]

    def write(self, region: int, offset: int, data: bytes) -> bool:
        """Take a write to the base register; whether it was one."""
        at = offset - self._context.base
        if region != self._context.bar or not 0 <= at < 8:
            return False
        self._base[at : at + len(data)] = data[: 8 - at]
        if self._context.enable is None:
            self.enable()
        return True

    def read(self, region: int, offset: int, size: int) -> bytes | None:
        """What a register of the context reads as; None where ``offset`` is in none."""
        if region != self._context.bar:
            return None
        if 0 <= offset - self._context.base < 8:
            return bytes(self._base[offset - self._context.base :][:size]).ljust(size, b"\0")
        shown = self._context.shown
        if shown is None or not 0 <= offset - shown < len(self._shown):
            return None
        return self._shown[offset - shown :][:size].ljust(size, b"\0")

    def enable(self) -> None:
        """Take every entry; the device is enabled where all of them could be read."""
        self.enabled = all(self._take(slot) for slot in range(self._table.layout.count))

    def load(self, slot: int) -> None:
        """Take one entry anew, and send what it held back if it is unmasked now."""
        if self.enabled and self._take(slot):
            self._table.discharge(slot)

    def show(self, slot: int) -> None:
        """Put one entry into the registers that show it."""
        stride = self._table.layout.stride
        self._shown = self._table.load(slot * stride, stride)

    def fire(self, slot: int) -> FireStatus:
        """Raise a slot: as it was loaded or, where entries are not loaded, as memory has it now."""
        if not self.enabled or (self._context.load is None and not self._take(slot)):
            return FireStatus.REFUSED
        return self._table.fire(slot)

    def _take(self, slot: int) -> bool:
        """Read an entry from the driver's memory; whether it answered."""
        layout, bus = self._table.layout, self._bus()
        if bus is None:
            return False
        try:
            at = int.from_bytes(self._base, "little") + layout.at(slot)
            self._table.store(slot * layout.stride, bus.read(at, layout.stride))
        except BusFault:
            return False
        return True

    def reset(self) -> None:
        """As after power-on: nothing is known of the driver's memory."""
        self._base[:] = bytes(8)
        self.enabled = False
