# SPDX-License-Identifier: Apache-2.0
"""Memory for devices that was there before: a caller's own, files, hugepages; and taking all of it back at once."""

from __future__ import annotations

import array
import gc
import mmap
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import vfio_ims
from tests.behaviour.common import EVERYWHERE
from tests.behaviour.test_dma import WORD, fire_at
from vfio_ims.device import Device
from vfio_ims.driver import Driver
from vfio_ims.errors import ClosedError, SetupError, UnsupportedError, UsageError

pytestmark = EVERYWHERE

PAGE = mmap.PAGESIZE
HUGE = 2 << 20
POOL = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")


@pytest.fixture
def memfd() -> Iterator[int]:
    fd = os.memfd_create("a caller's")
    os.ftruncate(fd, 4 * PAGE)
    yield fd
    os.close(fd)


@pytest.fixture
def hugepages() -> Iterator[int]:
    """The size of a hugepage, with two of them free: there already, or asked of the kernel and given back.

    The pool is the machine's: a run beside this one may take pages of it at any time.
    """
    before = _pool("nr_hugepages")
    if _pool("free_hugepages") >= 2:
        yield HUGE
        return
    if not os.access(POOL / "nr_hugepages", os.W_OK):
        pytest.skip(f"needs hugepages: echo 2 | sudo tee {POOL}/nr_hugepages")
    (POOL / "nr_hugepages").write_text(str(before + 2))
    try:
        if _pool("free_hugepages") < 2:
            pytest.skip(f"the kernel has no hugepages to give: echo 2 | sudo tee {POOL}/nr_hugepages, after a reboot")
        yield HUGE
    finally:
        (POOL / "nr_hugepages").write_text(str(before))


def _pool(name: str) -> int:
    return int((POOL / name).read_text())


def test_the_device_writes_into_the_callers_memory(ims_driver: Driver) -> None:
    with mmap.mmap(-1, 2 * PAGE) as memory:
        memory[:4] = b"mine"
        with ims_driver.device.dma.map(memory) as buffer:
            assert (buffer.size, buffer.mapped) == (2 * PAGE, 2 * PAGE)
            fire_at(ims_driver, buffer.iova + PAGE + 8)
            assert memory[PAGE + 8 : PAGE + 12] == WORD.to_bytes(4, "little")
            assert memory[:4] == bytes(buffer.view[:4]) == b"mine"
            assert ims_driver.device.dma.iova_of(buffer.address + 5) == buffer.iova + 5
            with pytest.raises(BufferError):
                memory.close()
        assert memory[:4] == b"mine"


def test_the_callers_memory_is_held_as_long_as_it_is_mapped_or_seen(vfio_device: Device) -> None:
    memory = mmap.mmap(-1, PAGE)
    buffer = vfio_device.dma.map(memory)
    view = buffer.view
    view[:4] = b"seen"
    buffer.close()
    with pytest.raises(BufferError):
        memory.resize(2 * PAGE)
    view.release()
    assert memory[:4] == b"seen"
    memory.close()
    assert vfio_device.dma.buffers == ()


