# SPDX-License-Identifier: Apache-2.0
"""Where the engine is: by the table of ids, by its capability, by metadata in a BAR; and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.synopsys_edma.conftest import Opener, model_of
from tests.synopsys_edma.test_ending import works
from vfio_ims.drivers.synopsys_edma.driver import Edma, TransferAborted
from vfio_ims.drivers.synopsys_edma.driver.finding import bus_address, find_engine
from vfio_ims.drivers.synopsys_edma.hardware.metadata import Header, decode_metadata, encode_metadata
from vfio_ims.drivers.synopsys_edma.hardware.places import ChannelPlace, EnginePlace, Region, find_vsec, known_place
from vfio_ims.drivers.synopsys_edma.hardware.registers import Map
from vfio_ims.errors import DeviceError, UnsupportedError, UsageError
from vfio_ims.models import DeviceModel, ModelBar


def places(edma: Edma) -> tuple[Map, int, int, int]:
    found = edma.place
    return found.map, found.offset, len(found.writes), len(found.reads)


def test_by_id_and_capability(opened: Opener) -> None:
    edma = opened()
    assert places(edma) == (Map.UNROLL, 0, 2, 2)
    assert edma.place.found_by == "the id 16c3:edda and its capability"
    assert dict(edma.details())["DMA engine"] == "unroll map at BAR 0+0x0, found by the id 16c3:edda and its capability"


def test_by_id_alone(opened: Opener) -> None:
    edma = opened("vsec=no")
    assert edma.place.found_by == "the id 16c3:edda"
    works(edma)


@pytest.mark.parametrize(("name", "number"), [("legacy", 0), ("unroll", 1), ("hdma-compatible", 5), ("hdma", 7)])
def test_the_capability_says_the_map(opened: Opener, name: str, number: int) -> None:
    edma = opened(f"map={name}")
    assert edma.place.map == number
    vsec = find_vsec(edma.device.capabilities)
    assert vsec is not None
    assert (vsec.write_channels, vsec.read_channels, vsec.bar, vsec.offset) == (2, 2, 0, 0)


def test_the_device_says_how_many_channels_it_has(opened: Opener) -> None:
    edma = opened("channels=1,vsec=no")
    assert places(edma) == (Map.UNROLL, 0, 1, 1)
    assert edma.ims.table.size == 2
    works(edma)


def test_amd_says_where_the_device_has_its_memory(opened: Opener) -> None:
    edma = opened(name="amd-hdma")
    assert places(edma) == (Map.HDMA, 0, 8, 8)
    first = edma.place.writes[0].list
    assert first is not None
    assert first.address == 0x8_0000_0000
    assert first.address != bus_address(edma.device, 2)
    works(edma)


def test_registers_of_old_kernels_place_are_found(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only there: the start of the BAR reads zero."""
    edma = opened("vsec=no,registers=0x1000")
    model = model_of(edma)
    inside = model._inside
    monkeypatch.setattr(model, "_inside", lambda offset: inside(offset) if offset >= 0x1000 else None)
    assert find_engine(edma.device).offset == 0x1000


def test_by_metadata(opened: Opener) -> None:
    edma = opened("metadata,vsec=no,list_size=0x4000")
    assert edma.place.found_by == "EP-DMA metadata in a BAR"
    region = edma.place.reads[1].list
    assert region == Region(2, 0x600000, 0x4000, bus_address(edma.device, 2) + 0x600000)
    works(edma)
    with edma.write_channel() as channel:
        window, host = edma.window(channel), edma.device.dma.allocate(4096)
        channel.start([window.address] * 600, [host.iova] * 600, 4).wait()


