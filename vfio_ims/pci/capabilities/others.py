# SPDX-License-Identifier: Apache-2.0
"""Smaller capabilities: serial number, subsystem ids, Advanced Features, resizable BARs, mailbox, link features.

PCIe base spec 6.0: 7.9.3 (serial number), 7.8.6 (resizable BAR), 7.9.24 (DOE), 7.7.4 (data link feature), 7.9.15 (PTM),
7.8.3 (L1 substates); Advanced Features from PCI-SIG's ECN of 2006; PCI_* of the same names in the kernel's pci_regs.h.
"""

from __future__ import annotations

from typing import Self

from vfio_ims.pci.capabilities.base import ExtendedCapability, StandardCapability
from vfio_ims.pci.capabilities.fields import Bits, Flag, MaybeBits

__all__ = [
    "AdvancedFeatures",
    "DataLinkFeature",
    "DataObjectExchange",
    "L1Substates",
    "PrecisionTime",
    "ResizableBar",
    "SerialNumber",
    "SubsystemId",
    "VfResizableBar",
    "VitalProductData",
]


class SerialNumber(ExtendedCapability):
    """Device Serial Number: an EUI-64."""

    capability_id = 0x03
    minimum = 12
    reference = "PCIe 6.0 7.9.3"

    serial = Bits(0x04, 63, 0, words=lambda value: value.to_bytes(8, "big").hex("-"))

    @classmethod
    def new(cls, serial: int) -> Self:
        """``serial``: 64 bits."""
        return cls.make(cls.minimum, serial=serial)


class VitalProductData(StandardCapability):
    """A window of 32 bits on the product data, moved by writing its address."""

    capability_id = 0x03
    minimum = 8
    reference = "PCI 3.0, appendix I"

    address = Bits(0x02, 14, 0, access="rw")
    transfer = Flag(0x02, 15, access="rw")
    window = Bits(0x04, 31, 0, access="rw")


class SubsystemId(StandardCapability):
    """A bridge's subsystem ids, which its header has no place for."""

    capability_id = 0x0D
    minimum = 8
    reference = "PCI bridge 1.2, 3.2.5.13"

    subsystem_vendor = Bits(0x04, 15, 0, words=lambda value: f"{value:04x}")
    subsystem_device = Bits(0x06, 15, 0, words=lambda value: f"{value:04x}")


class AdvancedFeatures(StandardCapability):
    """Conventional PCI functions' function-level reset."""

    capability_id = 0x13
    minimum = 6
    reference = "PCI-SIG ECN Advanced Capabilities, 2006"

    length = Bits(0x02, 7, 0)
    transactions_pending_capable = Flag(0x03, 0)
    flr = Flag(0x03, 1)
    initiate_flr = Flag(0x04, 0)  # reads as 0
    transactions_pending = Flag(0x05, 0)


class ResizableBar(ExtendedCapability):
    """BARs whose size software chooses: capability and control for each, the first one's decoded by name."""

    capability_id = 0x15
    minimum = 12
    reference = "PCIe 6.0 7.8.6"
    shown = ("resizable",)

    sizes = Bits(0x04, 31, 4, words=lambda bits: f"{bits:#x} (bit n: 2^(n+20) bytes)")
    bar = Bits(0x08, 2, 0)
    count = Bits(0x08, 7, 5)
    size_code = Bits(0x08, 13, 8, words=lambda code: f"2^{code + 20} bytes")

    @classmethod
    def extent(cls, data: bytes) -> tuple[int, int]:
        size = 4 + 8 * max(cls.count.read(data) or 0, 1)
        return size, size

    def spelled_out(self) -> tuple[int, int]:
        return 12, self.size

    @property
    def resizable(self) -> str:
        """Each BAR with its size now, for printing."""
        controls = (int.from_bytes(self.data[at : at + 4], "little") for at in range(8, self.size - 3, 8))
        return ", ".join(f"BAR{word & 7}: {1 << (word >> 8 & 0x3F) + 20:#x} bytes" for word in controls)


class VfResizableBar(ResizableBar):
    """The same for the BARs of virtual functions."""

    capability_id = 0x24


class DataObjectExchange(ExtendedCapability):
    """A mailbox for data objects (discovery, authentication)."""

    capability_id = 0x2E
    minimum = 0x18
    reference = "PCIe 6.0 7.9.24"

    interrupt_supported = Flag(0x04, 0)
    interrupt_message = Bits(0x04, 11, 1)
    interrupt_enable = Flag(0x08, 1, access="rw")
    busy = Flag(0x0C, 0)
    interrupt_status = Flag(0x0C, 1, access="w1c")
    error = Flag(0x0C, 2)
    ready = Flag(0x0C, 31)
    write_mailbox = Bits(0x10, 31, 0)
    read_mailbox = Bits(0x14, 31, 0)


class DataLinkFeature(ExtendedCapability):
    """What the two ends of a link exchanged."""

    capability_id = 0x25
    minimum = 12
    reference = "PCIe 6.0 7.7.4"

    local = Bits(0x04, 22, 0)
    exchange_enable = Flag(0x04, 31)
    remote = Bits(0x08, 22, 0)
    remote_valid = Flag(0x08, 31)


class PrecisionTime(ExtendedCapability):
    """Precision Time Measurement."""

    capability_id = 0x1F
    minimum = 12
    reference = "PCIe 6.0 7.9.15"

    requester = Flag(0x04, 0)
    responder = Flag(0x04, 1)
    root = Flag(0x04, 2)
    local_granularity = Bits(0x04, 15, 8, words=lambda ns: f"{ns} ns")
    enabled = Flag(0x08, 0, access="rw")
    root_select = Flag(0x08, 1)
    effective_granularity = Bits(0x08, 15, 8, access="rw")


class L1Substates(ExtendedCapability):
    """L1 PM substates."""

    capability_id = 0x1E
    minimum = 16
    reference = "PCIe 6.0 7.8.3"

    pci_pm_l1_2 = Flag(0x04, 0)
    pci_pm_l1_1 = Flag(0x04, 1)
    aspm_l1_2 = Flag(0x04, 2)
    aspm_l1_1 = Flag(0x04, 3)
    l1_substates = Flag(0x04, 4)
    common_mode_restore_us = Bits(0x04, 15, 8)
    power_on_scale = Bits(0x04, 17, 16)
    power_on_value = Bits(0x04, 23, 19)
    pci_pm_l1_2_enable = Flag(0x08, 0)
    pci_pm_l1_1_enable = Flag(0x08, 1)
    aspm_l1_2_enable = Flag(0x08, 2)
    aspm_l1_1_enable = Flag(0x08, 3)
    control_1_rest = Bits(0x08, 31, 8)
    control_2 = Bits(0x0C, 7, 0)
    status = MaybeBits(0x10, 31, 0)
