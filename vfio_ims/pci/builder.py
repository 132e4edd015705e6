# SPDX-License-Identifier: Apache-2.0
"""Building config space for device models: the inverse of decoding, from the same declarations."""

from typing import Self

from vfio_ims.errors import UsageError
from vfio_ims.pci.bars import BAR_OFFSET, BarKind, BaseAddress, bar_flags
from vfio_ims.pci.capabilities.base import Capability
from vfio_ims.pci.capabilities.interrupts import Msix
from vfio_ims.pci.config import EXTENDED_START, FULL_SIZE, HEADER_SIZE, STANDARD_SIZE
from vfio_ims.pci.header import Command, Status
from vfio_ims.pci.image import ConfigImage
from vfio_ims.pci.layout import lay_out

__all__ = ["ConfigBuilder"]

_ALWAYS_WRITABLE = Command.BUS_MASTER | Command.PARITY | Command.SERR
_STATUS_W1C = (
    Status.MASTER_PARITY
    | Status.SIGNALED_TARGET_ABORT
    | Status.RECEIVED_TARGET_ABORT
    | Status.RECEIVED_MASTER_ABORT
    | Status.SIGNALED_SYSTEM_ERROR
    | Status.PARITY
)
_ROM = 0x30


def _refuse(why: str) -> UsageError:
    return UsageError("build config space", why=why)