def test_an_endpoint_that_does_not_answer_is_named(opened: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    from vfio_ims.drivers.synopsys_edma.driver import finding

    edma = opened("metadata")
    model = model_of(edma)
    model._describe(ready=False)
    monkeypatch.setattr(model, "_describe", lambda *, ready: None)
    monkeypatch.setattr(finding, "_READY", 0.05)
    with pytest.raises(Exception, match="is its DMA function running"):
        find_engine(edma.device)


PLACE = EnginePlace(
    Map.HDMA,
    2,
    0x1_0000_2000,
    (ChannelPlace(0, Region(4, 0x100, 0x200, 0x300), Region(5, 0x1_0000_0000, 0x600, 0x700)),),
    (ChannelPlace(0, Region(1, 8, 9, 10)), ChannelPlace(3, Region(1, 11, 12, 13))),
    "EP-DMA metadata in a BAR",
)


def test_metadata_is_read_as_it_was_written() -> None:
    data = encode_metadata(PLACE, [0] * 6, 0x1000, ready=True)
    assert len(data) == 0x1C + 3 * 0x2C
    assert decode_metadata(data, "it") == PLACE


@pytest.mark.parametrize(
    ("at", "value", "why"),
    [
        (Header.LENGTH.offset, 2, "revision must be 1, not 2"),
        (Header.FORMAT.offset, 9, "layout 9 with map 7"),
        (Header.FORMAT.offset + 1, 2, "layout 1 with map 2"),
        (Header.LENGTH.offset + 2, 8, "do not fit its 8 bytes"),
    ],
)
def test_metadata_of_another_kind_is_refused(at: int, value: int, why: str) -> None:
    data = bytearray(encode_metadata(PLACE, [0] * 6, 0x1000, ready=True))
    data[at] = value
    with pytest.raises(DeviceError, match=why):
        decode_metadata(bytes(data), "it")


def test_channels_that_belong_to_the_endpoint_are_left_to_it(opened: Opener) -> None:
    edma = opened("metadata")
    model = model_of(edma)
    model.place = replace(model.place, reads=model.place.reads[1:])
    with pytest.raises(UnsupportedError, match=r"its channels are \[0, 1\] and \[1\]"):
        find_engine(edma.device)


def test_a_function_without_an_engine_is_refused() -> None:
    class Plain(DeviceModel):
        id = "1234:9999"
        bars = {0: ModelBar(0x4000)}

    import vfio_ims
    from vfio_ims.backends.software.device import SoftwareDevice
    from vfio_ims.backends.software.in_process import InProcessLink
    from vfio_ims.device import Device
    from vfio_ims.platform import Platform

    assert vfio_ims
    with Device(SoftwareDevice(InProcessLink(Plain("plain")), Platform())) as device:
        device.config.memory = True
        with pytest.raises(UnsupportedError, match="1234:9999 is no id that is known, no capability says"):
            find_engine(device)


def offsets(place: EnginePlace | None, part: str) -> list[int]:
    assert place is not None
    regions = [getattr(channel, part) for channel in (*place.writes, *place.reads)]
    return [region.offset for region in regions]


def test_the_places_of_linux_table() -> None:
    assert offsets(known_place("16c3:edda"), "list") == [0, 0x200000, 0x400000, 0x600000]
    assert offsets(known_place("16c3:edda"), "data") == [0x800000, 0x900000, 0xA00000, 0xB00000]
    assert offsets(known_place("16c3:edda", 1, 1), "list") == [0, 0x400000]
    assert offsets(known_place("10ee:b054", 2, 1), "list") == [0, 0x200000, 0x400000]
    assert offsets(known_place("10ee:b054", 2, 1), "data") == [0x600000, 0x700000, 0x800000]
    assert known_place("1234:5678") is None


def test_without_an_address_for_its_memory_amd_moves_single_blocks(
    opened: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vfio_ims.drivers.synopsys_edma.model import HdmaModel

    monkeypatch.setattr(HdmaModel, "device_memory", None)
    edma = opened(name="amd-hdma")
    assert {channel.list for channel in (*edma.place.writes, *edma.place.reads)} == {None}
    host, inside = edma.device.dma.allocate(4096), bus_address(edma.device, 2) + 0x100
    edma.device.bar(2).write32(0x100, 0x64636261)
    with edma.write_channel() as channel:
        for completed in range(3):
            channel.copy(inside, host.iova + 4 * completed, 4)
        assert bytes(host.view[:12]) == b"abcd" * 3
        with pytest.raises(UsageError, match="so that it moves one block at a time"):
            channel.start([inside] * 2, [host.iova] * 2, 4)
        with pytest.raises(UnsupportedError, match="where write channel 0 has memory to move to and from"):
            edma.window(channel)
        with pytest.raises(TransferAborted):
            channel.copy(0x1000, host.iova, 4)
        channel.copy(inside, host.iova + 64, 4)
    assert bytes(host.view[64:68]) == b"abcd"
    with pytest.raises(UnsupportedError, match="has memory to move to and from"):
        edma.fire(0)
