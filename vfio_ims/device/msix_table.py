# SPDX-License-Identifier: Apache-2.0
"""The MSI-X table in a BAR, read as the device has it."""

from __future__ import annotations

from vfio_ims.device.bar import Bar
from vfio_ims.pci.capabilities import MSIX_ENTRY_SIZE
from vfio_ims.ports.values import Area

__all__ = ["BarMsixTable"]


class BarMsixTable:
    """The table in ``bar`` at ``area``. Nothing here writes it: the kernel does."""

    def __init__(self, bar: Bar, area: Area) -> None:
        self._bar, self._area = bar, area

    @property
    def readable(self) -> bool:
        """Whether the messages can be read: only a mapping of the table shows them."""
        return self._bar.mapped(self._area.offset, self._area.size)

    def read(self, vector: int) -> tuple[int, int, int]:
        """Address low and high, and data of ``vector``: three single reads."""
        bar, entry = self._bar, self._area.offset + MSIX_ENTRY_SIZE * vector
        return bar.read32(entry), bar.read32(entry + 4), bar.read32(entry + 8)

    def read_bytes(self, vector: int) -> bytes:
        """The same 12 bytes, by three reads in one compiled call."""
        return self._bar.read_block(self._area.offset + MSIX_ENTRY_SIZE * vector, 3)
