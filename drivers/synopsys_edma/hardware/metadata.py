# SPDX-License-Identifier: Apache-2.0
"""EP-DMA metadata: an endpoint that runs Linux says in a BAR where its DMA engine and its channels' memory are.

Layout: K. Den, "PCI: endpoint: expose DMA to the host", v4 of 2026-07-10, include/linux/pci-ep-dma.h. Proposed, not
merged when this was written. The host sets REQUEST and waits for READY, then reads the rest.
"""

from collections.abc import Sequence
from struct import Struct

from vfio_ims.counted import counted
from vfio_ims.errors import DeviceError
from vfio_ims.registers import Block, Register, bit, bits

from .places import ChannelPlace, EnginePlace, Region
from .registers import Map

__all__ = ["ENTRY", "MAGIC", "REVISION", "Header", "decode_metadata", "encode_metadata"]

MAGIC = 0x4D44_4550
REVISION = 1
_DW_EDMA = 1
_HEADER = 0x1C
ENTRY = Struct("<IQIQQIQ")
"""A channel: where, its list's offset, size and device address, then the same of its data window; 0x2c bytes."""


class Header(Block):
    """At offset 0 of a memory BAR."""

    MAGIC = Register(0x00, access="ro", reset=MAGIC)
    LENGTH = Register(0x04, access="ro", revision=bits(7, 0), length=bits(31, 16))
    CONTROL = Register(
        0x08,
        bar=bits(2, 0, "ro"),
        writes=bits(10, 3, "ro"),
        reads=bits(18, 11, "ro"),
        entry_size=bits(26, 19, "ro"),
        request=bit(30),
        ready=bit(31, "ro"),
    )
    OFFSET_LOW = Register(0x0C, access="ro")
    OFFSET_HIGH = Register(0x10, access="ro")
    FORMAT = Register(0x14, access="ro", layout=bits(7, 0), map=bits(15, 8))
    SIZE = Register(0x18, access="ro", doc="bytes of registers")


def decode_metadata(data: bytes, device: str) -> EnginePlace:
    """The engine that ``data``, header and entries, describes. DeviceError where it is of another kind."""

    def word(register: Register) -> int:
        return int.from_bytes(data[register.offset : register.offset + 4], "little")

    length, control = Header.LENGTH.value(word(Header.LENGTH)), Header.CONTROL.value(word(Header.CONTROL))
    form = Header.FORMAT.value(word(Header.FORMAT))
    count = control.writes + control.reads
    why = ""
    if length.revision != REVISION:
        why = f"revision must be {REVISION}, not {length.revision}"
    elif form.layout != _DW_EDMA or form.map not in {int(known) for known in Map}:
        why = f"layout {form.layout} with map {form.map} is none of DesignWare's"
    elif control.entry_size < ENTRY.size or _HEADER + count * control.entry_size > min(length.length, len(data)):
        why = f"{counted(count, 'entry')} of {control.entry_size} bytes do not fit its {length.length} bytes"
    elif not count:
        why = "it has no channels"
    if why:
        raise DeviceError("read the EP-DMA metadata", device=device, why=why)
    starts = range(_HEADER, _HEADER + count * control.entry_size, control.entry_size)
    channels = [_channel(data[start : start + ENTRY.size]) for start in starts]
    offset = word(Header.OFFSET_HIGH) << 32 | word(Header.OFFSET_LOW)
    writes, reads = tuple(channels[: control.writes]), tuple(channels[control.writes :])
    return EnginePlace(Map(form.map), control.bar, offset, writes, reads, "EP-DMA metadata in a BAR")


def _channel(entry: bytes) -> ChannelPlace:
    where, offset, size, address, data_offset, data_size, data_address = ENTRY.unpack(entry)
    data = Region(where >> 12 & 7, data_offset, data_size, data_address) if where >> 16 & 1 else None
    return ChannelPlace(where & 0xFF, Region(where >> 8 & 7, offset, size, address), data)


def encode_metadata(place: EnginePlace, addresses: Sequence[int], size: int, *, ready: bool) -> bytes:
    """The metadata of ``place``, for models: ``addresses`` of BARs stand in where a region has none of its own."""
    entries = b""
    for channel in (*place.writes, *place.reads):
        fields = [0, 0, 0]
        where = channel.number
        for number, region in enumerate((channel.list, channel.data)):
            if region is not None:
                address = region.address if region.address is not None else addresses[region.bar] + region.offset
                fields[3 * number : 3 * number + 3] = [region.offset, region.size, address]
                where |= region.bar << (12 if number else 8) | (number << 16)
            elif number:
                fields += [0, 0, 0]
        entries += ENTRY.pack(where, *fields)
    control = Header.CONTROL.value(
        bar=place.bar, writes=len(place.writes), reads=len(place.reads), entry_size=ENTRY.size, ready=ready
    )
    length = Header.LENGTH.value(revision=REVISION, length=_HEADER + len(entries))
    words = (
        MAGIC,
        length,
        control,
        place.offset & 0xFFFF_FFFF,
        place.offset >> 32,
        Header.FORMAT.value(layout=_DW_EDMA, map=int(place.map)),
        size,
    )
    return b"".join(int(one).to_bytes(4, "little") for one in words) + entries
