# SPDX-License-Identifier: Apache-2.0
"""The config space of a model: built once from its declarations, changed by what a driver writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.pci.builder import ConfigBuilder
from vfio_ims.pci.capabilities import Express, ModelMark, decode
from vfio_ims.pci.header import Command

if TYPE_CHECKING:
    from vfio_ims.models.model import DeviceModel
    from vfio_ims.pci.image import ConfigImage

__all__ = ["ModelConfig"]

_COMMAND = 0x04
_BUS_MASTER = int(Command.BUS_MASTER)
_FLR = 1 << 15  # Initiate Function Level Reset (PCIe 6.0, 7.5.3.4 "Device Control Register")
_DEVICE_CONTROL = 8


class ModelConfig:
    """4096 bytes. A write of "initiate FLR" resets the model once it is answered."""

    def __init__(self, model: DeviceModel) -> None:
        self._model = model
        self.image: ConfigImage = self._build(model)
        self._state = bytearray(self.image.data)
        express = decode(self.image.space()).find(Express)
        self._control = None if express is None else express.offset
        self._size = len(self.image.data)

    def _build(self, model: DeviceModel) -> ConfigImage:
        vendor, device = (int(part, 16) for part in model.id.split(":"))
        builder = ConfigBuilder(vendor, device, class_code=model.class_code)
        for number, bar in model.bars.items():
            builder.bar(number, bar.size, "mem64", prefetchable=bar.prefetchable)
        model.capabilities(builder)
        builder.add(ModelMark.new(accepts_enqcmd=model.takes_enqcmd))
        return builder.build()

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
        if self._control is not None and bool(self._model.option["flr"]):
            at = self._control + _DEVICE_CONTROL
            if offset <= at + 1 < offset + len(data) and data[at + 1 - offset] & _FLR >> 8:
                self._model.after(self._model.reset)

    @property
    def command(self) -> int:
        return int.from_bytes(self._state[_COMMAND : _COMMAND + 2], "little")

    @property
    def bus_master(self) -> bool:
        return self._state[_COMMAND] & _BUS_MASTER != 0
