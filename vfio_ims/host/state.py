# SPDX-License-Identifier: Apache-2.0
"""How far a function is from being opened, and what keeps its group from being handed out."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.sysfs import Function

__all__ = ["State", "bridge"]

_BRIDGES = {0x0600: "host bridge", 0x0604: "bridge between PCI buses"}  # PCI Code and ID Assignment 1.16, 1.7


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


def bridge(function: Function) -> str | None:
    """What kind of bridge it is, of those that stay with the kernel; None: a device."""
    return None if function.class_code is None else _BRIDGES.get(function.class_code >> 8)
