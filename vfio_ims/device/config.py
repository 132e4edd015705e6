# SPDX-License-Identifier: Apache-2.0
"""Config space through the device's own mount: VFIO shows what it lets a user see, and hides some capabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError
from vfio_ims.pci.capabilities import Capabilities, decode
from vfio_ims.pci.config import HEADER_SIZE, ConfigSource, ConfigSpace
from vfio_ims.pci.config_on_demand import ConfigOnDemand
from vfio_ims.pci.header import Header
from vfio_ims.ports.values import RegionIndex

if TYPE_CHECKING:
    from vfio_ims.ports.device import DevicePort

__all__ = ["Config"]

_COMMAND, _MEMORY, _BUS_MASTER = 0x04, 1 << 1, 1 << 2  # PCI base specification, "Command Register"


class Config:
    """Reads and writes of 1, 2 or 4 aligned bytes; header, capabilities, all of it; two bits of the command."""

    def __init__(self, port: DevicePort) -> None:
        self._port = port
        self.size = port.region_info(RegionIndex.CONFIG).size

    def read(self, offset: int, width: int) -> int:
        """One read of ``width`` bytes."""
        self._check(offset, width)
        return int.from_bytes(self._port.read_region(RegionIndex.CONFIG, offset, width), "little")

    def write(self, offset: int, value: int, width: int) -> None:
        """Write ``value`` of ``width`` bytes (1, 2 or 4) at ``offset``, which is a multiple of ``width``.

        The kernel keeps some registers to itself and drops writes to them, without an error. UsageError for what does
        not fit.
        """
        self._check(offset, width)
        if not 0 <= value < 1 << 8 * width:
            why = f"value must be {8 * width} bits, not {value:#x}"
            raise UsageError(f"write config space at {offset:#x}", device=self._port.name, why=why)
        self._port.write_region(RegionIndex.CONFIG, offset, value.to_bytes(width, "little"))

    def _check(self, offset: int, width: int) -> None:
        if width not in (1, 2, 4) or offset % width or not 0 <= offset <= self.size - width:
            why = f"an access must be 1, 2 or 4 aligned bytes below {self.size:#x}, not {width} at {offset:#x}"
            raise UsageError("access config space", device=self._port.name, why=why)

    def snapshot(self) -> ConfigSpace:
        """All of it, read now: one request, which the far side splits into accesses of 4 bytes."""
        return ConfigSpace(self._read_bytes(0, self.size), ConfigSource.VFIO, self._port.name)

    def capabilities(self) -> Capabilities:
        """Every capability that this mount shows, read now and decoded. The rest of config space is not read."""
        return decode(ConfigOnDemand(self._read_bytes, self.size, ConfigSource.VFIO, self._port.name))

    @property
    def header(self) -> Header:
        """The first 64 bytes, read now."""
        return Header(self._read_bytes(0, HEADER_SIZE))

    def _read_bytes(self, offset: int, size: int) -> bytes:
        return self._port.read_region(RegionIndex.CONFIG, offset, size)

    @property
    def bus_master(self) -> bool:
        """Whether the device may write to memory: DMA and every message need it."""
        return bool(self.read(_COMMAND, 2) & _BUS_MASTER)

    @bus_master.setter
    def bus_master(self, on: bool) -> None:
        self._command(_BUS_MASTER, on)

    @property
    def memory(self) -> bool:
        """Whether the BARs answer."""
        return bool(self.read(_COMMAND, 2) & _MEMORY)

    @memory.setter
    def memory(self, on: bool) -> None:
        self._command(_MEMORY, on)

    def _command(self, bit: int, on: bool) -> None:
        command = self.read(_COMMAND, 2)
        self.write(_COMMAND, command | bit if on else command & ~bit, 2)
