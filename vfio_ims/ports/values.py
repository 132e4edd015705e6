# SPDX-License-Identifier: Apache-2.0
"""The values that VFIO's verbs speak in: indices, flags and what the info calls answer. Pure, no I/O.

Numbers are those of the kernel's ``include/uapi/linux/vfio.h``; vfio-user uses the same ones on the wire.
"""

from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag

from vfio_ims.ports.evidence import Evidence

__all__ = [
    "AffectedFunction",
    "Affinity",
    "Area",
    "DeviceFeature",
    "DeviceFlags",
    "DeviceInfo",
    "Evidence",
    "FeatureFlags",
    "IovaRange",
    "IrqFlags",
    "IrqIndex",
    "IrqInfo",
    "IrqSet",
    "RegionFlags",
    "RegionIndex",
    "RegionInfo",
    "ResetMethod",
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


class ResetMethod(Enum):
    """How a function can be reset through VFIO, in the order of what else is touched."""

    FUNCTION = "function reset"
    """VFIO_DEVICE_RESET: what the kernel has for this one function, such as FLR."""
    D3 = "power cycle through D3hot"
    """The PM capability's D3hot and back, where the function does not keep its state over it."""
    HOT = "hot reset"
    """VFIO_DEVICE_PCI_HOT_RESET: the slot or bus, with every function on it."""


class DeviceFeature(IntEnum):
    """Indices of VFIO_DEVICE_FEATURE."""

    LOW_POWER_ENTRY = 3
    LOW_POWER_ENTRY_WITH_WAKEUP = 4
    LOW_POWER_EXIT = 5


class FeatureFlags(IntFlag):
    """What VFIO_DEVICE_FEATURE is to do with a feature; PROBE asks whether GET or SET would be understood."""

    GET = 1 << 16
    SET = 1 << 17
    PROBE = 1 << 18


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
class AffectedFunction:
    """A function that a hot reset resets: its address, as in "0000:6a:01.0", and whether the caller's are the rights.

    ``owned``: it is open through the same container or iommufd, or it is in the group of one that is and no process
    has it open. ``group`` is the number of its IOMMU group; None where the function was opened by its own node.
    """

    address: str
    owned: bool
    group: int | None = None

    def __str__(self) -> str:
        return self.address


@dataclass(frozen=True, slots=True)
class Affinity:
    """The CPUs that may take a vector, and those that do now. A move is done with the vector's next interrupt."""

    allowed: frozenset[int]
    effective: frozenset[int]


@dataclass(frozen=True, slots=True, order=True)
class IovaRange:
    """I/O virtual addresses from ``start`` to ``last``, both included."""

    start: int
    last: int

    def holds(self, iova: int, size: int) -> bool:
        return self.start <= iova and iova + size - 1 <= self.last
