# SPDX-License-Identifier: Apache-2.0
"""Memory for devices: mapping, reuse, translation; and that the device does, or does not, reach it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

import vfio_ims
from tests.behaviour.common import EVERYWHERE
from vfio_ims.device import Device
from vfio_ims.dma import Buffer
from vfio_ims.driver import Driver
from vfio_ims.errors import ClosedError, DeviceBusy, SetupError, UsageError
from vfio_ims.messages import Message
from vfio_ims.testing.places import Place
from vfio_ims.testing.plugin import places_of

pytestmark = EVERYWHERE

WORD = 0xD00D_F00D


@pytest.fixture
def buffer(vfio_device: Device) -> Iterator[Buffer]:
    with vfio_device.dma.allocate(100) as made:
        yield made


def test_new_memory_is_zeroed_and_writable(buffer: Buffer) -> None:
    assert buffer.size == len(buffer) == len(buffer.view) == 100
    assert bytes(buffer.view) == bytes(100)
    buffer.view[10:14] = b"data"
    assert bytes(buffer.view[8:16]) == b"\0\0data\0\0"


def test_addresses_are_pages_that_the_iommu_allows_and_never_page_0(vfio_device: Device) -> None:
    space = vfio_device.dma
    buffers = [space.allocate(size) for size in (1, 4096, 4097, 1 << 20)]
    ranges = space.port.ranges()
    taken: list[range] = []
    for made in buffers:
        assert made.iova >= space.page
        assert made.iova % space.page == 0
        assert any(allowed.holds(made.iova, made.mapped) for allowed in ranges)
        assert not any(
            made.iova in other or other.start in range(made.iova, made.iova + made.mapped) for other in taken
        )
        taken.append(range(made.iova, made.iova + made.mapped))
    assert space.buffers == tuple(sorted(buffers, key=lambda made: made.iova))


def test_a_closed_buffers_addresses_are_used_again(vfio_device: Device) -> None:
    with vfio_device.dma.allocate(8192) as first:
        place = first.iova
        first.view[0] = 1
    with pytest.raises(ClosedError, match=r"closed by .*test_dma\.py"):
        first.view  # noqa: B018
    with vfio_device.dma.allocate(8192) as second:
        assert second.iova == place
        assert second.view[0] == 0


def test_an_exact_address_is_given_or_refused(vfio_device: Device) -> None:
    space = vfio_device.dma
    with space.allocate(4096) as probe:
        wanted = probe.iova + 16 * space.page
    with space.allocate(4096, iova=wanted) as made:
        assert made.iova == wanted
        with pytest.raises(DeviceBusy, match="meets memory that is mapped already"):
            space.allocate(4096, iova=wanted)
    beyond = max(allowed.last for allowed in space.port.ranges()) + 1  # AMD-Vi translates all 64 bits
    for bad in (0, wanted + 1, beyond, 1 << 64):
        with pytest.raises(UsageError):
            space.allocate(4096, iova=bad)
    assert space.buffers == ()


@pytest.mark.parametrize("align", [1 << 16, 1 << 21])
def test_an_alignment_is_kept(vfio_device: Device, align: int) -> None:
    with vfio_device.dma.allocate(4096), vfio_device.dma.allocate(4096, align=align) as made:
        assert made.iova % align == 0


@pytest.mark.parametrize("size", [0, -1, 1.5, "4096", None, 1 << 70])
def test_no_memory_is_refused(vfio_device: Device, size: Any) -> None:
    with pytest.raises(UsageError, match=f"size must be 1 byte or more, not {size!r}"):
        vfio_device.dma.allocate(size)


def test_more_memory_than_there_are_addresses_is_refused(vfio_device: Device) -> None:
    with pytest.raises(SetupError, match="allocate 0x1000000000000000 bytes"):
        vfio_device.dma.allocate(1 << 60)


def test_translation_goes_both_ways(vfio_device: Device, buffer: Buffer) -> None:
    space = vfio_device.dma
    assert space.find(buffer.iova + 99) == (buffer, 99)
    assert space.iova_of(buffer.address + 99) == buffer.iova + 99
    for unknown in (buffer.iova - 1, buffer.iova + 100, 0):
        with pytest.raises(UsageError, match=f"nothing of ours is mapped at IOVA {unknown:#x}"):
            space.find(unknown)
    with pytest.raises(UsageError, match="no buffer has address"):
        space.iova_of(buffer.address + 100)
    place, address = buffer.iova, buffer.address
    buffer.close()
    with pytest.raises(UsageError):
        space.find(place)
    with pytest.raises(UsageError):
        space.iova_of(address)


def test_memory_in_use_is_freed_with_its_last_view(vfio_device: Device) -> None:
    buffer = vfio_device.dma.allocate(4096)
    view = buffer.view
    view[0] = 7
    buffer.close()
    assert view[0] == 7
    assert vfio_device.dma.buffers == ()
    with vfio_device.dma.allocate(4096) as next_one:
        assert next_one.iova == buffer.iova
        assert next_one.view[0] == 0


def test_many_buffers_come_and_go(vfio_device: Device) -> None:
    space = vfio_device.dma
    for _ in range(3):
        buffers = [space.allocate(4096 * (1 + index % 3)) for index in range(32)]
        assert len({made.iova for made in buffers}) == 32
        for made in buffers[::2] + buffers[1::2]:
            made.close()
    assert space.buffers == ()


def test_memory_goes_with_its_device(vfio_name: str) -> None:
    with vfio_ims.open(vfio_name) as device:
        buffer = device.dma.allocate(4096)
    assert buffer.closed
    with pytest.raises(ClosedError):
        device.dma  # noqa: B018


def test_an_address_space_is_forgotten_with_its_last_device(vfio_name: str) -> None:
    """A program that opens and closes a device day and night does not grow."""
    device = vfio_ims.open(vfio_name)
    space = weakref.ref(device.dma)
    device.close()
    del device
    gc.collect()
    assert space() is None


# --- what the device reaches: it fires a slot whose message is a write to memory --------------------------------------


def point_at(driver: Driver, iova: int) -> int:
    """A slot that writes WORD to ``iova``."""
    irq = driver.ims.allocate(masked=driver.ims.table.has_mask)
    driver.ims.write(irq.slot, Message(iova, WORD), unsafe=True)
    if driver.ims.table.has_mask:
        driver.ims.set_masked(irq.slot, False)
    return irq.slot


def fire_at(driver: Driver, iova: int) -> None:
    driver.fire(point_at(driver, iova))


def words(buffer: Buffer) -> list[int]:
    return list(buffer.view[: len(buffer.view) // 4 * 4].cast("I"))


def test_the_device_writes_where_the_buffer_is(ims_driver: Driver) -> None:
    with ims_driver.device.dma.allocate(16) as buffer:
        fire_at(ims_driver, buffer.iova + 8)
        assert words(buffer) == [0, 0, WORD, 0]


def test_the_device_cannot_write_what_it_may_only_read(ims_driver: Driver) -> None:
    with ims_driver.device.dma.allocate(16, write=False) as buffer:
        fire_at(ims_driver, buffer.iova)
        assert words(buffer) == [0, 0, 0, 0]


def test_the_device_cannot_write_what_was_given_back(ims_driver: Driver) -> None:
    space = ims_driver.device.dma
    with space.allocate(4096) as kept, space.allocate(4096) as gone:
        iova = gone.iova
        gone.close()
        fire_at(ims_driver, iova)
        assert not any(kept.view)


def test_two_devices_share_an_address_space(vfio_name: str, request: pytest.FixtureRequest) -> None:
    with vfio_ims.open_driver(vfio_name) as first:
        second_name = another(vfio_name, request)
        with vfio_ims.open_driver(second_name, share=first.device) as second:
            assert second.device.dma is first.device.dma
            with first.device.dma.allocate(16) as buffer:
                fire_at(second, buffer.iova)
                fire_at(first, buffer.iova + 4)
                assert words(buffer) == [WORD, WORD, 0, 0]
            buffer = second.device.dma.allocate(16)
            first.close()
            fire_at(second, buffer.iova + 12)
            assert words(buffer) == [0, 0, 0, WORD]
        assert buffer.closed


def another(name: str, request: pytest.FixtureRequest) -> str:
    """A second device on the same mount."""
    places = places_of(request.config)
    others = [named for named in places.named if named != name]
    if name.startswith("mock:"):
        return name
    if not places.named:
        return places.name_of(Place("vfio-user", "minimal,dvsec=absent"))
    if not others:
        pytest.skip(f"{name} is the only device that is named")
    return others[0]
