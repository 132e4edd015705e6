# SPDX-License-Identifier: Apache-2.0
"""What lets a function address memory as a process does: ATS, PRI, PASID.

PCIe base spec 6.0, sections 10.5.1 (ATS), 10.5.2 (PRI) and 7.8.9 (PASID); PCI_ATS_*, PCI_PRI_*, PCI_PASID_* in the
kernel's pci_regs.h.
"""

from __future__ import annotations

from typing import Self

from vfio_ims.pci.capabilities.base import ExtendedCapability
from vfio_ims.pci.capabilities.fields import Bits, Flag

__all__ = ["AddressTranslation", "PageRequest", "Pasid"]


class AddressTranslation(ExtendedCapability):
    """Address Translation Service: the function keeps translations of its own."""

    capability_id = 0x0F
    minimum = 8
    reference = "PCIe 6.0 10.5.1"
    shown = ("queue_depth",)

    queue_depth_code = Bits(0x04, 4, 0)
    page_aligned = Flag(0x04, 5)
    global_invalidate = Flag(0x04, 6)
    relaxed_ordering = Flag(0x04, 7)
    smallest_translation_unit = Bits(0x06, 4, 0, access="rw", words=lambda code: f"{4096 << code} bytes")
    enabled = Flag(0x06, 15, access="rw")

    @classmethod
    def new(cls, queue_depth: int = 32, *, page_aligned: bool = True, global_invalidate: bool = True) -> Self:
        """``queue_depth``: invalidations that it takes at once, 1 to 32."""
        code = queue_depth & 0x1F if 1 <= queue_depth <= 32 else -1  # 32 is written as 0
        return cls.make(
            cls.minimum, queue_depth_code=code, page_aligned=page_aligned, global_invalidate=global_invalidate
        )

    @property
    def queue_depth(self) -> int:
        """Invalidations that the function takes at once."""
        return self.queue_depth_code or 32


class PageRequest(ExtendedCapability):
    """Page Request Interface: the function may ask for a page that is not there."""

    capability_id = 0x13
    minimum = 16
    reference = "PCIe 6.0 10.5.2"

    enabled = Flag(0x04, 0, access="rw")
    reset = Flag(0x04, 1)  # reads as 0
    response_failure = Flag(0x06, 0, access="w1c")
    unexpected_group_index = Flag(0x06, 1, access="w1c")
    stopped = Flag(0x06, 8)
    response_pasid_required = Flag(0x06, 15)
    capacity = Bits(0x08, 31, 0)
    allocation = Bits(0x0C, 31, 0, access="rw")

    @classmethod
    def new(cls, capacity: int, *, response_pasid_required: bool = True) -> Self:
        """``capacity``: outstanding requests that it can have. Stopped until enabled."""
        pasid = response_pasid_required
        return cls.make(cls.minimum, capacity=capacity, stopped=1, response_pasid_required=pasid)


class Pasid(ExtendedCapability):
    """Process Address Space ID: requests say which address space they belong to. vfio-pci hides it from its users."""

    capability_id = 0x1B
    minimum = 8
    reference = "PCIe 6.0 7.8.9"

    executable = Flag(0x04, 1)
    privileged = Flag(0x04, 2)
    translated_requests = Flag(0x04, 3)
    width = Bits(0x04, 12, 8, words=lambda bits: f"{bits} bits")
    enabled = Flag(0x06, 0, access="rw")
    executable_enabled = Flag(0x06, 1, access="rw")
    privileged_enabled = Flag(0x06, 2, access="rw")
    translated_requests_enabled = Flag(0x06, 3, access="rw")

    @classmethod
    def new(cls, width: int = 20, *, executable: bool = False, privileged: bool = True) -> Self:
        """``width``: bits of a PASID, up to 20."""
        return cls.make(cls.minimum, width=width, executable=executable, privileged=privileged)

    def problems(self) -> tuple[str, ...]:
        return (f"PASIDs of {self.width} bits; 20 is the most",) if self.width > 20 else ()

    def access_masks(self) -> tuple[bytes, bytes]:
        writable, clears = (bytearray(mask) for mask in super().access_masks())
        # An enable bit of something that the function cannot do is fixed at 0 (7.8.9.3).
        writable[0x06] = 1 | self.data[0x04] & 0xE
        return bytes(writable), bytes(clears)
