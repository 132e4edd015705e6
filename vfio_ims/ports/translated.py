# SPDX-License-Identifier: Apache-2.0
"""What every address space behind an IOMMU answers alike: no memory has to be found or kept in place for a device."""

from __future__ import annotations

from vfio_ims.errors import UsageError

__all__ = ["Translated"]


class Translated:
    """The part of an ``AddressSpacePort`` that concerns physical addresses, where an IOMMU translates."""

    label: str
    translates = True

    def contiguous(self, size: int) -> int | None:
        return None

    def pin(self, address: int, size: int, *, read: bool = True, write: bool = True) -> int:
        why = "the IOMMU translates: any free IOVA will do"
        raise UsageError(f"pin {size:#x} bytes", device=self.label, why=why, hint="map it")
