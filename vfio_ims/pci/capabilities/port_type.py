# SPDX-License-Identifier: Apache-2.0
"""What stands at this end of a PCI Express link."""

from enum import IntEnum

__all__ = ["PortType"]


class PortType(IntEnum):
    """Device or port type (7.5.3.2)."""

    ENDPOINT = 0x0
    LEGACY_ENDPOINT = 0x1
    ROOT_PORT = 0x4
    UPSTREAM_PORT = 0x5
    DOWNSTREAM_PORT = 0x6
    PCI_BRIDGE = 0x7
    PCIE_BRIDGE = 0x8
    ROOT_COMPLEX_INTEGRATED_ENDPOINT = 0x9
    ROOT_COMPLEX_EVENT_COLLECTOR = 0xA
