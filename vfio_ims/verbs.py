# SPDX-License-Identifier: Apache-2.0
"""The values that VFIO's verbs speak in: indices, flags and what the info calls answer. Pure, no I/O.

Numbers are those of the kernel's ``include/uapi/linux/vfio.h``; vfio-user uses the same ones on the wire.
"""

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

__all__ = [
    "Area",
    "DeviceFlags",
    "DeviceInfo",
    "Evidence",
    "IovaRange",
    "IrqFlags",
    "IrqIndex",
    "IrqInfo",
    "IrqSet",
    "RegionFlags",
    "RegionIndex",
    "RegionInfo",
]


class RegionIndex(IntEnum):
    """A PCI function's regions. A BAR's index is its number."""

    BAR0, BAR1, BAR2, BAR3, BAR4, BAR5, ROM, CONFIG, VGA = range(9)


class IrqIndex(IntEnum):
    """A PCI function's kinds of interrupt."""

    INTX, MSI, MSIX, ERR, REQ = range(5)


class DeviceFlags(IntFlag):
    """Flags of VFIO_DEVICE_GET_INFO."""

    RESET = 1
    PCI = 2
    CAPS = 1 << 7


class RegionFlags(IntFlag):
    """Flags of VFIO_DEVICE_GET_REGION_INFO."""

    READ = 1
    WRITE = 2
    MMAP = 4
    CAPS = 8


class IrqFlags(IntFlag):
    """Flags of VFIO_DEVICE_GET_IRQ_INFO. NORESIZE: the first SET_IRQS must cover all vectors that will ever be used."""

    EVENTFD = 1
    MASKABLE = 2
    AUTOMASKED = 4
    NORESIZE = 8


class IrqSet(IntFlag):
    """Flags of VFIO_DEVICE_SET_IRQS: one DATA kind and one ACTION."""

    DATA_NONE = 1
    DATA_BOOL = 2
    DATA_EVENTFD = 4
    ACTION_MASK = 8
    ACTION_UNMASK = 16
    ACTION_TRIGGER = 32


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """What VFIO_DEVICE_GET_INFO says."""

    flags: DeviceFlags
    regions: int
    irqs: int


@dataclass(frozen=True, slots=True, order=True)
class Area:
    """A part of a region, in bytes from the region's start."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size

    def holds(self, offset: int, size: int = 1) -> bool:
        """Whether ``[offset, offset + size)`` lies within."""
        return self.offset <= offset and offset + size <= self.end

    def meets(self, offset: int, size: int) -> bool:
        """Whether ``[offset, offset + size)`` has a byte in common."""
        return offset < self.end and self.offset < offset + size


@dataclass(frozen=True, slots=True)
class RegionInfo:
    """What VFIO_DEVICE_GET_REGION_INFO says.

    ``offset`` is where the region starts in the device's file descriptor. ``areas`` are the parts that may be mapped
    (the whole region where no sparse-mmap capability narrows it; empty where nothing may). ``msix_mappable``: the
    capability that allows a mapping over the MSI-X table.
    """

    index: int
    flags: RegionFlags
    size: int
    offset: int = 0
    areas: tuple[Area, ...] = ()
    msix_mappable: bool = False


@dataclass(frozen=True, slots=True)
class IrqInfo:
    """What VFIO_DEVICE_GET_IRQ_INFO says. ``count`` 0: the function has none of this kind."""

    index: int
    flags: IrqFlags
    count: int


@dataclass(frozen=True, slots=True, order=True)
class IovaRange:
    """I/O virtual addresses from ``start`` to ``last``, both included."""

    start: int
    last: int

    def holds(self, iova: int, size: int) -> bool:
        return self.start <= iova and iova + size - 1 <= self.last


@dataclass(frozen=True, slots=True)
class Evidence:
    """An answer (None: unknown) with what was looked at to reach it, and what would tell where nothing did."""

    answer: bool | None
    text: str
    would_tell: str = field(default="")
