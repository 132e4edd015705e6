# SPDX-License-Identifier: Apache-2.0
"""What a device behind a link has, as the kernel finds it out when it is opened."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vfio_ims.backends.software.config import SoftwareConfig
from vfio_ims.errors import DeviceError
from vfio_ims.platform import MsixPlace
from vfio_ims.ports.values import DeviceInfo, IrqIndex, RegionFlags, RegionIndex, RegionInfo

if TYPE_CHECKING:
    from vfio_ims.ports.link import Link

__all__ = ["Topology", "notify", "probe"]


@dataclass(frozen=True, slots=True)
class Topology:
    """``vectors``: how many of each kind the function has; ``link_vectors``: how many of them the far side raises.

    ``msix``: where the table is, if there is one.
    """

    regions: dict[int, RegionInfo]
    config: SoftwareConfig
    vectors: dict[int, int]
    link_vectors: dict[int, int]
    msix: MsixPlace | None


def probe(link: Link, info: DeviceInfo, name: str, *, msix_mappable: bool, place_bar: Callable[[int], int]) -> Topology:
    """Ask for regions and interrupts and read config space. Counts are checked against the capabilities.

    ``place_bar`` gives 64-bit BARs that have no address one.
    """
    regions = {index: link.region_info(index) for index in range(info.regions)}
    if RegionIndex.CONFIG not in regions or not regions[RegionIndex.CONFIG].size:
        raise DeviceError("open", device=name, why="it offers no config space (region 7)")
    link_vectors = {index: link.irq_info(index).count for index in range(info.irqs)}
    sizes = [regions[index].size if index in regions else 0 for index in range(7)]
    pin = bool(link_vectors.get(IrqIndex.INTX))
    config = SoftwareConfig(link, regions[RegionIndex.CONFIG].size, sizes, pin=pin, place=place_bar)
    place = _table(config, regions, link_vectors.get(IrqIndex.MSIX, 0))
    msi = config.raw.msi
    vectors = dict(link_vectors)
    vectors[IrqIndex.MSIX] = place.count if place else 0
    vectors[IrqIndex.MSI] = min(vectors.get(IrqIndex.MSI, 0), msi.vectors if msi else 0)
    vectors[IrqIndex.ERR], vectors[IrqIndex.REQ] = int(config.raw.express is not None), 1
    if place is not None and msix_mappable:
        bar = regions[place.table_bar]
        flags = bar.flags | RegionFlags.MMAP | RegionFlags.CAPS
        regions[place.table_bar] = replace(bar, flags=flags, msix_mappable=True)
    return Topology(regions, config, vectors, link_vectors, place)


def _table(config: SoftwareConfig, regions: dict[int, RegionInfo], offered: int) -> MsixPlace | None:
    """The MSI-X structures; None where they do not lie in a BAR, or nothing is offered."""
    msix = config.raw.msix
    count = min(offered, msix.vectors) if msix is not None else 0
    if msix is None or not count:
        return None
    parts = ((msix.table, msix.table_size), (msix.pba, msix.pba_size))
    inside = all(bar <= 5 and bar in regions and offset + size <= regions[bar].size for (bar, offset), size in parts)
    return MsixPlace(count, *msix.table, *msix.pba) if inside else None


def notify(link: Link, counts: dict[int, int], index: int, start: int, armed: Sequence[bool]) -> None:
    """Pass the link those vectors that are its own: ERR and REQ may be the platform's alone."""
    own = armed[: max(0, counts.get(index, 0) - start)]
    if own:
        link.set_vectors(index, start, own)
