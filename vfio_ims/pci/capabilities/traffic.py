# SPDX-License-Identifier: Apache-2.0
"""How requests travel: processing hints and virtual channels.

PCIe base spec 6.0, sections 7.9.13 (TPH) and 7.9.1 (VC); PCI_TPH_* and PCI_VC_* in the kernel's pci_regs.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from vfio_ims.pci.capabilities.base import ExtendedCapability
from vfio_ims.pci.capabilities.fields import Bits, Flag

__all__ = ["ProcessingHints", "VirtualChannel", "VirtualChannel2", "VirtualChannelResource"]

_TABLE_PLACES = {0: "none", 1: "in this capability", 2: "in the MSI-X table"}


class ProcessingHints(ExtendedCapability):
    """TPH requester: hints and steering tags on requests."""

    capability_id = 0x17
    minimum = 12
    reference = "PCIe 6.0 7.9.13"
    shown = ("steering_tags",)

    no_tag_mode = Flag(0x04, 0)
    interrupt_vector_mode = Flag(0x04, 1)
    device_specific_mode = Flag(0x04, 2)
    extended_requests = Flag(0x04, 8)
    table_location = Bits(0x04, 10, 9, words=_TABLE_PLACES)
    table_last = Bits(0x04, 26, 16)
    mode = Bits(0x08, 2, 0, access="rw", words={0: "no tags", 1: "interrupt vector", 2: "device specific"})
    requests = Bits(0x08, 9, 8, access="rw", words={0: "off", 1: "TPH", 3: "TPH and extended TPH"})

    @classmethod
    def extent(cls, data: bytes) -> tuple[int, int]:
        entries = (cls.table_last.read(data) or 0) + 1 if cls.table_location.read(data) == 1 else 0
        return cls.minimum + 2 * entries, cls.minimum + 2 * entries

    @classmethod
    def new(cls, *, device_specific: bool = True, extended_requests: bool = False, entries: int = 0) -> Self:
        """``entries`` of a steering table within the capability; 0: no table."""
        values = {"no_tag_mode": 1, "device_specific_mode": device_specific, "extended_requests": extended_requests}
        if entries:
            values |= {"table_location": 1, "table_last": entries - 1, "interrupt_vector_mode": 1}
        return cls.make(cls.minimum + 2 * entries, **values)

    @property
    def steering_tags(self) -> str | None:
        """The table within the capability, 16 bits an entry, in hex; None where it is elsewhere."""
        if self.table_location != 1:
            return None
        return " ".join(self.data[at : at + 2][::-1].hex() for at in range(self.minimum, self.size - 1, 2))

    def spelled_out(self) -> tuple[int, int]:
        return self.minimum, self.size

    def access_masks(self) -> tuple[bytes, bytes]:
        writable, clears = super().access_masks()
        return writable[: self.minimum] + b"\xff" * (self.size - self.minimum), clears


@dataclass(frozen=True, slots=True)
class VirtualChannelResource:
    """One virtual channel's registers: capability, control, status."""

    capability: int
    control: int
    status: int

    @property
    def enabled(self) -> bool:
        return bool(self.control >> 31)

    @property
    def vc_id(self) -> int:
        return self.control >> 24 & 7

    @property
    def traffic_classes(self) -> int:
        """A bit for each traffic class that this channel carries."""
        return self.control & 0xFF

    @property
    def negotiation_pending(self) -> bool:
        return bool(self.status & 2)

    def __str__(self) -> str:
        state = "enabled" if self.enabled else "off"
        return f"VC{self.vc_id} {state} TC/VC={self.traffic_classes:02x} caps={self.capability:#x}"


class VirtualChannel(ExtendedCapability):
    """Virtual channels and the traffic classes that they carry."""

    capability_id = 0x02
    minimum = 0x1C
    reference = "PCIe 6.0 7.9.1"
    shown = ("channels",)

    extended_channels = Bits(0x04, 2, 0)
    low_priority_channels = Bits(0x04, 6, 4)
    reference_clock = Bits(0x04, 9, 8, words={0: "100 ns"})
    arbitration_entry_bits = Bits(0x04, 11, 10, words=lambda code: f"{1 << code} bits")
    arbitration = Bits(0x08, 7, 0)
    arbitration_table = Bits(0x08, 31, 24, shift=4)
    load_table = Flag(0x0C, 0)
    arbitration_select = Bits(0x0C, 3, 1)
    table_status = Flag(0x0E, 0)

    @classmethod
    def extent(cls, data: bytes) -> tuple[int, int]:
        size = 0x10 + 12 * ((cls.extended_channels.read(data) or 0) + 1)
        return size, size

    @classmethod
    def new(cls) -> Self:
        """The one channel that every port has: VC0 with all traffic classes."""
        data = bytearray(cls.make(cls.minimum).data)
        data[0x14:0x18] = (1 << 31 | 0xFF).to_bytes(4, "little")
        return cls(bytes(data))

    @property
    def resources(self) -> tuple[VirtualChannelResource, ...]:
        """The channels' registers, as far as they could be read."""
        starts = range(0x10, self.size - 11, 12)
        words = ([int.from_bytes(self.data[s + n : s + n + 4], "little") for n in (0, 4, 8)] for s in starts)
        return tuple(VirtualChannelResource(one, two, three >> 16) for one, two, three in words)

    def spelled_out(self) -> tuple[int, int]:
        return 0x10, self.size

    @property
    def channels(self) -> str:
        """The channels, for printing."""
        return "; ".join(str(one) for one in self.resources)


class VirtualChannel2(VirtualChannel):
    """The same under its second id, in functions that also have a Multi-Function Virtual Channel capability."""

    capability_id = 0x09
