# SPDX-License-Identifier: Apache-2.0
"""A BAR of a model: registers, perhaps a slot table, perhaps a range that the model answers for itself."""

from __future__ import annotations

from dataclasses import dataclass

import vfio_ims.pci.capabilities as pci
from vfio_ims.registers import Block, SlotLayout

__all__ = ["ModelBar", "Msix"]


@dataclass(frozen=True, slots=True)
class ModelBar:
    """``size`` bytes (a power of two, 4 KiB or more), the registers at its start, and the slot tables in it.

    A large one costs what its registers do: where it is over 1 MiB, nothing is kept for the bytes between them.
    Accesses that meet neither go to the model's ``read_other`` and ``write_other``. ``memory``: the whole BAR is plain
    memory, which the driver may map and the model reaches as ``memory(bar)``; it then has no registers and no slots.
    """

    size: int
    block: type[Block] = Block
    slots: SlotLayout | tuple[SlotLayout, ...] | None = None
    prefetchable: bool = True
    memory: bool = False


@dataclass(frozen=True, slots=True)
class Msix:
    """MSI-X: how many vectors, and in which BAR at which offsets the table and the pending bits are."""

    vectors: int
    bar: int
    table: int
    pba: int

    def capability(self) -> pci.Msix:
        """The capability that announces it."""
        return pci.Msix.new(self.vectors, (self.bar, self.table), (self.bar, self.pba))
