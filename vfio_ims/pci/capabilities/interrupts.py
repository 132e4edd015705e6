# SPDX-License-Identifier: Apache-2.0
"""MSI and MSI-X: PCIe base spec 6.0, sections 7.7.1 and 7.7.2; PCI_MSI_* and PCI_MSIX_* in the kernel's pci_regs.h."""

from __future__ import annotations

from typing import Self

from vfio_ims.counted import counted
from vfio_ims.errors import UsageError
from vfio_ims.pci.capabilities.base import StandardCapability
from vfio_ims.pci.capabilities.fields import Bits, Flag

__all__ = ["MSIX_ENTRY_SIZE", "Msi", "Msix"]

MSIX_ENTRY_SIZE = 16


class Msi(StandardCapability):
    """Message Signalled Interrupts: one address, up to 32 consecutive data values."""

    capability_id = 0x05
    minimum = 10
    reference = "PCIe 6.0 7.7.1"
    shown = ("vectors", "vectors_enabled", "address", "message_data", "mask", "pending")

    enabled = Flag(0x02, 0, access="rw")
    multiple_capable = Bits(0x02, 3, 1, words=lambda code: counted(1 << code, "vector"))
    multiple_enabled = Bits(0x02, 6, 4, access="rw", words=lambda code: counted(1 << code, "vector"))
    wide = Flag(0x02, 7)
    maskable = Flag(0x02, 8)
    extended_data_capable = Flag(0x02, 9)
    extended_data_enabled = Flag(0x02, 10, access="rw")
    address_low = Bits(0x04, 31, 2, access="rw", shift=2)

    @classmethod
    def extent(cls, data: bytes) -> tuple[int, int]:
        size = cls._size(bool(cls.wide.read(data)), bool(cls.maskable.read(data)))
        return size, size

    @staticmethod
    def _size(wide: bool, maskable: bool) -> int:
        return (0x18 if maskable else 0x0E) if wide else (0x14 if maskable else 0x0A)

    @classmethod
    def new(cls, vectors: int = 1, *, wide: bool = True, maskable: bool = False) -> Self:
        """MSI with 1, 2, 4 … 32 ``vectors``. ``wide``: 64-bit addresses. ``maskable``: mask and pending registers."""
        if vectors not in (1, 2, 4, 8, 16, 32):
            raise UsageError("build a capability", why=f"vectors must be a power of two up to 32, not {vectors!r}")
        return cls.make(
            cls._size(wide, maskable), multiple_capable=vectors.bit_length() - 1, wide=wide, maskable=maskable
        )

    def problems(self) -> tuple[str, ...]:
        return ("more than 32 vectors",) if self.multiple_capable > 5 or self.multiple_enabled > 5 else ()

    def spelled_out(self) -> tuple[int, int]:
        return 0x08, self.size

    def _u(self, offset: int, size: int) -> int | None:
        return int.from_bytes(self.data[offset : offset + size], "little") if offset + size <= self.size else None

    @property
    def vectors(self) -> int:
        """How many it can have."""
        return 1 << self.multiple_capable

    @property
    def vectors_enabled(self) -> int:
        return 1 << self.multiple_enabled

    @property
    def address(self) -> int:
        high = self._u(0x08, 4) if self.wide else 0
        return self.address_low | (high or 0) << 32

    @property
    def message_data(self) -> int | None:
        return self._u(0x0C if self.wide else 0x08, 2)

    @property
    def mask(self) -> int | None:
        """A bit for each vector; None without per-vector masking."""
        return self._u(0x10 if self.wide else 0x0C, 4) if self.maskable else None

    @property
    def pending(self) -> int | None:
        return self._u(0x14 if self.wide else 0x10, 4) if self.maskable else None

    def access_masks(self) -> tuple[bytes, bytes]:
        writable, clears = super().access_masks()
        rest = bytearray(writable)
        start = 0x08
        # Address high, data (16 bits; 32 with extended data), and the mask of those vectors that are there.
        for there, size, value in (
            (self.wide, 4, 0xFFFF_FFFF),
            (True, 4 if self.maskable else 2, 0xFFFF_FFFF if self.extended_data_capable else 0xFFFF),
            (self.maskable, 4, (1 << self.vectors) - 1),
        ):
            if there:
                rest[start : start + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
                start += size
        return bytes(rest), clears


class Msix(StandardCapability):
    """MSI-X: a table of vectors, and their pending bits, in BARs."""

    capability_id = 0x11
    minimum = 12
    reference = "PCIe 6.0 7.7.2"
    shown = ("vectors",)

    last_vector = Bits(0x02, 10, 0)
    masked = Flag(0x02, 14, access="rw")
    enabled = Flag(0x02, 15, access="rw")
    table_bar = Bits(0x04, 2, 0, words=lambda bar: f"BAR{bar}")
    table_offset = Bits(0x04, 31, 3, shift=3)
    pba_bar = Bits(0x08, 2, 0, words=lambda bar: f"BAR{bar}")
    pba_offset = Bits(0x08, 31, 3, shift=3)

    @classmethod
    def new(cls, vectors: int, table: tuple[int, int], pba: tuple[int, int]) -> Self:
        """1 to 2048 ``vectors``; ``table`` and ``pba`` are (BAR, offset in bytes, a multiple of 8)."""
        if not 1 <= vectors <= 2048:
            raise UsageError("build a capability", why=f"vectors must be 1 to 2048, not {vectors!r}")
        for name, (bar, offset) in (("table", table), ("pba", pba)):
            if not 0 <= bar <= 5 or offset & 7 or offset < 0:
                why = f"{name} must be (BAR 0 to 5, a multiple of 8), not ({bar!r}, {offset:#x})"
                raise UsageError("build a capability", why=why)
        return cls.make(
            cls.minimum,
            last_vector=vectors - 1,
            table_bar=table[0],
            table_offset=table[1],
            pba_bar=pba[0],
            pba_offset=pba[1],
        )

    @property
    def vectors(self) -> int:
        return self.last_vector + 1

    def problems(self) -> tuple[str, ...]:
        names = (("table", self.table_bar), ("pending bits", self.pba_bar))
        return tuple(f"MSI-X {name} in BAR{bar}, which cannot be" for name, bar in names if bar > 5)

    @property
    def table(self) -> tuple[int, int]:
        """(BAR, offset in bytes) of the table: 16 bytes a vector."""
        return self.table_bar, self.table_offset

    @property
    def table_size(self) -> int:
        """Bytes of the table."""
        return self.vectors * MSIX_ENTRY_SIZE

    @property
    def pba(self) -> tuple[int, int]:
        """(BAR, offset in bytes) of the pending bits: 8 bytes for each 64 vectors."""
        return self.pba_bar, self.pba_offset

    @property
    def pba_size(self) -> int:
        """Bytes of the pending bit array."""
        return (self.vectors + 63) // 64 * 8
