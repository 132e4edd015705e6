# SPDX-License-Identifier: Apache-2.0
"""Finding the engine: by the metadata in a BAR, by the table of ids, by the vendor-specific capability."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceTimeout, UnsupportedError, UsageError

from ..hardware.metadata import MAGIC, Header, decode_metadata
from ..hardware.places import (
    ChannelPlace,
    EnginePlace,
    Region,
    Vsec,
    device_memory,
    find_vsec,
    known_place,
    needs_base,
)
from ..hardware.registers import CHANNELS, FILE_SIZE, Common, Map

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.device.bar import Bar

__all__ = ["bus_address", "find_engine"]

_READY = 2.0  # seconds that the endpoint's software may take to fill the metadata in (as Linux waits)
_OLD = 0x1000


def bus_address(device: Device, bar: int) -> int:
    """Where ``bar`` lies on the bus, as config space says: what the device itself is given as its own address."""
    low = device.config.read(0x10 + 4 * bar, 4)
    wide = low & 7 == 4
    high = device.config.read(0x14 + 4 * bar, 4) if wide else 0
    return high << 32 | low & ~0xF


def find_engine(device: Device) -> EnginePlace:
    """The engine of ``device``. UnsupportedError where nothing says where it is.

    Memory must be decoded. A BAR with metadata is asked to fill it in; nothing else is written.
    """
    return _by_metadata(device) or _by_id(device)


def _by_metadata(device: Device) -> EnginePlace | None:
    for number in range(6):
        try:
            bar = device.bar(number)
        except UsageError:  # the function has no such BAR
            continue
        if bar.size >= _OLD and bar.read32(0) == MAGIC:
            place = _read_metadata(bar, device.name)
            numbers = [[channel.number for channel in part] for part in (place.writes, place.reads)]
            if any(part != list(range(len(part))) for part in numbers):
                why = f"its channels are {numbers[0]} and {numbers[1]}: the rest belongs to the endpoint itself"
                hint = "let the endpoint offer channels from 0 on"
                raise UnsupportedError("use the DMA engine", device=device.name, why=why, hint=hint)
            return place
    return None


def _read_metadata(bar: Bar, name: str) -> EnginePlace:
    header = bar.bind(Header)
    header.CONTROL.update(request=1)
    try:
        header.CONTROL.poll(_READY, ready=1)
    except DeviceTimeout as late:
        late.hint = "the endpoint's software has not answered: is its DMA function running?"
        raise
    length = header.LENGTH.read().length
    return decode_metadata(bar.read_block(0, min(length + 3, bar.size) // 4), name)


def _by_id(device: Device) -> EnginePlace:
    vendor, number = device.config.read(0, 2), device.config.read(2, 2)
    name = f"{vendor:04x}:{number:04x}"
    vsec = find_vsec(device.capabilities)
    place = known_place(name) if vsec is None else known_place(name, vsec.write_channels, vsec.read_channels)
    found_by = f"the id {name}" + ("" if vsec is None else " and its capability")
    if place is None and vsec is None:
        why = f"{name} is no id that is known, no capability says where its engine is, and no BAR has EP-DMA metadata"
        raise UnsupportedError("find the DMA engine", device=device.name, why=why)
    if vsec is not None:
        if place is None:
            place, found_by = _place_of(vsec), "its capability"
        place = replace(place, map=vsec.map, bar=vsec.bar)
    assert place is not None
    if needs_base(name):
        base = device_memory(device.capabilities)
        place = replace(place, writes=_based(place.writes, base), reads=_based(place.reads, base))
    return replace(_placed(device, place, 0 if vsec is None else vsec.offset), found_by=found_by)


def _place_of(vsec: Vsec) -> EnginePlace:
    """Of a function whose memory for lists is not known: its channels move single blocks."""
    writes, reads = (
        tuple(ChannelPlace(number) for number in range(count)) for count in (vsec.write_channels, vsec.read_channels)
    )
    return EnginePlace(vsec.map, vsec.bar, vsec.offset, writes, reads)


def _based(channels: tuple[ChannelPlace, ...], base: int | None) -> tuple[ChannelPlace, ...]:
    """Their memory where the device has it. Where it does not say, none is known: Linux then moves single blocks."""

    def at(region: Region | None) -> Region | None:
        return None if region is None or base is None else replace(region, address=base + region.offset)

    return tuple(replace(channel, list=at(channel.list), data=at(channel.data)) for channel in channels)


def _placed(device: Device, place: EnginePlace, hint: int) -> EnginePlace:
    """Where in the BAR the registers are, and how many channels there are: v0 says it in its CONTROL register.

    The capability's offset is a hint, as Linux ignores it; so are the start of the BAR and what Linux before 5.17 took.
    """
    bar = device.bar(place.bar)
    if place.map is Map.HDMA:  # it has nothing to be known by: Linux takes the start of the BAR
        return replace(place, offset=0)
    for offset in dict.fromkeys((hint, 0, _OLD)):
        if offset % 4 or offset + FILE_SIZE > bar.size:
            continue
        counts = bar.bind(Common, offset).CONTROL.read()
        writes, reads = counts.write_channels, counts.read_channels
        if not counts.unknown and writes + reads > 0 and max(writes, reads) <= CHANNELS:
            return replace(place, offset=offset, writes=place.writes[:writes], reads=place.reads[:reads])
    why = f"at no likely place of BAR {place.bar} does a register say how many channels there are"
    raise UnsupportedError("find the DMA engine", device=device.name, why=why)
