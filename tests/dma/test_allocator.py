# SPDX-License-Identifier: Apache-2.0
"""The IOVA allocator against a plain model of which pages are taken."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from vfio_ims.dma import IovaAllocator
from vfio_ims.errors import DeviceBusy, UsageError
from vfio_ims.ports.values import IovaRange

PAGE = 0x1000
# As the kernel reports them on x86: the interrupt window is left out; page 0 is in and must not be used.
# A page of which a byte is missing at either end cannot be used.
RANGES = [IovaRange(0, 0x1F_FFF), IovaRange(0x40_800, 0x60_FFE)]
ALLOWED = {*range(1, 0x20), *range(0x41, 0x60)}


class Allocating(RuleBasedStateMachine):
    taken = Bundle("taken")

    def __init__(self) -> None:
        super().__init__()
        self.allocator = IovaAllocator(RANGES, PAGE)
        self.used: set[int] = set()

    def _take(self, iova: int, size: int) -> tuple[int, set[int]]:
        pages = set(range(iova // PAGE, (iova + size - 1) // PAGE + 1))
        assert iova % PAGE == 0
        assert pages <= ALLOWED
        assert not pages & self.used
        self.used |= pages
        return iova, pages

    @rule(target=taken, size=st.integers(1, 9 * PAGE), align=st.sampled_from([0, PAGE, 4 * PAGE]))
    def allocate(self, size: int, align: int) -> object:
        try:
            iova = self.allocator.allocate(size, align)
        except DeviceBusy:
            need, step = -(-size // PAGE), max(align, PAGE) // PAGE
            free = ALLOWED - self.used
            assert not any(set(range(at, at + need)) <= free for at in range(0, 0x60, step))
            return None
        assert iova % max(align, PAGE) == 0
        return self._take(iova, size)

    @rule(target=taken, page=st.integers(0, 0x62), count=st.integers(1, 4))
    def reserve(self, page: int, count: int) -> object:
        wanted = set(range(page, page + count))
        try:
            self.allocator.reserve(page * PAGE, count * PAGE)
        except DeviceBusy:
            assert wanted & self.used
            return None
        except UsageError:
            assert not wanted <= ALLOWED
            return None
        return self._take(page * PAGE, count * PAGE)

    @rule(one=consumes(taken))
    def release(self, one: tuple[int, set[int]] | None) -> None:
        if one is not None:
            self.allocator.release(one[0])
            self.used -= one[1]

    @invariant()
    def counts(self) -> None:
        assert self.allocator.free == (len(ALLOWED) - len(self.used)) * PAGE


Allocating.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestAllocating = Allocating.TestCase


def test_a_stranger_cannot_be_released() -> None:
    allocator = IovaAllocator(RANGES, PAGE)
    with pytest.raises(UsageError, match="nothing was allocated at 0x5000"):
        allocator.release(0x5000)


def test_the_whole_64_bit_space_can_be_used() -> None:
    allocator = IovaAllocator([IovaRange(0, (1 << 64) - 1)], PAGE)
    allocator.reserve((1 << 64) - PAGE, PAGE)
    assert allocator.allocate(1) == PAGE


def test_every_page_can_be_had_lowest_first_and_given_back_for_one_that_fits_exactly() -> None:
    allocator = IovaAllocator(RANGES, PAGE)
    pages = [page * PAGE for page in sorted(ALLOWED)]
    assert [allocator.allocate(1) for _ in pages] == pages
    assert allocator.free == 0
    with pytest.raises(DeviceBusy, match="no free range has 0x1000 bytes"):
        allocator.allocate(1)
    for iova in (pages[3], pages[4], pages[7]):
        allocator.release(iova)
    assert allocator.allocate(2 * PAGE) == pages[3]
    assert allocator.allocate(PAGE) == pages[7]
