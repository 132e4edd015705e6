# SPDX-License-Identifier: Apache-2.0
"""Base address registers: what a BAR is, where it lies, and its size where that is known.

Layout and sizing: PCIe base spec 6.0, section 7.5.1.2.1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from vfio_ims.pci.header import Header, HeaderType

__all__ = ["BAR_OFFSET", "BAR_SLOTS", "BarKind", "BaseAddress", "bar_flags", "decode_bars"]

BAR_OFFSET = 0x10
BAR_SLOTS = {HeaderType.NORMAL: 6, HeaderType.BRIDGE: 2, HeaderType.CARDBUS: 1}


class BarKind(StrEnum):
    """What a BAR decodes. MEM1M is the obsolete "below 1 MiB"."""

    IO = "io"
    MEM32 = "mem32"
    MEM64 = "mem64"
    MEM1M = "mem1m"

    @property
    def slots(self) -> int:
        """How many 32-bit registers it takes."""
        return 2 if self is BarKind.MEM64 else 1


_FLAGS = {BarKind.IO: 0x1, BarKind.MEM32: 0x0, BarKind.MEM1M: 0x2, BarKind.MEM64: 0x4}
_PREFETCH = 0x8


def bar_flags(kind: BarKind, prefetchable: bool) -> int:
    """The low, read-only bits of such a BAR."""
    return _FLAGS[kind] | (_PREFETCH if prefetchable else 0)


@dataclass(frozen=True, slots=True)
class BaseAddress:
    """One BAR. ``address`` 0: not assigned. ``size`` in bytes; None: not probed."""

    index: int
    kind: BarKind
    prefetchable: bool
    address: int
    size: int | None = None

    def __str__(self) -> str:
        size = "size unknown" if self.size is None else f"{self.size:#x} bytes"
        where = f"at {self.address:#x}" if self.address else "unassigned"
        return f"BAR{self.index}: {self.kind}{' prefetchable' if self.prefetchable else ''}, {size}, {where}"


def _kind(low: int) -> BarKind | None:
    if low & 1:
        return BarKind.IO
    return {0: BarKind.MEM32, 2: BarKind.MEM1M, 4: BarKind.MEM64}.get(low & 6)


def _size_from_mask(mask: int, kind: BarKind) -> int | None:
    """The size that a register answers with after all ones were written to it: its lowest writable address bit."""
    mask &= ~0x3 if kind is BarKind.IO else ~0xF
    return mask & -mask or None


def decode_bars(
    header: Header, sizes: Mapping[int, int] | None = None, masks: Mapping[int, int] | None = None
) -> tuple[BaseAddress, ...]:
    """The BARs in use, by number.

    ``sizes``: bytes by BAR number, as the resource file in sysfs or VFIO's region info have them; 0 is a BAR not there.
    ``masks``: what each 32-bit register read after all ones were written to it. Without either a register of zero is
    taken as absent, since a 32-bit memory BAR that has no address yet looks the same.
    """
    bars = []
    count = BAR_SLOTS[header.kind] if header.kind is not None else 0
    index = 0
    while index < count:
        low = header.u32(BAR_OFFSET + 4 * index)
        kind = _kind(low)
        wide = kind is BarKind.MEM64 and index + 1 < count
        size = (sizes or {}).get(index)
        if masks is not None and index in masks and kind is not None:
            size = _size_from_mask(masks[index] | (masks.get(index + 1, 0) << 32 if wide else 0), kind)
        # A 64-bit BAR whose pair would lie past the last register is no BAR; nor is a reserved type.
        valid = kind is not None and (wide or kind is not BarKind.MEM64)
        if kind is not None and valid and (size if size is not None else low):
            high = header.u32(BAR_OFFSET + 4 * index + 4) if wide else 0
            address = (low & (~0x3 if kind is BarKind.IO else ~0xF)) | high << 32
            bars.append(BaseAddress(index, kind, kind is not BarKind.IO and bool(low & _PREFETCH), address, size))
        index += 2 if wide else 1
    return tuple(bars)
