# SPDX-License-Identifier: Apache-2.0
"""Vendor-specific capabilities: the standard one (id 9) and the extended one (id 0xb); the mark of our own models.

PCIe base spec 6.0, sections 7.9.4 and 7.9.5.
"""

from __future__ import annotations

from typing import ClassVar, Self

from vfio_ims.pci.capabilities.base import Capability, ExtendedCapability, StandardCapability
from vfio_ims.pci.capabilities.fields import Bits, Flag

__all__ = ["MODEL_MARK", "ExtendedVendorSpecific", "ModelMark", "VendorSpecific"]

MODEL_MARK = b"vfio-ims"


class VendorSpecific(StandardCapability):
    """Id 9: a length, then what the vendor likes."""

    capability_id = 0x09
    minimum = 3
    reference = "PCIe 6.0 7.9.4"
    shown: ClassVar[tuple[str, ...]] = ("contents",)

    length = Bits(0x02, 7, 0)

    @classmethod
    def extent(cls, data: bytes) -> tuple[int, int]:
        size = max(cls.length.read(data) or 0, 3)
        return size, size

    @classmethod
    def refine(cls, data: bytes) -> type[Capability]:
        marked = data[3 : 3 + len(MODEL_MARK)] == MODEL_MARK and (cls.length.read(data) or 0) >= ModelMark.minimum
        return ModelMark if marked else cls

    @classmethod
    def of(cls, body: bytes) -> Self:
        """One that holds ``body`` after the length byte."""
        made = cls.make(3 + len(body), length=3 + len(body))
        return cls(made.data[:3] + body)

    @property
    def body(self) -> bytes:
        """The bytes after the length."""
        return self.data[3:]

    def problems(self) -> tuple[str, ...]:
        return (f"length {self.length} is less than the header's 3",) if self.length < 3 else ()

    def spelled_out(self) -> tuple[int, int]:
        return self.size - len(self.body), self.size

    @property
    def contents(self) -> str:
        """The vendor's bytes, for printing."""
        return self.body.hex(" ")


class ModelMark(VendorSpecific):
    """The mark of this project's device models, so that a driver may do what real hardware would not survive.

    After the header: ASCII "vfio-ims", a version byte, a flags byte. Ours alone; no other document describes it.
    """

    capability_id = VendorSpecific.capability_id
    minimum = 13
    reference = "vfio-ims"
    shown = ()

    mark_version = Bits(0x0B, 7, 0)
    store_in_pieces = Flag(0x0C, 0)  # a 64-byte portal store may arrive as eight 8-byte stores
    accepts_enqcmd = Flag(0x0C, 1)

    @classmethod
    def new(cls, *, store_in_pieces: bool = True, accepts_enqcmd: bool = False, mark_version: int = 1) -> Self:
        """The mark of a model that takes a 64-byte store in pieces, or accepts ENQCMD."""
        flags = {"store_in_pieces": store_in_pieces, "accepts_enqcmd": accepts_enqcmd, "mark_version": mark_version}
        made = cls.make(cls.minimum, length=cls.minimum, **flags)
        return cls(made.data[:3] + MODEL_MARK + made.data[3 + len(MODEL_MARK) :])

    def spelled_out(self) -> tuple[int, int]:
        return 3, 3 + len(MODEL_MARK)


class ExtendedVendorSpecific(ExtendedCapability):
    """Id 0xb: an id of the vendor's, a revision, a length, then what the vendor likes."""

    capability_id = 0x0B
    minimum = 8
    reference = "PCIe 6.0 7.9.5"
    shown = ("contents",)

    vsec_id = Bits(0x04, 15, 0)
    vsec_revision = Bits(0x04, 19, 16)
    length = Bits(0x04, 31, 20)

    @classmethod
    def extent(cls, data: bytes) -> tuple[int, int]:
        size = max(cls.length.read(data) or 0, cls.minimum)
        return size, size

    @classmethod
    def new(cls, vsec_id: int, body: bytes = b"", *, revision: int = 0) -> Self:
        """One that holds ``body`` after its header of 8 bytes."""
        size = cls.minimum + len(body)
        made = cls.make(size, vsec_id=vsec_id, vsec_revision=revision, length=size)
        return cls(made.data[: cls.minimum] + body)

    @property
    def body(self) -> bytes:
        """The bytes after the header."""
        return self.data[self.minimum :]

    def problems(self) -> tuple[str, ...]:
        return (f"length {self.length} is less than the header's 8",) if self.length < self.minimum else ()

    def spelled_out(self) -> tuple[int, int]:
        return self.size - len(self.body), self.size

    @property
    def contents(self) -> str:
        """The vendor's bytes, for printing."""
        return self.body.hex(" ")
