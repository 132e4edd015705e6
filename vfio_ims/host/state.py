# SPDX-License-Identifier: Apache-2.0
"""How far a function is from being opened, and what keeps its group from being handed out."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.sysfs import Function

__all__ = ["DMA_FREE_DRIVERS", "State", "blockers", "bridge", "is_vfio_driver"]

_BRIDGES = {0x0600: "host bridge", 0x0604: "bridge between PCI buses"}  # PCI Code and ID Assignment 1.16, 1.7

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
    BRIDGE = "bridge"
    LOST = "does not answer"


def is_vfio_driver(name: str | None) -> bool:
    """Whether a driver of this name is one of VFIO's: vfio-pci, or a variant such as mlx5_vfio_pci."""
    return "vfio" in (name or "")


def bridge(function: Function) -> str | None:
    """What kind of bridge it is, of those that stay with the kernel; None: a device."""
    return None if function.class_code is None else _BRIDGES.get(function.class_code >> 8)


def blockers(function: Function) -> list[Function]:
    """The other members of its group that a kernel driver has: while it does, the group cannot be handed out."""
    group = function.iommu_group
    if group is None:
        return []
    others = [one for one in group.members if one.address != function.address]
    return [
        one for one in others if one.driver and not is_vfio_driver(one.driver) and one.driver not in DMA_FREE_DRIVERS
    ]
