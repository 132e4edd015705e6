# SPDX-License-Identifier: Apache-2.0
"""Kernel drivers as VFIO sees them: which are VFIO's own, and which keep an IOMMU group from being handed out."""

from __future__ import annotations

from vfio_ims.sysfs.function import Function

__all__ = ["DMA_FREE_DRIVERS", "group_blockers", "is_vfio_driver"]

DMA_FREE_DRIVERS = ("pcieport", "shpchp", "pci-stub")
"""Drivers that leave DMA to others (``driver_managed_dma`` in the kernel): members bound to them block no group."""


def is_vfio_driver(name: str | None) -> bool:
    """Whether a driver of this name is one of VFIO's: vfio-pci, or a variant such as mlx5_vfio_pci."""
    return "vfio" in (name or "")


def group_blockers(function: Function) -> list[Function]:
    """The other members of its IOMMU group that a kernel driver has: while it does, the group cannot be handed out."""
    group = function.iommu_group
    if group is None:
        return []
    return [
        member
        for member in group.members
        if member.address != function.address
        and member.driver
        and not is_vfio_driver(member.driver)
        and member.driver not in DMA_FREE_DRIVERS
    ]
