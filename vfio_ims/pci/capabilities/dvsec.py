# SPDX-License-Identifier: Apache-2.0
"""DVSEC, the capability that any vendor may define, and Intel's for Scalable IOV, which hints at IMS.

DVSEC: PCIe base spec 6.0, section 7.9.6. Intel's SIOV: the offset of its capabilities and the IMS bit are those of
Intel's kernel patches (PCI_DVSEC_INTEL_SIOV_CAP 0x14, bit 0; idxd mdev series v4, October 2020), id and length those
of lspci on Sapphire Rapids; fields with a note are recalled from document 337679, not re-read.
"""

from __future__ import annotations

from typing import Self

from vfio_ims.pci.capabilities.base import Capability, ExtendedCapability
from vfio_ims.pci.capabilities.fields import Bits, MaybeBits, MaybeFlag

__all__ = ["Dvsec", "SiovDvsec"]

_RECALLED = "recalled from the SIOV specification, not re-read"


class Dvsec(ExtendedCapability):
    """Designated Vendor-Specific Extended Capability: vendor, id, revision and length, then what the vendor likes."""

    capability_id = 0x23
    minimum = 10
    reference = "PCIe 6.0 7.9.6"

    vendor = Bits(0x04, 15, 0, words=lambda value: f"{value:04x}")
    revision = Bits(0x04, 19, 16)
    length = Bits(0x04, 31, 20)
    dvsec_id = Bits(0x08, 15, 0, words=lambda value: f"{value:04x}")

    @classmethod
    def extent(cls, data: bytes) -> tuple[int, int]:
        size = max(cls.length.read(data) or 0, cls.minimum)
        return size, size

    @classmethod
    def refine(cls, data: bytes) -> type[Capability]:
        siov = cls.vendor.read(data) == 0x8086 and cls.dvsec_id.read(data) == 5
        return SiovDvsec if siov else cls

    @classmethod
    def of(cls, vendor: int, dvsec_id: int, body: bytes = b"", *, revision: int = 0) -> Self:
        """One that holds ``body`` after the id, that is from offset 0x0a."""
        size = cls.minimum + len(body)
        made = cls.make(size, vendor=vendor, dvsec_id=dvsec_id, revision=revision, length=size)
        return cls(made.data[: cls.minimum] + body)

    def problems(self) -> tuple[str, ...]:
        return (f"length {self.length} is less than the header's 10",) if self.length < self.minimum else ()

    @property
    def body(self) -> bytes:
        """The bytes after the id, from offset 0x0a."""
        return self.data[self.minimum :]


class SiovDvsec(Dvsec):
    """Intel's DVSEC for Scalable IOV, revision 1 of that architecture: vendor 8086, id 5. Any length is taken."""

    reference = "Intel 337679 (SIOV), by way of Linux patches"

    function_dependency_link = MaybeBits(0x0A, 7, 0, note=_RECALLED)
    homogeneous = MaybeFlag(0x0B, 0, note=_RECALLED)
    supported_page_sizes = MaybeBits(0x0C, 31, 0, words=lambda value: f"{value:#x}", note=_RECALLED)
    system_page_size = MaybeBits(0x10, 31, 0, access="rw", words=lambda value: f"{value:#x}", note=_RECALLED)
    ims = MaybeFlag(0x14, 0)

    @classmethod
    def new(cls, *, ims: bool = True, length: int = 24, page_sizes: int = 1, fdl: int = 0) -> Self:
        """As on Sapphire Rapids: 24 bytes. A shorter ``length`` leaves fields out, the IMS bit too (below 0x15)."""
        values = {"supported_page_sizes": page_sizes, "system_page_size": 1, "ims": ims}
        values["function_dependency_link"] = fdl
        fitting = {name: value for name, value in values.items() if getattr(cls, name).end <= length}
        return cls.make(length, vendor=0x8086, dvsec_id=5, length=length, **fitting)
