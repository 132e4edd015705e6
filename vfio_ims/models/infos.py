# SPDX-License-Identifier: Apache-2.0
"""What VFIO says of a model's regions and interrupts, from its declarations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from vfio_ims.ports.values import Area, IrqFlags, IrqIndex, IrqInfo, RegionFlags, RegionIndex, RegionInfo

if TYPE_CHECKING:
    from vfio_ims.models.bar import ModelBar, Msix
    from vfio_ims.ports.model import SharedArea

__all__ = ["irq_info", "region_info"]

_CONFIG_SIZE = 4096


def region_info(index: int, bars: Mapping[int, ModelBar], shared: Sequence[SharedArea]) -> RegionInfo:
    """Size and rights of region ``index`` of a model with ``bars``, of which ``shared`` may be mapped."""
    readwrite = RegionFlags.READ | RegionFlags.WRITE
    if index == RegionIndex.CONFIG:
        return RegionInfo(index, readwrite, _CONFIG_SIZE)
    if index not in bars:
        return RegionInfo(index, RegionFlags(0), 0)
    areas = tuple(Area(area.offset, area.size) for area in shared if area.region == index)
    return RegionInfo(index, readwrite | (RegionFlags.MMAP if areas else RegionFlags(0)), bars[index].size, areas=areas)


def irq_info(index: int, msix: Msix | None, msi: int, pin: str | None) -> IrqInfo:
    """How many interrupts of kind ``index`` a model has, from its ``msix``, its number of ``msi`` and its INTx pin."""
    if index == IrqIndex.MSIX and msix is not None:
        return IrqInfo(index, IrqFlags.EVENTFD, msix.vectors)
    if index == IrqIndex.MSI:
        return IrqInfo(index, IrqFlags.EVENTFD | IrqFlags.NORESIZE, msi)
    if index == IrqIndex.INTX and pin is not None:
        return IrqInfo(index, IrqFlags.EVENTFD | IrqFlags.MASKABLE | IrqFlags.AUTOMASKED, 1)
    if index in (IrqIndex.ERR, IrqIndex.REQ):
        return IrqInfo(index, IrqFlags.EVENTFD, 1)
    return IrqInfo(index, IrqFlags(0), 0)
