# SPDX-License-Identifier: Apache-2.0
"""Every capability id by name.

PCI-SIG's code and id assignments as pciutils' lib/header.h lists them (end of 2025).
From the kernel's pci_regs.h: 0x0c and 0x14; recalled from PCIe 6.0: 0x2d.

``title`` is what lspci prints, ``short`` what setpci takes after ``CAP_`` and ``ECAP_``.
"""

from typing import NamedTuple

__all__ = ["EXTENDED_IDS", "STANDARD_IDS", "CapabilityId"]


class CapabilityId(NamedTuple):
    """One id of the list."""

    short: str
    title: str


def _table(*rows: tuple[int, str, str]) -> dict[int, CapabilityId]:
    return {number: CapabilityId(short, title) for number, short, title in rows}


STANDARD_IDS = _table(
    (0x00, "NULL", "Null"),
    (0x01, "PM", "Power Management"),
    (0x02, "AGP", "AGP"),
    (0x03, "VPD", "Vital Product Data"),
    (0x04, "SLOTID", "Slot ID"),
    (0x05, "MSI", "MSI"),
    (0x06, "CHSWP", "CompactPCI hot-swap"),
    (0x07, "PCIX", "PCI-X"),
    (0x08, "HT", "HyperTransport"),
    (0x09, "VNDR", "Vendor Specific Information"),
    (0x0A, "DBG", "Debug port"),
    (0x0B, "CCRC", "CompactPCI central resource control"),
    (0x0C, "HOTPLUG", "Hot-plug capable"),
    (0x0D, "SSVID", "Subsystem"),
    (0x0E, "AGP3", "AGP3"),
    (0x0F, "SECURE", "Secure device"),
    (0x10, "EXP", "Express"),
    (0x11, "MSIX", "MSI-X"),
    (0x12, "SATA", "SATA HBA"),
    (0x13, "AF", "PCI Advanced Features"),
    (0x14, "EA", "Enhanced Allocation"),
    (0x15, "FPB", "Flattening Portal Bridge"),
)

EXTENDED_IDS = _table(
    (0x00, "NULL", "Null"),
    (0x01, "AER", "Advanced Error Reporting"),
    (0x02, "VC", "Virtual Channel"),
    (0x03, "DSN", "Device Serial Number"),
    (0x04, "PB", "Power Budgeting"),
    (0x05, "RCLINK", "Root Complex Link"),
    (0x06, "RCILINK", "Root Complex Internal Link"),
    (0x07, "RCEC", "Root Complex Event Collector Endpoint Association"),
    (0x08, "MFVC", "Multi-Function Virtual Channel"),
    (0x09, "VC2", "Virtual Channel"),
    (0x0A, "RBCB", "Root Complex Register Block"),
    (0x0B, "VNDR", "Vendor Specific Information"),
    (0x0C, "CAC", "Configuration Access Correlation"),
    (0x0D, "ACS", "Access Control Services"),
    (0x0E, "ARI", "Alternative Routing-ID Interpretation (ARI)"),
    (0x0F, "ATS", "Address Translation Service (ATS)"),
    (0x10, "SRIOV", "Single Root I/O Virtualization (SR-IOV)"),
    (0x11, "MRIOV", "Multi-Root I/O Virtualization"),
    (0x12, "MCAST", "Multicast"),
    (0x13, "PRI", "Page Request Interface (PRI)"),
    (0x14, "AMD", "Reserved for AMD"),
    (0x15, "REBAR", "Physical Resizable BAR"),
    (0x16, "DPA", "Dynamic Power Allocation"),
    (0x17, "TPH", "Transaction Processing Hints"),
    (0x18, "LTR", "Latency Tolerance Reporting"),
    (0x19, "SECPCI", "Secondary PCI Express"),
    (0x1A, "PMUX", "Protocol Multiplexing"),
    (0x1B, "PASID", "Process Address Space ID (PASID)"),
    (0x1C, "LNR", "LN Requester"),
    (0x1D, "DPC", "Downstream Port Containment"),
    (0x1E, "L1PM", "L1 PM Substates"),
    (0x1F, "PTM", "Precision Time Measurement"),
    (0x20, "M_PCIE", "PCI Express over M_PHY"),
    (0x21, "FRS", "FRS Queueing"),
    (0x22, "RTR", "Readiness Time Reporting"),
    (0x23, "DVSEC", "Designated Vendor-Specific"),
    (0x24, "VF_REBAR", "Virtual Resizable BAR"),
    (0x25, "DLNK", "Data Link Feature"),
    (0x26, "16GT", "Physical Layer 16.0 GT/s"),
    (0x27, "LMR", "Lane Margining at the Receiver"),
    (0x28, "HIER_ID", "Hierarchy ID"),
    (0x29, "NPEM", "Native PCIe Enclosure Management"),
    (0x2A, "32GT", "Physical Layer 32.0 GT/s"),
    (0x2B, "ALT_PROT", "Alternate Protocol"),
    (0x2C, "SFI", "System Firmware Intermediary"),
    (0x2D, "SHADOW", "Shadow Functions"),
    (0x2E, "DOE", "Data Object Exchange"),
    (0x2F, "DEV3", "Device 3"),
    (0x30, "IDE", "Integrity & Data Encryption"),
    (0x31, "64GT", "Physical Layer 64.0 GT/s"),
    (0x32, "FL", "Flit Logging"),
    (0x33, "FLIT_PM", "Flit Performance Measurement"),
    (0x34, "FLIT_EI", "Flit Error Injection"),
    (0x35, "SVC", "Streamlined Virtual Channel"),
    (0x36, "MMIO_RBL", "MMIO Register Block Locator"),
    (0x37, "NOP_FLIT", "NOP Flit"),
    (0x38, "SIOV", "Scalable I/O Virtualization"),
    (0x39, "128GT", "Physical Layer 128.0 GT/s"),
    (0x3A, "CAPT_D", "Captured Data"),
)
