# SPDX-License-Identifier: Apache-2.0
"""Answers of the kernel, decoded: room that grows as it asks, capability chains, and answers that make no sense."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vfio_ims.errors import DeviceError, UsageError
from vfio_ims.native import ioctl, iommufd, vfio
from vfio_ims.native.ioctl import chain
from vfio_ims.native.lib import native
from vfio_ims.ports.values import Area, IovaRange, IrqSet, RegionFlags

Answer = Callable[[int, int, memoryview], int]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answer], list[tuple[int, bytes]]]:
    """Put a function in the kernel's place; it gets the request's number, and the structure to read and fill."""
    ffi, _ = native()

    def replace(answer: Answer) -> list[tuple[int, bytes]]:
        asked: list[tuple[int, bytes]] = []

        def call(fd: int, number: int, argument: object) -> int:
            if isinstance(argument, int):
                asked.append((number, argument.to_bytes(8, "little")))
                return answer(fd, number, memoryview(b""))
            start = ffi.cast("uint8_t *", argument)
            size = ffi.cast("uint32_t *", argument)[0]
            buffer = memoryview(ffi.buffer(start, size)).cast("B")
            asked.append((number, bytes(buffer)))
            return answer(fd, number, buffer)

        for module in (ioctl, vfio, iommufd):
            monkeypatch.setattr(module, "call", call)
        return asked

    return replace


def info_answer(fixed: bytes, capabilities: bytes) -> Answer:
    """As the kernel does: too little room gets the fixed part and the size wanted; argsz is the first word."""

    def answer(fd: int, number: int, buffer: memoryview) -> int:
        whole = fixed + capabilities
        room = len(buffer)
        buffer[: min(room, len(fixed))] = fixed[:room]
        if room >= len(whole):
            buffer[: len(whole)] = whole
        buffer[:4] = struct.pack("<I", max(len(whole), len(fixed)))
        return 0

    return answer


def region(flags: int, size: int, capabilities: bytes = b"", first: int = 32) -> Answer:
    return info_answer(struct.pack("<IIIIQQ", 0, flags, 2, first if capabilities else 0, size, 2 << 40), capabilities)


def sparse(*areas: tuple[int, int], following: int = 0, count: int | None = None) -> bytes:
    number = len(areas) if count is None else count
    return struct.pack("<HHIII", 1, 1, following, number, 0) + b"".join(struct.pack("<QQ", *area) for area in areas)


Kernel = Callable[[Answer], list[tuple[int, bytes]]]


def test_a_region_without_capabilities_is_mappable_whole(kernel: Kernel) -> None:
    kernel(region(0x7, 0x10000))
    info = vfio.region_info(3, 2)
    assert (info.index, info.size, info.offset) == (2, 0x10000, 2 << 40)
    assert info.flags == RegionFlags.READ | RegionFlags.WRITE | RegionFlags.MMAP
    assert info.areas == (Area(0, 0x10000),)
    assert not info.msix_mappable


@pytest.mark.parametrize(("flags", "size"), [(0x3, 0x1000), (0x7, 0), (0, 0)])
def test_a_region_that_may_not_be_mapped_has_no_areas(kernel: Kernel, flags: int, size: int) -> None:
    kernel(region(flags, size))
    assert vfio.region_info(3, 2).areas == ()


def test_several_areas_and_the_msix_capability(kernel: Kernel) -> None:
    """More than one sparse area, after another capability: kata-containers#12929, rust-vmm vfio-ioctls#34."""
    msix = struct.pack("<HHI", 3, 1, 40)
    asked = kernel(region(0xF, 0x10000, msix + sparse((0x8000, 0x8000), (0, 0x2000), (0x4000, 0))))
    info = vfio.region_info(3, 2)
    assert info.areas == (Area(0, 0x2000), Area(0x8000, 0x8000))
    assert info.msix_mappable
    assert [len(text) for _, text in asked] == [32, 40 + 16 + 48], "asked again with the room that the kernel wants"


@pytest.mark.parametrize(
    "capabilities",
    [
        sparse((0, 0x1000), following=32),
        sparse((0, 0x1000), following=4096),
        sparse((0, 0x1000), following=62),
        sparse((0, 0x1000), count=3),
        sparse((0, 0x1000), count=0xFFFF_FFFF),
        sparse((0xF000, 0x2000)),
        sparse((1 << 63, 1 << 63)),
    ],
)
def test_an_answer_that_contradicts_itself_is_an_error(kernel: Kernel, capabilities: bytes) -> None:
    kernel(region(0xF, 0x10000, capabilities))
    with pytest.raises(DeviceError, match="region 2"):
        vfio.region_info(3, 2)


def test_a_kernel_that_wants_endless_room_is_an_error(kernel: Kernel) -> None:
    def answer(fd: int, number: int, buffer: memoryview) -> int:
        buffer[:4] = struct.pack("<I", min(2 * len(buffer), 0xFFFF_FFFF))
        return 0

    kernel(answer)
    with pytest.raises(DeviceError, match="bytes of room"):
        vfio.device_info(3)


