# SPDX-License-Identifier: Apache-2.0
"""One function as many: SR-IOV, ARI, ACS, and the SIOV capability of PCIe 7.0.

PCIe base spec 6.0, sections 9.3.3 (SR-IOV), 7.8.8 (ARI) and 7.7.11 (ACS); PCI_SRIOV_*, PCI_ARI_*, PCI_ACS_* in the
kernel's pci_regs.h. SIOV: by way of a Linux RFC (D. Daskalakis, 4 June 2026) that cites PCIe 7.0; not re-read.
"""

from __future__ import annotations

from typing import Self

from vfio_ims.pci.capabilities.base import ExtendedCapability
from vfio_ims.pci.capabilities.fields import Bits, Flag, MaybeBits

__all__ = ["AccessControl", "AlternativeRouting", "ScalableIov", "SrIov"]

_RFC = "from a Linux RFC of June 2026 that cites PCIe 7.0"


def _hex(value: int) -> str:
    return f"{value:#x}"


class SrIov(ExtendedCapability):
    """Single Root I/O Virtualization, in a physical function."""

    capability_id = 0x10
    minimum = 0x40
    reference = "PCIe 6.0 9.3.3"

    migration_capable = Flag(0x04, 0)
    ari_preserved = Flag(0x04, 1)
    ten_bit_tag_supported = Flag(0x04, 2)
    migration_message = Bits(0x04, 31, 21)
    vf_enable = Flag(0x08, 0, access="rw")
    migration_enable = Flag(0x08, 1)
    migration_interrupt_enable = Flag(0x08, 2)
    vf_memory_enable = Flag(0x08, 3, access="rw")
    ari_hierarchy = Flag(0x08, 4, access="rw")
    ten_bit_tag_enable = Flag(0x08, 5)
    migration_status = Flag(0x0A, 0)
    initial_vfs = Bits(0x0C, 15, 0)
    total_vfs = Bits(0x0E, 15, 0)
    vfs = Bits(0x10, 15, 0, access="rw")
    function_dependency_link = Bits(0x12, 7, 0)
    first_vf_offset = Bits(0x14, 15, 0)
    vf_stride = Bits(0x16, 15, 0)
    vf_device = Bits(0x1A, 15, 0, words=lambda value: f"{value:04x}")
    supported_page_sizes = Bits(0x1C, 31, 0, words=_hex)
    system_page_size = Bits(0x20, 31, 0, access="rw", words=_hex)
    vf_bar0 = Bits(0x24, 31, 0, words=_hex)
    vf_bar1 = Bits(0x28, 31, 0, words=_hex)
    vf_bar2 = Bits(0x2C, 31, 0, words=_hex)
    vf_bar3 = Bits(0x30, 31, 0, words=_hex)
    vf_bar4 = Bits(0x34, 31, 0, words=_hex)
    vf_bar5 = Bits(0x38, 31, 0, words=_hex)
    migration_state_bar = Bits(0x3C, 2, 0)
    migration_state_offset = Bits(0x3C, 31, 3, shift=3)

    @classmethod
    def new(cls, total_vfs: int, vf_device: int, *, first_vf_offset: int = 1, vf_stride: int = 1) -> Self:
        """A physical function with ``total_vfs`` virtual ones, which have no BARs."""
        return cls.make(
            cls.minimum,
            initial_vfs=total_vfs,
            total_vfs=total_vfs,
            vf_device=vf_device,
            first_vf_offset=first_vf_offset,
            vf_stride=vf_stride,
            supported_page_sizes=0x553,  # the sizes that 9.3.3.12 asks for: 4K, 8K, 64K, 256K, 1M, 4M
            system_page_size=1,
        )


class AlternativeRouting(ExtendedCapability):
    """Alternative Routing-ID Interpretation: eight bits of function number, no device number."""

    capability_id = 0x0E
    minimum = 8
    reference = "PCIe 6.0 7.8.8"

    mfvc_groups = Flag(0x04, 0)
    acs_groups = Flag(0x04, 1)
    next_function = Bits(0x04, 15, 8)
    mfvc_groups_enable = Flag(0x06, 0)
    acs_groups_enable = Flag(0x06, 1)
    function_group = Bits(0x06, 6, 4)

    @classmethod
    def new(cls, next_function: int = 0) -> Self:
        """``next_function``: the number of the device's next function, 0 in the last one."""
        return cls.make(cls.minimum, next_function=next_function)


class AccessControl(ExtendedCapability):
    """Access Control Services: what keeps functions from reaching each other past the IOMMU."""

    capability_id = 0x0D
    minimum = 8
    reference = "PCIe 6.0 7.7.11"

    source_validation = Flag(0x04, 0)
    translation_blocking = Flag(0x04, 1)
    request_redirect = Flag(0x04, 2)
    completion_redirect = Flag(0x04, 3)
    upstream_forwarding = Flag(0x04, 4)
    egress_control = Flag(0x04, 5)
    direct_translated = Flag(0x04, 6)
    enhanced = Flag(0x04, 7)
    egress_vector_size = Bits(0x04, 15, 8)
    source_validation_enable = Flag(0x06, 0, access="rw")
    translation_blocking_enable = Flag(0x06, 1, access="rw")
    request_redirect_enable = Flag(0x06, 2, access="rw")
    completion_redirect_enable = Flag(0x06, 3, access="rw")
    upstream_forwarding_enable = Flag(0x06, 4, access="rw")
    egress_control_enable = Flag(0x06, 5, access="rw")
    direct_translated_enable = Flag(0x06, 6, access="rw")
    egress_vector = MaybeBits(0x08, 31, 0)

    @classmethod
    def extent(cls, data: bytes) -> tuple[int, int]:
        if not cls.egress_control.read(data):
            return cls.minimum, cls.minimum
        bits = cls.egress_vector_size.read(data) or 256  # 0 stands for 256
        size = cls.minimum + (bits + 31) // 32 * 4
        return size, size

    @classmethod
    def new(cls, **services: int) -> Self:
        """The services by field name, such as ``request_redirect=1``."""
        return cls.make(cls.minimum, **services)


class ScalableIov(ExtendedCapability):
    """Scalable I/O Virtualization as PCIe 7.0 has it: devices with routing ids of their own.

    Whether PCIe 7.0 says anything about IMS is not established.
    """

    capability_id = 0x38
    minimum = 0x10
    reference = "Linux RFC, 4 June 2026, citing PCIe 7.0"

    siov_capabilities = Bits(0x04, 31, 0, words=_hex, note=_RFC)
    total_sdis = Bits(0x08, 15, 0, note=_RFC)
    sdi_enabled = Flag(0x0B, 0, note=_RFC)
    first_sdi_offset = Bits(0x0C, 15, 0, note=_RFC)
    sdi_stride = Bits(0x0E, 15, 0, note=_RFC)

    @classmethod
    def new(cls, total_sdis: int, *, first_sdi_offset: int = 1, sdi_stride: int = 1) -> Self:
        """A function with ``total_sdis`` scalable device interfaces, none of them enabled."""
        values = {"total_sdis": total_sdis, "first_sdi_offset": first_sdi_offset, "sdi_stride": sdi_stride}
        return cls.make(cls.minimum, **values)
