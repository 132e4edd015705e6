# SPDX-License-Identifier: Apache-2.0
"""The config space of a model: built once from its declarations, changed by what a driver writes."""

from __future__ import annotations

from collections.abc import Callable

from vfio_ims.pci.capabilities import Express, decode
from vfio_ims.pci.header import Command
from vfio_ims.pci.image import ConfigImage

__all__ = ["ModelConfig"]

_COMMAND = 0x04
_BUS_MASTER = int(Command.BUS_MASTER)
_FLR = 1 << 15  # Initiate Function Level Reset (PCIe 6.0, 7.5.3.4 "Device Control Register")
_DEVICE_CONTROL = 8


class ModelConfig:
    """4096 bytes. ``on_flr`` is called at a write of "initiate FLR"; None: the function has no such reset."""

    def __init__(self, image: ConfigImage, on_flr: Callable[[], None] | None) -> None:
        self.image, self._on_flr = image, on_flr
        self._state = bytearray(self.image.data)
        express = decode(self.image.space()).find(Express)
        self._control = None if express is None else express.offset
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
        if self._control is not None and self._on_flr is not None:
            at = self._control + _DEVICE_CONTROL
            if offset <= at + 1 < offset + len(data) and data[at + 1 - offset] & _FLR >> 8:
                self._on_flr()

    @property
    def command(self) -> int:
        return int.from_bytes(self._state[_COMMAND : _COMMAND + 2], "little")

    @property
    def bus_master(self) -> bool:
        return self._state[_COMMAND] & _BUS_MASTER != 0
