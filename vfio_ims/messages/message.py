# SPDX-License-Identifier: Apache-2.0
"""One message: the address a device writes and the 32 bits it writes there."""

from dataclasses import dataclass, field
from enum import StrEnum

from vfio_ims.errors import UsageError

__all__ = ["INTERRUPT_RANGE", "NO_MESSAGE", "Format", "Message"]

INTERRUPT_RANGE = range(0xFEE0_0000, 0xFEF0_0000)
"""Where x86 takes a 4-byte write without PASID as an interrupt (Intel SDM volume 3, "Message Address Register")."""

_REMAPPABLE, _SUBHANDLE_VALID = 1 << 4, 1 << 3
_ITS_TRANSLATER = 0x40  # GITS_TRANSLATER's offset in its 64 KiB frame (Arm IHI 0069, "GITS_TRANSLATER")


class Format(StrEnum):
    """What a message is. Decided by the platform; a message's own bits are only a hint, since formats overlap."""

    VTD = "VT-d handle"
    COMPATIBILITY = "x86 compatibility format"
    AMD = "AMD-Vi index"
    X86 = "compatibility format or AMD index"
    """What the bits alone say of those two."""
    ITS = "GICv3 ITS"
    GICV2M = "GICv2m"
    MEMORY = "memory"
    NONE = "none"


@dataclass(frozen=True, slots=True, order=True)
class Message:
    """An address/data pair. The address is 64 bits and a multiple of 4, the data 32 bits.

    ``known_format``: what it is, where the platform has said so (``MessagePlatform``). Messages are equal where address
    and data are.
    """

    address: int
    data: int
    known_format: Format | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.address < 1 << 64 or self.address % 4:
            raise UsageError(
                "make a message", why=f"address must be 64 bits and a multiple of 4, not {self.address:#x}"
            )
        if not 0 <= self.data < 1 << 32:
            raise UsageError("make a message", why=f"data must be 32 bits, not {self.data:#x}")

    @classmethod
    def remappable(cls, handle: int, subhandle: int | None = 0) -> "Message":
        """VT-d's remappable format for an interrupt-remapping table entry.

        ``subhandle`` None: SHV (subhandle valid) is 0, and the data is no part of the entry's number.

        Sources: VT-d specification, "Interrupt Requests in Remappable Format"; Linux
        drivers/iommu/intel/irq_remapping.c fill_msi_msg.
        """
        if not 0 <= handle < 1 << 16:
            raise UsageError("make a message", why=f"handle must be 16 bits, not {handle:#x}")
        low = 0xFEE0_0000 | (handle & 0x7FFF) << 5 | _REMAPPABLE | (handle >> 15) << 2
        return cls(low, 0) if subhandle is None else cls(low | _SUBHANDLE_VALID, subhandle)

    @classmethod
    def compatibility(cls, destination: int, vector: int) -> "Message":
        """The format without remapping: an 8-bit APIC id and a vector, fixed delivery, edge (Intel SDM volume 3)."""
        return cls(0xFEE0_0000 | (destination & 0xFF) << 12, vector)

    def known_as(self, form: Format | None) -> "Message":
        """The same message, whose format is known."""
        return Message(self.address, self.data, form)

    @property
    def format(self) -> Format:
        """What it is: as known, else as its bits look."""
        if self.known_format is not None:
            return self.known_format
        if self.address == 0:
            return Format.NONE
        if self.address in INTERRUPT_RANGE:
            return Format.VTD if self.address & _REMAPPABLE else Format.X86
        return Format.ITS if self.address & 0xFFFF == _ITS_TRANSLATER else Format.MEMORY

    @property
    def handle(self) -> int | None:
        """The interrupt-remapping table entry that a VT-d message names, subhandle added; None for other formats."""
        if self.format is not Format.VTD:
            return None
        index = self.address >> 5 & 0x7FFF | (self.address >> 2 & 1) << 15
        return index + (self.data & 0xFFFF if self.address & _SUBHANDLE_VALID else 0)

    @property
    def meaning(self) -> str:
        """What the message is, in words."""
        match self.format:
            case Format.VTD:
                return f"VT-d handle {self.handle}"
            case Format.COMPATIBILITY | Format.X86 as found:
                cpu = f"APIC {self.address >> 12 & 0xFF} vector {self.data & 0xFF:#x}"
                if found is Format.X86:
                    return f"{cpu}, or AMD index {self.data:#x}"
                return f"compatibility format, {cpu}"
            case Format.AMD:
                return f"AMD-Vi index {self.data}"
            case Format.ITS:
                return f"GICv3 ITS event {self.data}"
            case Format.GICV2M:
                return f"GICv2m SPI {self.data}"
            case Format.MEMORY:
                return "memory"
        return "no message"

    def __bool__(self) -> bool:
        return self.address != 0

    def __str__(self) -> str:
        return f"{self.address:#x}/{self.data:#x} ({self.meaning})"


NO_MESSAGE = Message(0, 0)