@given(st.binary(max_size=120), st.integers(0, 200))
@settings(max_examples=150, deadline=None)
def test_any_chain_ends_or_is_an_error(answer: bytes, first: int) -> None:
    try:
        found = list(chain("it", answer, first))
    except DeviceError as error:
        note = str(error)
        assert "loops" in note or "outside" in note
    else:
        offsets = [capability.offset for capability in found]
        assert len(set(offsets)) == len(offsets)
        assert all(offset + 8 <= len(answer) for offset in offsets)


def test_a_larger_kernel_structure_is_fine(kernel: Kernel) -> None:
    kernel(info_answer(struct.pack("<IIIII4x", 0, 0x3, 9, 5, 0), bytes(64)))
    info = vfio.device_info(3)
    assert (info.regions, info.irqs) == (9, 5)


def test_interrupts_are_packed_as_the_flags_say(kernel: Kernel) -> None:
    asked = kernel(lambda fd, number, buffer: 0)
    vfio.set_irqs(3, 2, IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER, 1, 2, [7, -1])
    vfio.set_irqs(3, 0, IrqSet.DATA_BOOL | IrqSet.ACTION_MASK, 0, 3, [1, 0, 1])
    vfio.set_irqs(3, 2, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, 0, 0)
    assert [text for _, text in asked] == [
        struct.pack("<IIIIIii", 28, 0x24, 2, 1, 2, 7, -1),
        struct.pack("<IIIIIBBB", 23, 0x0A, 0, 0, 3, 1, 0, 1),
        struct.pack("<IIIII", 20, 0x21, 2, 0, 0),
    ]
    with pytest.raises(UsageError):
        vfio.set_irqs(3, 0, IrqSet.DATA_BOOL, 0, 1, [256])
    with pytest.raises(UsageError):
        vfio.set_irqs(3, 2, IrqSet.DATA_EVENTFD, 0, 1, [1 << 40])


def test_a_pasid_makes_the_structure_longer(kernel: Kernel) -> None:
    asked = kernel(lambda fd, number, buffer: 0)
    vfio.attach_pt(3, 5)
    vfio.attach_pt(3, 5, 9)
    vfio.detach_pt(3)
    vfio.detach_pt(3, 9)
    assert [text for _, text in asked] == [
        struct.pack("<III", 12, 0, 5),
        struct.pack("<IIII", 16, 1, 5, 9),
        struct.pack("<II", 8, 0),
        struct.pack("<III", 12, 1, 9),
    ]


def test_a_container_says_what_it_allows(kernel: Kernel) -> None:
    ranges = struct.pack("<HHIIIQQQQ", 1, 1, 24 + 48, 2, 0, 0xFEF0_0000, (1 << 39) - 1, 0, 0xFEDF_FFFF)
    left = struct.pack("<HHII", 3, 1, 0, 65535)
    kernel(info_answer(struct.pack("<IIQI4x", 0, 3, 0x1000 | 0x20_0000, 24), ranges + left))
    info = vfio.type1_info(3)
    assert info.ranges == (IovaRange(0, 0xFEDF_FFFF), IovaRange(0xFEF0_0000, (1 << 39) - 1))
    assert (info.page_sizes, info.mappings_left) == (0x20_1000, 65535)


def test_an_old_container_says_less(kernel: Kernel) -> None:
    kernel(info_answer(struct.pack("<IIQI4x", 0, 1, 0x1000, 0), b""))
    info = vfio.type1_info(3)
    assert (info.page_sizes, info.ranges, info.mappings_left) == (0x1000, (), None)


def test_unmap_returns_what_was_mapped(kernel: Kernel) -> None:
    def answer(fd: int, number: int, buffer: memoryview) -> int:
        buffer[16:24] = struct.pack("<Q", 0x3000)
        return 0

    kernel(answer)
    assert vfio.type1_unmap(3, 0x1000, 0x8000) == 0x3000
    assert iommufd.ioas_unmap(3, 1, 0x1000, 0x8000) == 0x3000


def test_more_iova_ranges_than_guessed(kernel: Kernel) -> None:
    ffi, _ = native()

    def answer(fd: int, number: int, buffer: memoryview) -> int:
        room, where = struct.unpack_from("<I", buffer, 8)[0], struct.unpack_from("<Q", buffer, 16)[0]
        buffer[8:12] = struct.pack("<I", 100)
        if room < 100:
            raise OSError(errno.EMSGSIZE, "")
        buffer[24:32] = struct.pack("<Q", 4096)
        out = ffi.cast("uint64_t *", where)
        for i in range(100):
            out[2 * i], out[2 * i + 1] = i << 32, (i << 32) + 0xFFFF
        return 0

    kernel(answer)
    ranges, alignment = iommufd.ioas_ranges(3, 1)
    assert len(ranges) == 100
    assert ranges[99] == IovaRange(99 << 32, (99 << 32) + 0xFFFF)
    assert alignment == 4096


def test_the_kernels_errno_comes_through() -> None:
    """A pipe knows none of these requests."""
    reading, writing = os.pipe()
    try:
        for asked in (
            lambda: vfio.device_info(reading),
            lambda: vfio.reset(reading),
            lambda: vfio.set_iommu(reading, 3),
            lambda: iommufd.ioas_alloc(reading),
        ):
            with pytest.raises(OSError, match="ioctl") as caught:
                asked()
            assert caught.value.errno == errno.ENOTTY
        with pytest.raises(OSError, match="descriptor"):
            vfio.group_status(-1)
    finally:
        os.close(reading)
        os.close(writing)