@pytest.mark.parametrize(
    ("memory", "why"),
    [
        (object(), "buffer protocol"),
        (b"", "not empty"),
        (memoryview(mmap.mmap(-1, 2 * PAGE))[::2], "contiguous"),
        (memoryview(mmap.mmap(-1, 2 * PAGE))[8 : PAGE + 8], "multiples of the page"),
        (memoryview(mmap.mmap(-1, 2 * PAGE))[: PAGE + 8], "multiples of the page"),
        (array.array("B", bytes(3)), "multiples of the page"),
        (memoryview(mmap.mmap(-1, PAGE)).toreadonly(), "read-only, and the device would be allowed to write it"),
    ],
    ids=["no buffer", "empty", "with gaps", "start", "end", "small", "read-only"],
)
def test_memory_that_cannot_be_mapped_is_refused(vfio_device: Device, memory: Any, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        vfio_device.dma.map(memory)
    assert vfio_device.dma.buffers == ()


def test_read_only_memory_is_mapped_for_reading(ims_driver: Driver) -> None:
    memory = mmap.mmap(-1, PAGE)
    with ims_driver.device.dma.map(memoryview(memory).toreadonly(), write=False) as buffer:
        assert buffer.view.readonly
        fire_at(ims_driver, buffer.iova)
    assert memory[:] == bytes(PAGE)


def test_a_part_of_a_file_is_mapped(ims_driver: Driver, memfd: int) -> None:
    os.pwrite(memfd, b"theirs", PAGE)
    with ims_driver.device.dma.map_file(memfd, offset=PAGE, size=2 * PAGE) as buffer:
        assert bytes(buffer.view[:6]) == b"theirs"
        fire_at(ims_driver, buffer.iova + PAGE)
        assert os.pread(memfd, 4, 2 * PAGE) == WORD.to_bytes(4, "little")
    assert os.pread(memfd, 6, PAGE) == b"theirs", "the descriptor stays the caller's"
    with ims_driver.device.dma.map_file(memfd, offset=PAGE) as rest:
        assert rest.size == 3 * PAGE


def test_a_file_that_is_open_for_reading_is_mapped_for_reading(ims_driver: Driver, memfd: int) -> None:
    reading = os.open(f"/proc/self/fd/{memfd}", os.O_RDONLY)
    try:
        with pytest.raises(UsageError, match="not open for reading and writing"):
            ims_driver.device.dma.map_file(reading)
        with ims_driver.device.dma.map_file(reading, write=False) as buffer:
            assert buffer.view.readonly
            fire_at(ims_driver, buffer.iova)
            assert not any(buffer.view)
    finally:
        os.close(reading)


@pytest.mark.parametrize(
    ("offset", "size", "why"),
    [
        (0, 5 * PAGE, f"the file has {4 * PAGE:#x} bytes"),
        (-PAGE, PAGE, "the file has"),
        (4 * PAGE, None, "the file has"),
        (8, PAGE, "multiples of the page"),
        (0, PAGE + 8, "multiples of the page"),
    ],
)
def test_what_a_file_does_not_have_is_refused(
    vfio_device: Device, memfd: int, offset: int, size: int | None, why: str
) -> None:
    with pytest.raises(UsageError, match=why):
        vfio_device.dma.map_file(memfd, offset=offset, size=size)
    assert vfio_device.dma.buffers == ()


def test_a_descriptor_without_memory_is_refused(vfio_device: Device) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    try:
        with pytest.raises(UsageError, match="it is no file"):
            vfio_device.dma.map_file(reading)
    finally:
        os.close(reading)
    with pytest.raises(UsageError, match=f"descriptor {reading} is not open"):
        vfio_device.dma.map_file(reading)


def test_hugepages(ims_driver: Driver, hugepages: int) -> None:
    space = ims_driver.device.dma
    with space.allocate(100, hugepages=hugepages) as buffer:
        assert (buffer.size, buffer.mapped) == (100, HUGE)
        assert buffer.iova % HUGE == buffer.address % HUGE == 0
        fire_at(ims_driver, buffer.iova + 96)
        assert bytes(buffer.view[96:100]) == WORD.to_bytes(4, "little")
        more = _pool("nr_hugepages") + 1  # than there are in all
        with pytest.raises(SetupError, match=rf"{more} pages of 2 MiB are needed and \d+ (is|are) free"):
            space.allocate(more * HUGE, hugepages=hugepages)
    with space.allocate(100, hugepages=hugepages) as again:
        assert not any(again.view)


def test_a_callers_file_of_hugepages(ims_driver: Driver, hugepages: int) -> None:
    fd = os.memfd_create("huge", os.MFD_HUGETLB | os.MFD_HUGE_2MB)
    try:
        os.ftruncate(fd, HUGE)
        with ims_driver.device.dma.map_file(fd) as buffer:
            fire_at(ims_driver, buffer.iova + HUGE - 4)
            assert bytes(buffer.view[-4:]) == WORD.to_bytes(4, "little")
    finally:
        os.close(fd)
    with mmap.mmap(-1, HUGE, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | 0x40000 | 21 << 26) as memory:
        with ims_driver.device.dma.map(memory, align=hugepages) as buffer:
            assert buffer.iova % HUGE == 0
            fire_at(ims_driver, buffer.iova)
        assert memory[:4] == WORD.to_bytes(4, "little")


def test_all_of_it_is_taken_back_at_once(vfio_device: Device, memfd: int) -> None:
    space = vfio_device.dma
    memory = mmap.mmap(-1, PAGE)
    buffers = [space.allocate(100), space.map(memory), space.map_file(memfd)]
    size, place = sum(buffer.mapped for buffer in space.buffers), buffers[1].iova
    view = buffers[0].view
    assert space.unmap_all() == size == 6 * PAGE
    assert space.buffers == ()
    for buffer in buffers:
        with pytest.raises(ClosedError, match=r"closed by .*test_dma_existing\.py"):
            buffer.view  # noqa: B018
    view[:4] = b"ours"
    assert space.unmap_all() == 0
    with space.allocate(100, iova=place) as again:  # the addresses are free
        assert space.find(place) == (again, 0)
    del buffers, buffer
    memory.close()


def is_mapped(address: int) -> bool:
    """Whether this process has memory at ``address``."""
    spans = (line.split()[0].split("-") for line in Path("/proc/self/maps").read_text().splitlines())
    return any(int(start, 16) <= address < int(end, 16) for start, end in spans)


def test_memory_that_was_taken_back_stays_as_long_as_somebody_may_store_to_it(vfio_device: Device) -> None:
    buffer = vfio_device.dma.allocate(PAGE)
    address = buffer.address
    vfio_device.dma.unmap_all()
    assert buffer.closed
    assert is_mapped(address)
    del buffer
    gc.collect()
    assert not is_mapped(address)


def test_a_driver_closes_after_it(vfio_name: str) -> None:
    with vfio_ims.open_driver(vfio_name) as driver:
        irq, polled = driver.ims.allocate(), driver.ims.allocate_polled()
        driver.device.dma.unmap_all()
        assert driver.device.dma.buffers == ()
        irq.close()
        polled.close()
    assert driver.closed


def test_a_bar_of_another_device_or_why_not(vfio_device: Device) -> None:
    bar = vfio_device.bar(0)
    for offset, size in ((-PAGE, PAGE), (0, bar.size + PAGE), (8, PAGE), (0, 0)):
        with pytest.raises(UsageError, match="whole pages within the BAR"):
            vfio_device.dma.map_bar(bar, offset=offset, size=size)
    try:
        with vfio_device.dma.map_bar(bar, size=PAGE) as buffer, pytest.raises(UsageError, match="BAR 0 of"):
            buffer.view  # noqa: B018
    except (UnsupportedError, UsageError) as refused:
        text = str(refused)
        assert "memory only" in text or "VFIO_DEVICE_FEATURE_DMA_BUF" in text or "cannot be mapped" in text
    assert vfio_device.dma.buffers == ()
