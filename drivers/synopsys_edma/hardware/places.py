# SPDX-License-Identifier: Apache-2.0
"""Where an engine's parts are: its registers, and for each channel the memory of its list and its data window.

``known_place`` has what Linux' table of ids says (drivers/dma/dw-edma/dw-edma-pcie.c: snps_edda_data and, as of 7.3,
AMD's MDB and CPM6): such places are in no capability.
"""

from dataclasses import dataclass

from vfio_ims.pci.capabilities import Capabilities
from vfio_ims.pci.capabilities.vendor import ExtendedVendorSpecific

from .registers import Map

__all__ = ["ChannelPlace", "EnginePlace", "Region", "Vsec", "device_memory", "find_vsec", "known_place", "needs_base"]

SYNOPSYS, AMD = 0x16C3, 0x10EE
_DMA_VSEC, _MEMORY_VSEC = 6, 0x20
_LENGTH = 0x18
_MIB, _SIZE = 1 << 20, 0x800


@dataclass(frozen=True)
class Region:
    """``size`` bytes at ``offset`` of a BAR. ``address``: where the device itself has them; None: at the BAR's own."""

    bar: int
    offset: int
    size: int
    address: int | None = None


@dataclass(frozen=True)
class ChannelPlace:
    """Channel ``number`` of the hardware. ``list``: memory for its list; ``data``: memory of the device for data."""

    number: int
    list: Region | None = None
    data: Region | None = None


@dataclass(frozen=True)
class EnginePlace:
    """The whole engine. ``found_by`` says how it was found, for people."""

    map: Map
    bar: int
    offset: int
    writes: tuple[ChannelPlace, ...]
    reads: tuple[ChannelPlace, ...]
    found_by: str = ""


@dataclass(frozen=True)
class Vsec:
    """The vendor-specific extended capability that announces the engine.

    Linux keeps ``offset`` and yet maps the registers at the start of the BAR; before 5.17 it added 0x1000 for the
    demo endpoint. So the offset is a hint that is checked against the CONTROL register.
    """

    map: Map
    bar: int
    write_channels: int
    read_channels: int
    offset: int

    def body(self) -> bytes:
        """The capability's bytes after its header."""
        words = (
            self.map | self.bar << 8,
            self.write_channels | self.read_channels << 16,
            self.offset & 0xFFFF_FFFF,
            self.offset >> 32,
        )
        return b"".join(word.to_bytes(4, "little") for word in words)


def _words(capability: ExtendedVendorSpecific, count: int) -> list[int]:
    body = capability.body
    return [int.from_bytes(body[4 * n : 4 * n + 4], "little") for n in range(count)]


def _vsecs(capabilities: Capabilities, number: int) -> list[ExtendedVendorSpecific]:
    if capabilities.config.read(0, 2) not in (SYNOPSYS, AMD):
        return []
    found = capabilities.by_id(ExtendedVendorSpecific.capability_id, extended=True)
    return [one for one in found if isinstance(one, ExtendedVendorSpecific) and one.vsec_id == number]


def find_vsec(capabilities: Capabilities) -> Vsec | None:
    """The capability of a Synopsys or AMD function; None where there is none, or one of another shape."""
    for one in _vsecs(capabilities, _DMA_VSEC):
        if one.vsec_revision or one.length != _LENGTH or len(one.body) < _LENGTH - 8:
            continue
        where, counts, low, high = _words(one, 4)
        if where & 7 in {int(known) for known in Map}:
            return Vsec(Map(where & 7), where >> 8 & 7, counts & 0x3FF, counts >> 16 & 0x3FF, high << 32 | low)
    return None


def device_memory(capabilities: Capabilities) -> int | None:
    """AMD: the address that the device has for the memory behind BAR 2; None where it does not say."""
    for one in _vsecs(capabilities, _MEMORY_VSEC):
        if len(one.body) >= 8:
            low, high = _words(one, 2)
            return high << 32 | low
    return None


def needs_base(name: str) -> bool:
    """Whether lists and data of such a function have the address that ``device_memory`` gives, and none without it."""
    return name.startswith(f"{AMD:04x}:")


def _row(count: int, start: int, step: int) -> list[Region]:
    return [Region(2, start + n * step, _SIZE) for n in range(count)]


def _channels(lists: list[Region], data: list[Region]) -> tuple[ChannelPlace, ...]:
    return tuple(ChannelPlace(n, *pair) for n, pair in enumerate(zip(lists, data, strict=True)))


def _edda(writes: int, reads: int) -> EnginePlace:
    lists, data = _row(4, 0, 2 * _MIB), _row(4, 8 * _MIB, _MIB)
    return EnginePlace(
        Map.UNROLL, 0, 0, _channels(lists[:writes], data[:writes]), _channels(lists[2 : 2 + reads], data[2 : 2 + reads])
    )


def _amd(writes: int, reads: int) -> EnginePlace:
    """One after the other: lists of writes, of reads, data of writes, of reads (dw_edma_set_chan_region_offset)."""
    count = writes + reads
    lists, data = _row(count, 0, 2 * _MIB), _row(count, count * 2 * _MIB, _MIB)
    return EnginePlace(
        Map.HDMA, 0, 0, _channels(lists[:writes], data[:writes]), _channels(lists[writes:], data[writes:])
    )


_KNOWN = {"16c3:edda": (_edda, 2), "10ee:b054": (_amd, 8), "10ee:b00f": (_amd, 8)}


def known_place(name: str, writes: int | None = None, reads: int | None = None) -> EnginePlace | None:
    """Where the engine of a function with id ``name`` is, if that is known; at most so many channels as are given."""
    if name not in _KNOWN:
        return None
    lay_out, most = _KNOWN[name]
    return lay_out(most if writes is None else min(writes, most), most if reads is None else min(reads, most))
