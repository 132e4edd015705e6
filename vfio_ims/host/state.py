# SPDX-License-Identifier: Apache-2.0
"""How far a function is from being opened, and what keeps its group from being handed out."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.sysfs import Function

__all__ = ["DMA_FREE_DRIVERS", "State", "blockers", "is_vfio_driver"]

# Drivers that let go of DMA (driver_managed_dma in the kernel): members bound to them do not block a group.
DMA_FREE_DRIVERS = ("pcieport", "shpchp", "pci-stub")


class State(StrEnum):
    """How far a function is from being opened."""

    USABLE = "usable"
    IN_USE = "in use"
    NEEDS_PERMISSION = "needs permission"
    NEEDS_BIND = "needs bind"
    GROUP_NOT_VIABLE = "group not viable"
    DENIED = "denied"
    NO_IOMMU = "no IOMMU"
    LOST = "does not answer"


def is_vfio_driver(name: str | None) -> bool:
    """Whether a driver of this name is one of VFIO's: vfio-pci, or a variant such as mlx5_vfio_pci."""
    return "vfio" in (name or "")


def blockers(function: Function) -> list[Function]:
    """The other members of its group that a kernel driver has: while it does, the group cannot be handed out."""
    group = function.iommu_group
    if group is None:
        return []
    others = [one for one in group.members if one.address != function.address]
    return [
        one for one in others if one.driver and not is_vfio_driver(one.driver) and one.driver not in DMA_FREE_DRIVERS
    ]