class ConfigBuilder:
    """A type 0 function's config space, part by part; each method returns the builder.

    Raises UsageError at once for what hardware could not have: a BAR size that is no power of two, two BARs in one
    register, capabilities that overlap, an MSI-X table outside of its BAR (on ``build``).
    """

    def __init__(
        self,
        vendor: int,
        device: int,
        *,
        class_code: int = 0xFF0000,
        revision: int = 0,
        subsystem: tuple[int, int] = (0, 0),
        interrupt_pin: str | None = None,
        multifunction: bool = False,
        immediate_readiness: bool = False,
    ) -> None:
        self._data = bytearray(FULL_SIZE)
        self._writable = bytearray(FULL_SIZE)
        self._w1c = bytearray(FULL_SIZE)
        self._bars: dict[int, BaseAddress] = {}
        self._capabilities: list[tuple[Capability, int | None]] = []
        for name, value, offset, size in (
            ("vendor", vendor, 0x00, 2),
            ("device", device, 0x02, 2),
            ("revision", revision, 0x08, 1),
            ("class_code", class_code, 0x09, 3),
            ("subsystem vendor", subsystem[0], 0x2C, 2),
            ("subsystem device", subsystem[1], 0x2E, 2),
        ):
            if not 0 <= value < 1 << 8 * size:
                raise _refuse(f"{name} must fit in {8 * size} bits, not {value:#x}")
            self._set(self._data, offset, size, value)
        if interrupt_pin not in (None, "A", "B", "C", "D"):
            raise _refuse(f"interrupt_pin must be A, B, C, D or None, not {interrupt_pin!r}")
        self._data[0x0E] = 0x80 if multifunction else 0
        self._data[0x3D] = "ABCD".index(interrupt_pin) + 1 if interrupt_pin else 0
        self._set(self._writable, 0x04, 2, _ALWAYS_WRITABLE | (Command.INTX_DISABLE if interrupt_pin else 0))
        self._set(self._w1c, 0x06, 2, _STATUS_W1C)
        self._set(self._data, 0x06, 2, Status.IMMEDIATE_READINESS if immediate_readiness else 0)
        self._writable[0x0C] = self._writable[0x3C] = 0xFF  # cache line size and interrupt line: software's scratch

    @staticmethod
    def _set(into: bytearray, offset: int, size: int, value: int) -> None:
        into[offset : offset + size] = (int.from_bytes(into[offset : offset + size], "little") | value).to_bytes(
            size, "little"
        )

    def bar(self, index: int, size: int, kind: str = "mem32", *, prefetchable: bool = False) -> Self:
        """BAR ``index`` of ``size`` bytes: a power of two, from 16 (memory) or 4 (I/O).

        ``kind``: "mem32", "mem64", which takes two registers, or "io". ``prefetchable`` sets that bit. UsageError for
        what does not fit.
        """
        if kind not in ("io", "mem32", "mem64"):
            raise _refuse(f"BAR kind must be io, mem32 or mem64, not {kind!r}")
        shape = BarKind(kind)
        smallest, greatest = (4, 1 << 8) if shape is BarKind.IO else (16, 1 << (31 if shape is BarKind.MEM32 else 63))
        if size & (size - 1) or not smallest <= size <= greatest:
            raise _refuse(f"size of BAR{index} must be a power of two, {smallest} to {greatest:#x}, not {size!r}")
        taken = {slot for bar in self._bars.values() for slot in range(bar.index, bar.index + bar.kind.slots)}
        slots = range(index, index + shape.slots)
        if index < 0 or slots.stop > 6 or taken.intersection(slots):
            raise _refuse(f"BAR{index} as {kind} must fit in free registers out of 0 to 5")
        offset, width = BAR_OFFSET + 4 * index, 4 * shape.slots
        self._bars[index] = BaseAddress(index, shape, prefetchable, 0, size)
        self._set(self._data, offset, width, bar_flags(shape, prefetchable))
        self._set(self._writable, offset, width, (1 << 8 * width) - size)
        self._set(self._writable, 0x04, 2, Command.IO if shape is BarKind.IO else Command.MEMORY)
        return self

    def rom(self, size: int) -> Self:
        """An expansion ROM of ``size`` bytes: a power of two from 2 KiB to 16 MiB."""
        if size & (size - 1) or not 0x800 <= size <= 1 << 24:
            raise _refuse(f"size of the ROM must be a power of two, 0x800 to 0x1000000, not {size!r}")
        self._set(self._writable, _ROM, 4, (1 << 32) - size | 1)
        return self

    def add(self, capability: Capability, at: int | None = None) -> Self:
        """A capability, standard or extended, at the given offset or at the first place where it fits."""
        self._capabilities.append((capability, at))
        return self

    def build(self) -> ConfigImage:
        """Lay the capabilities out, chain them in the order they were added, and check that they make sense."""
        data, writable, w1c = bytearray(self._data), bytearray(self._writable), bytearray(self._w1c)
        for capability, _ in self._capabilities:
            if isinstance(capability, Msix):
                self._check_msix(capability)
        standard = lay_out([one for one in self._capabilities if not one[0].extended], HEADER_SIZE, STANDARD_SIZE, 4)
        extended = lay_out([one for one in self._capabilities if one[0].extended], EXTENDED_START, FULL_SIZE, 16)
        for placed in (*standard, *extended):
            end = placed.offset + placed.size
            data[placed.offset : end] = placed.data
            writable[placed.offset : end], w1c[placed.offset : end] = placed.access_masks()
        if standard:
            self._set(data, 0x06, 2, Status.CAPABILITIES)
            data[0x34] = standard[0].offset
        express = any(one.capability_id == 0x10 for one in standard)
        if extended and not express:
            raise _refuse("extended capabilities need a PCI Express capability: software looks for them only then")
        size = FULL_SIZE if express else STANDARD_SIZE
        bars = tuple(bar for _, bar in sorted(self._bars.items()))
        return ConfigImage(bytes(data[:size]), bytes(writable[:size]), bytes(w1c[:size]), bars)

    def _check_msix(self, msix: Msix) -> None:
        for name, (index, offset), size in (("table", msix.table, msix.table_size), ("PBA", msix.pba, msix.pba_size)):
            bar = self._bars.get(index)
            if bar is None or bar.kind is BarKind.IO or offset + size > (bar.size or 0):
                raise _refuse(f"MSI-X {name} at BAR{index}+{offset:#x}, {size:#x} bytes, must lie in a memory BAR")
        (table_bar, table), (pba_bar, pba) = msix.table, msix.pba
        if table_bar == pba_bar and table < pba + msix.pba_size and pba < table + msix.table_size:
            raise _refuse(f"MSI-X table at {table:#x} must not overlap the PBA at {pba:#x}")
