# SPDX-License-Identifier: Apache-2.0
"""The I/O address space: what type1v2 takes and refuses, and what a device's requests then reach."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from vfio_ims.errors import BusFault, DeviceBusy, UsageError
from vfio_ims.native.memory import SharedMemory
from vfio_ims.platform import IoAddressSpace
from vfio_ims.ports.values import IovaRange

PAGE = 4096


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    with SharedMemory(16 * PAGE) as shared:
        yield shared


def test_dma_map_unmap(memory: SharedMemory) -> None:
    space = IoAddressSpace()
    space.map(0x10000, memory.address, 4 * PAGE)
    space.write(0x10000 + PAGE - 2, b"over a page")
    assert bytes(memory.view[PAGE - 2 : PAGE + 9]) == b"over a page"
    assert space.read(0x10000 + PAGE - 2, 11) == b"over a page"
    assert sum(mapping.size for mapping in space.unmap(0x10000, 4 * PAGE)) == 4 * PAGE
    with pytest.raises(BusFault, match="no mapping"):
        space.read(0x10000, 1)


def test_a_request_over_neighbouring_mappings_arrives_whole(memory: SharedMemory) -> None:
    space = IoAddressSpace()
    space.map(0x10000, memory.address + 8 * PAGE, PAGE)
    space.map(0x11000, memory.address, PAGE)
    space.write(0x11000 - 3, b"abcdef")
    assert bytes(memory.view[9 * PAGE - 3 : 9 * PAGE]) == b"abc"
    assert bytes(memory.view[:3]) == b"def"
    assert space.read(0x11000 - 3, 6) == b"abcdef"
    assert [len(piece) for piece in space.views(0x11000 - 3, 6, write=True)] == [3, 3]


def test_a_write_that_runs_out_of_its_mapping_writes_nothing(memory: SharedMemory) -> None:
    space = IoAddressSpace()
    space.map(0x10000, memory.address, PAGE)
    with pytest.raises(BusFault):
        space.write(0x11000 - 4, b"12345678")
    assert bytes(memory.view[:PAGE]) == bytes(PAGE)


def test_rights_are_checked(memory: SharedMemory) -> None:
    space = IoAddressSpace()
    space.map(0x10000, memory.address, PAGE, write=False)
    space.map(0x11000, memory.address, PAGE, read=False)
    assert space.read(0x10000, 4) == bytes(4)
    with pytest.raises(BusFault, match="does not allow writing"):
        space.write(0x10000, b"1")
    with pytest.raises(BusFault, match="does not allow reading"):
        space.read(0x11000, 1)
    (view,) = space.views(0x10000, 4, write=False)
    assert view.readonly


@pytest.mark.parametrize(
    ("iova", "offset", "size"), [(0x100, 0, PAGE), (0, 0x10, PAGE), (0, 0, 100), (0, 0, 0), (-PAGE, 0, PAGE)]
)
def test_bar_misaligned(memory: SharedMemory, iova: int, offset: int, size: int) -> None:
    with pytest.raises(UsageError) as caught:
        IoAddressSpace().map(iova, memory.address + offset, size)
    assert caught.value.errno == errno.EINVAL


def test_overflow(memory: SharedMemory) -> None:
    space = IoAddressSpace(bits=64)
    last = (1 << 64) - PAGE
    space.map(last, memory.address, PAGE)
    for call in (lambda: space.map(last, memory.address, 2 * PAGE), lambda: space.unmap(last, 2 * PAGE)):
        with pytest.raises(UsageError) as caught:
            call()
        assert caught.value.errno == errno.EOVERFLOW
    assert len(space.unmap(last, PAGE)) == 1


def test_no_rights_at_all(memory: SharedMemory) -> None:
    with pytest.raises(UsageError, match="reading, writing or both"):
        IoAddressSpace().map(0, memory.address, PAGE, read=False, write=False)


def test_refuse_remap_of_mapped_range(memory: SharedMemory) -> None:
    space = IoAddressSpace()
    space.map(0x10000, memory.address, 2 * PAGE)
    for iova in (0xF000, 0x10000, 0x11000):
        with pytest.raises(DeviceBusy) as caught:
            space.map(iova, memory.address, 2 * PAGE)
        assert caught.value.errno == errno.EEXIST
        assert "0x10000" in str(caught.value)
    space.map(0xE000, memory.address, 2 * PAGE)
    space.map(0x12000, memory.address, 2 * PAGE)


def test_unmap_range_and_unmap_all(memory: SharedMemory) -> None:
    space = IoAddressSpace()
    for page in range(8):
        space.map(0x10000 + 2 * page * PAGE, memory.address, PAGE)
    assert len(space.unmap(0x10000, 4 * PAGE)) == 2
    assert len(space.unmap(0, 1 << 40)) == 6
    assert space.unmap(0, 1 << 40) == []


@pytest.mark.parametrize(("iova", "size"), [(0x10000, PAGE), (0x11000, PAGE), (0x12000, PAGE), (0xF000, 2 * PAGE)])
def test_a_range_that_cuts_a_mapping_is_refused(memory: SharedMemory, iova: int, size: int) -> None:
    space = IoAddressSpace()
    space.map(0x10000, memory.address, 3 * PAGE)
    with pytest.raises(UsageError, match="cuts the mapping") as caught:
        space.unmap(iova, size)
    assert caught.value.errno == errno.EINVAL
    assert space.read(0x10000, 1) == b"\0"


@pytest.mark.parametrize("iova", [0xFEE00000, 0xFEDFF000, 0x8000000, (1 << 39) - PAGE, 1 << 39])
def test_reserved_and_too_high_addresses_are_refused(memory: SharedMemory, iova: int) -> None:
    space = IoAddressSpace(bits=39, reserved=[IovaRange(0x8000000, 0x80FFFFF)])
    with pytest.raises(UsageError, match="outside of what the IOMMU allows"):
        space.map(iova, memory.address, 2 * PAGE)


def test_ranges_leave_the_holes_out() -> None:
    space = IoAddressSpace(bits=39, reserved=[IovaRange(0x8000000, 0x80FFFFF)])
    assert space.ranges == (
        IovaRange(0, 0x7FFFFFF),
        IovaRange(0x8100000, 0xFEDFFFFF),
        IovaRange(0xFEF00000, (1 << 39) - 1),
    )
    assert IoAddressSpace(bits=32).ranges == (IovaRange(0, 0xFEDFFFFF), IovaRange(0xFEF00000, 0xFFFFFFFF))


def test_the_limit_of_mappings(memory: SharedMemory) -> None:
    space = IoAddressSpace(max_mappings=2)
    space.map(0, memory.address, PAGE)
    space.map(PAGE, memory.address, PAGE)
    with pytest.raises(DeviceBusy) as caught:
        space.map(2 * PAGE, memory.address, PAGE)
    assert caught.value.errno == errno.ENOSPC


def test_64_kib_pages(memory: SharedMemory) -> None:
    space = IoAddressSpace(page_size=1 << 16)
    with pytest.raises(UsageError, match="0x10000"):
        space.map(0x1000, memory.address, 1 << 16)


class AgainstAPageTable(RuleBasedStateMachine):
    """Small pages of a small space, against a dictionary page by page."""

    PAGES = 12

    def __init__(self) -> None:
        super().__init__()
        self.memory = SharedMemory(self.PAGES * PAGE)
        for page in range(self.PAGES):
            self.memory.view[page * PAGE] = page
        self.space = IoAddressSpace()
        self.owner: dict[int, tuple[int, int]] = {}  # IOVA page: (start of its mapping, page of memory)
        self.sizes: dict[int, int] = {}

    pages = st.integers(0, PAGES - 1)
    counts = st.integers(1, 5)

    @rule(iova=pages, source=pages, count=counts)
    def map(self, iova: int, source: int, count: int) -> None:
        count = min(count, self.PAGES - source)
        taken = any(page in self.owner for page in range(iova, iova + count))
        try:
            self.space.map(iova * PAGE, self.memory.address + source * PAGE, count * PAGE)
        except DeviceBusy:
            assert taken
            return
        assert not taken
        self.sizes[iova] = count
        self.owner.update((iova + step, (iova, source + step)) for step in range(count))

    @rule(iova=pages, count=counts)
    def unmap(self, iova: int, count: int) -> None:
        span = range(iova, iova + count)
        starts = {self.owner[page][0] for page in span if page in self.owner}
        whole = all(start in span and start + self.sizes[start] - 1 in span for start in starts)
        try:
            gone = self.space.unmap(iova * PAGE, count * PAGE)
        except UsageError:
            assert not whole
            return
        assert whole
        assert [mapping.iova // PAGE for mapping in gone] == sorted(starts)
        for start in starts:
            for page in range(start, start + self.sizes.pop(start)):
                del self.owner[page]

    @invariant()
    def every_page_answers_as_the_page_table_says(self) -> None:
        for page in range(self.PAGES + 5):
            try:
                found = self.space.read(page * PAGE, 1)[0]
            except BusFault:
                assert page not in self.owner
            else:
                assert found == self.owner[page][1]

    def teardown(self) -> None:
        self.space.unmap(0, 1 << 30)
        self.memory.close()


AgainstAPageTable.TestCase.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestAgainstAPageTable = AgainstAPageTable.TestCase
