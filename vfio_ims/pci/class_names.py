# SPDX-License-Identifier: Apache-2.0
"""What class codes mean (PCI Code and ID Assignment Specification, section 1)."""

from __future__ import annotations

__all__ = ["class_name"]

_BASE = {
    0x00: "device of before class codes",
    0x01: "mass storage controller",
    0x02: "network controller",
    0x03: "display controller",
    0x04: "multimedia device",
    0x05: "memory controller",
    0x06: "bridge",
    0x07: "communication controller",
    0x08: "system peripheral",
    0x09: "input device",
    0x0A: "docking station",
    0x0B: "processor",
    0x0C: "serial bus controller",
    0x0D: "wireless controller",
    0x0E: "intelligent I/O controller",
    0x0F: "satellite communication controller",
    0x10: "encryption controller",
    0x11: "signal processing controller",
    0x12: "processing accelerator",
    0x13: "non-essential instrumentation",
    0x40: "co-processor",
    0xFF: "device of no defined class",
}
_SUB = {
    0x0000: "device of before class codes, no VGA",
    0x0001: "VGA-compatible device of before class codes",
    0x0100: "SCSI controller",
    0x0101: "IDE controller",
    0x0104: "RAID controller",
    0x0105: "ATA controller",
    0x0106: "SATA controller",
    0x0107: "SAS controller",
    0x0108: "NVM controller",
    0x0109: "UFS controller",
    0x0200: "Ethernet controller",
    0x0207: "InfiniBand controller",
    0x0208: "host fabric controller",
    0x0300: "VGA controller",
    0x0302: "3D controller",
    0x0400: "video device",
    0x0401: "audio device",
    0x0403: "HD audio device",
    0x0500: "RAM controller",
    0x0501: "flash controller",
    0x0502: "CXL memory device",
    0x0600: "host bridge",
    0x0601: "ISA bridge",
    0x0604: "PCI-to-PCI bridge",
    0x0609: "semi-transparent PCI-to-PCI bridge",
    0x060B: "Advanced Switching to PCI bridge",
    0x0700: "serial controller",
    0x0703: "modem",
    0x0800: "interrupt controller",
    0x0801: "DMA controller",
    0x0802: "timer",
    0x0803: "real-time clock",
    0x0805: "SD host controller",
    0x0806: "IOMMU",
    0x0807: "root complex event collector",
    0x0B40: "co-processor",
    0x0C00: "FireWire controller",
    0x0C03: "USB controller",
    0x0C05: "SMBus controller",
    0x0C07: "IPMI interface",
    0x0C0A: "I3C controller",
    0x0D11: "Bluetooth controller",
    0x1000: "network and computing encryption controller",
    0x1200: "processing accelerator",
}


def class_name(code: int) -> str:
    """Class code ``code`` (24 bits: base class, sub-class, programming interface) in words, as precisely as known."""
    base = code >> 16
    known = _SUB.get(code >> 8) or _BASE.get(base)
    return known or f"device of class {base:02x}"
