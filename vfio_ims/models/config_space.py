# SPDX-License-Identifier: Apache-2.0
"""The config space of a model: built once from its declarations, changed by what a driver writes."""

from __future__ import annotations

from collections.abc import Callable

from vfio_ims.pci.capabilities import AdvancedErrorReporting, Express, PowerManagement, PowerState, decode
from vfio_ims.pci.header import Command
from vfio_ims.pci.image import ConfigImage

__all__ = ["ModelConfig"]

_COMMAND = 0x04
_BUS_MASTER = int(Command.BUS_MASTER)
_FLR = 1 << 15  # Initiate Function Level Reset (PCIe 6.0, 7.5.3.4 "Device Control Register")
_DEVICE_CONTROL = 8


class ModelConfig:
    """4096 bytes. ``on_flr`` is called at a write of "initiate FLR"; None: the function has no such reset.

    ``asleep``: the function is in D3hot, where its BARs do not answer and it sends nothing (PCIe 6.0 5.3.1.4).
    ``on_wake`` is called where it leaves D3hot and that resets it (No_Soft_Reset is clear).
    """

    def __init__(self, image: ConfigImage, on_flr: Callable[[], None] | None, on_wake: Callable[[], None]) -> None:
        self.image, self._on_flr, self._on_wake = image, on_flr, on_wake
        self._state = bytearray(self.image.data)
        found = decode(self.image.space())
        express, power = found.find(Express), found.find(PowerManagement)
        errors = found.find(AdvancedErrorReporting)
        self._aer = None if errors is None else errors.offset
        self._control = None if express is None else express.offset
        self._power = None if power is None else power.offset + 4
        self._soft_reset = power is not None and not power.no_soft_reset
        self.asleep = False
        self._size = len(self.image.data)

    def load(self, offset: int, size: int) -> bytes:
        """A driver's read; zeros past the end."""
        data = bytes(self._state[offset : offset + size])
        return data + bytes(size - len(data))

    def store(self, offset: int, data: bytes) -> None:
        """A driver's write: read-only bits stay, write-1-to-clear bits clear."""
        data = data[: max(0, self._size - offset)]
        if not data:
            return
        self.image.write(self._state, offset, data)
        if self._power is not None and offset <= self._power < offset + len(data):
            asleep = self._state[self._power] & 3 == PowerState.D3HOT
            if self.asleep and not asleep and self._soft_reset:
                self._on_wake()
            self.asleep = asleep
        if self._control is not None and self._on_flr is not None:
            at = self._control + _DEVICE_CONTROL
            if offset <= at + 1 < offset + len(data) and data[at + 1 - offset] & _FLR >> 8:
                self._on_flr()

    def set_bits(self, offset: int, width: int, value: int, mask: int) -> None:
        """Change bits on the device's own account, read-only ones too."""
        now = int.from_bytes(self._state[offset : offset + width], "little")
        self._state[offset : offset + width] = (now & ~mask | value & mask).to_bytes(width, "little")

    @property
    def aer(self) -> int | None:
        """Where the Advanced Error Reporting capability is; None without it."""
        return self._aer

    @property
    def command(self) -> int:
        return int.from_bytes(self._state[_COMMAND : _COMMAND + 2], "little")

    @property
    def bus_master(self) -> bool:
        """Whether the function may send: bus mastering is on, and it is not asleep."""
        return self._state[_COMMAND] & _BUS_MASTER != 0 and not self.asleep
