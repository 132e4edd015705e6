# SPDX-License-Identifier: Apache-2.0
"""What the server says it is, and accesses outside its regions."""

from __future__ import annotations

from functools import partial

from vfio_ims.counted import counted
from vfio_ims.pci.capabilities import decode
from vfio_ims.pci.config import ConfigSource, ConfigSpace
from vfio_ims.ports.values import DeviceFlags, IrqIndex, RegionFlags, RegionIndex
from vfio_ims.selftest.server.asked import Asked, Wrong

__all__ = ["infos", "outside"]


def infos(asked: Asked) -> str:
    if not asked.info.flags & DeviceFlags.PCI:
        raise Wrong("its flags do not say PCI")
    config = asked.link.region_info(RegionIndex.CONFIG)
    if config.size not in (256, 4096):
        raise Wrong(f"config space must have 256 or 4096 bytes, not {config.size}")
    found = ConfigSpace(asked.link.read(RegionIndex.CONFIG, 0, config.size), ConfigSource.VFIO)
    capabilities = decode(found)
    ids = f"{found.header.vendor:04x}:{found.header.device:04x}"
    for index, capability in ((IrqIndex.MSI, capabilities.msi), (IrqIndex.MSIX, capabilities.msix)):
        offered = asked.link.irq_info(index).count if index < asked.info.irqs else 0
        there = 0 if capability is None else capability.vectors
        if offered != there:
            raise Wrong(f"{index.name} offers {counted(offered, 'vector')}, its capability has {there}")
    if asked.info.irqs > IrqIndex.INTX and asked.link.irq_info(IrqIndex.INTX).count and not found.read(0x3D, 1):
        raise Wrong("it offers INTx, and its config space names no interrupt pin (0x3d)")
    sizes = [asked.link.region_info(index).size for index in range(min(asked.info.regions, 6))]
    bars = ", ".join(f"BAR {bar} {size:#x}" for bar, size in enumerate(sizes) if size)
    return f"{ids}, {bars or 'no BARs'}, config space {config.size}"


def outside(asked: Asked) -> str:
    link, tried = asked.link, 0
    for index in range(asked.info.regions):
        info = link.region_info(index)
        if info.size and info.flags & RegionFlags.READ:
            asked.refused(f"a read beyond region {index}", partial(link.read, index, info.size, 4))
            tried += 1
    asked.refused("a read of a region that there is not", partial(link.read, asked.info.regions, 0, 4))
    asked.refused("information of such a region", partial(link.region_info, asked.info.regions))
    link.read(RegionIndex.CONFIG, 0, 4)
    return f"refused at the ends of {counted(tried, 'region')}, and served after that"
