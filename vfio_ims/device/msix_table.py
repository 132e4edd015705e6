# SPDX-License-Identifier: Apache-2.0
"""The MSI-X table in a BAR, read as the device has it."""

from __future__ import annotations

import mmap

from vfio_ims.device.bar import Bar
from vfio_ims.pci.capabilities import MSIX_ENTRY_SIZE
from vfio_ims.ports.values import Area, RegionFlags

__all__ = ["BarMsixTable"]


class BarMsixTable:
    """The table in ``bar`` at ``area``. Nothing here writes it: the kernel does."""

    def __init__(self, bar: Bar, area: Area) -> None:
        self._bar, self._area = bar, area

    @property
    def readable(self) -> bool:
        """Whether the messages can be read: only a mapping of the table shows them."""
        return self._bar.mapped(self._area.offset, self._area.size)

    @property
    def obstacle(self) -> tuple[str, str]:
        """Of a table that is not readable: why, and what to do about it.

        vfio-pci maps a BAR that is smaller than a page only where it begins one, and firmware need not see to that
        (Linux drivers/vfio/pci/vfio_pci_core.c vfio_pci_probe_mmaps; pci=resource_alignment:
        Documentation/admin-guide/kernel-parameters.txt).
        """
        bar, page = self._bar, mmap.PAGESIZE
        small = bar.size < page and not bar.port.region_info(bar.number).flags & RegionFlags.MMAP
        if small:
            where = f"BAR {bar.number} has {bar.size:#x} bytes, less than a page of this machine ({page:#x})"
            why = f"{where}, and does not begin one: VFIO maps none of it, and shows the MSI-X table no other way"
            return why, f"boot with pci=resource_alignment={bar.port.name}, which has its BARs begin pages"
        why = "the MSI-X table cannot be mapped, and VFIO shows it no other way"
        return why, "Linux 4.16 or later maps it (commit a32295c612c5)"

    def read(self, vector: int) -> tuple[int, int, int]:
        """Address low and high, and data of ``vector``: three single reads."""
        bar, entry = self._bar, self._area.offset + MSIX_ENTRY_SIZE * vector
        return bar.read32(entry), bar.read32(entry + 4), bar.read32(entry + 8)

    def read_bytes(self, vector: int) -> bytes:
        """The same 12 bytes, by three reads in one compiled call."""
        return self._bar.read_block(self._area.offset + MSIX_ENTRY_SIZE * vector, 3)
