# SPDX-License-Identifier: Apache-2.0
"""DMA windows: found, refused and counted as a plain list would; files mapped once, descriptors closed."""

from __future__ import annotations

import errno
import fcntl
import os
import random
import socket
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vfio_ims.errors import BusFault
from vfio_ims.native.access import MemoryGone
from vfio_ims.vfio_user import windows
from vfio_ims.vfio_user.dma import ClientMemory
from vfio_ims.vfio_user.windows import Window, WindowMap
from vfio_ims.vfio_user.wire import Refused

READ, WRITE = 1, 2

steps = st.lists(
    st.tuples(st.sampled_from(["add", "remove", "cover"]), st.integers(0, 60), st.integers(1, 12)), max_size=60
)


@settings(max_examples=150)
@given(steps, st.integers(1, 4))
def test_a_map_of_windows_behaves_like_a_list(operations, chunk):
    old, windows._CHUNK = windows._CHUNK, chunk
    try:
        table, plain = WindowMap(), {}
        for what, start, size in operations:
            cells = range(start, start + size)
            inside = [w for w in plain.values() if w.start >= start and w.end <= start + size]
            met = [w for w in plain.values() if w.start < start + size and start < w.end]
            assert table.meets(start, size) == bool(met)
            if what == "add" and not met:
                plain[start] = Window(start, size, start * 7, size)
                table.add(plain[start])
            elif what == "remove" and start in plain:
                assert table.remove(start, plain[start].size) == [plain.pop(start)]
            elif what == "cover":
                cut = len(met) > len(inside)
                assert table.remove(start, size) == (None if cut else sorted(inside))
                if not cut:
                    plain = {w.start: w for w in plain.values() if w not in inside}
            assert len(table) == len(plain)
            assert list(table) == sorted(plain.values())
            for cell in cells:
                held = [w for w in plain.values() if w.start <= cell < w.end]
                assert table.find(cell) == (held[0] if held else None)
    finally:
        windows._CHUNK = old


@pytest.fixture
def memory():
    made = ClientMemory()
    yield made
    made.clear()


@pytest.fixture
def file():
    fd = os.memfd_create("guest", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, 1 << 20)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
    yield fd
    os.close(fd)


def refused(call, *arguments):
    with pytest.raises(Refused) as caught:
        call(*arguments)
    return caught.value.errno


def test_a_window_shows_its_part_of_the_file(memory, file):
    os.pwrite(file, b"here", 0x3010)
    memory.map(0x10000, 0x2000, READ | WRITE, 0x3000, file)
    (piece,) = memory.pieces(0x10010, 4, write=True)
    assert bytes(piece.view) == piece.read() == b"here"
    piece.view[:] = b"gone"
    assert os.pread(file, 4, 0x3010) == b"gone"


def test_neighbours_of_one_file_are_one_piece(memory, file):
    for page in range(8):
        memory.map(page << 12, 0x1000, READ, page << 12, file)
    assert [(p.iova, p.size) for p in memory.pieces(0x800, 0x6000, write=False)] == [(0x800, 0x6000)]
    memory.map(8 << 12, 0x1000, READ, 0x40000, file)
    assert [(p.iova, p.size) for p in memory.pieces(0x7800, 0x1000, write=False)] == [(0x7800, 0x800), (0x8000, 0x800)]


@pytest.mark.parametrize("order", ["up", "down", "shuffled"])
def test_a_quarter_of_a_million_windows_need_one_descriptor_and_little_time(memory, file, fds, order):
    count = 262_144 if order == "up" else 40_000
    pages = list(range(count))
    if order == "down":
        pages.reverse()
    elif order == "shuffled":
        random.Random(1).shuffle(pages)
    took, eighth = [], count // 8
    for first in range(0, count, eighth):
        start = time.process_time()
        for page in pages[first : first + eighth]:
            memory.map(0x1_0000_0000 + (page << 12), 0x1000, READ | WRITE, (page & 0xFF) << 12, file)
        took.append(time.process_time() - start)
    assert len(memory) == count
    assert min(took[-3:]) < 8 * max(took[:2]), "a window costs about the same however many there are"
    assert fds.opened() <= 1
    (piece,) = memory.pieces(0x1_0000_0000 + ((count - 1) << 12), 8, write=True)
    piece.view[:] = b"the last"
    assert os.pread(file, 8, ((count - 1) & 0xFF) << 12) == b"the last"
    assert memory.unmap(0x1_0000_0000, count << 12) == count
    assert len(memory) == 0


def test_a_window_can_be_announced_twice_but_not_overlap(memory, file):
    memory.map(0x1000, 0x2000, READ | WRITE, 0, file)
    memory.map(0x1000, 0x2000, READ | WRITE, 0, file)
    assert len(memory) == 1
    assert refused(memory.map, 0x1000, 0x2000, READ | WRITE, 0x1000, file) == errno.EEXIST
    assert refused(memory.map, 0x1000, 0x2000, READ, 0, file) == errno.EEXIST
    assert refused(memory.map, 0x2000, 0x1000, READ, 0, None) == errno.EEXIST
    assert refused(memory.map, 0, 0x10000, READ, 0, None) == errno.EEXIST


def test_windows_that_cannot_be(memory, file):
    assert refused(memory.map, 0, 0, READ, 0, file) == errno.EINVAL
    assert refused(memory.map, (1 << 64) - 4096, 8192, READ, 0, file) == errno.EINVAL
    assert refused(memory.map, 0, 4096, READ, 1 << 63, file) == errno.EINVAL
    assert refused(memory.map, 0, 4096, 0x10, 0, file) == errno.EINVAL
    assert refused(memory.map, 0, 4096, READ | 4, 0, None) == errno.EINVAL
    assert refused(memory.map, 0, 2 << 20, READ, 0, file) == errno.EINVAL, "beyond the file's end"
    assert refused(memory.map, 0x10000, (8 << 40) + 4096, READ, 0, None) == errno.ENOSPC
    assert len(memory) == 0


def test_a_file_that_may_only_be_read_gives_no_window_to_write(memory, file):
    reader = os.open(f"/proc/self/fd/{file}", os.O_RDONLY)
    try:
        assert refused(memory.map, 0, 4096, READ | WRITE, 0, reader) == errno.EACCES
        memory.map(0, 4096, READ, 0, reader)
    finally:
        os.close(reader)
    with pytest.raises(BusFault, match="does not allow"):
        memory.pieces(0, 4, write=True)


def test_a_file_that_can_be_cut_has_no_view_and_no_cut_kills(memory):
    file = os.memfd_create("guest", os.MFD_CLOEXEC)
    os.ftruncate(file, 0x10000)
    memory.map(0, 0x10000, READ | WRITE, 0, file)
    (piece,) = memory.pieces(0x8000, 0x2000, write=True)
    assert piece.view is None
    piece.write(b"a" * 0x2000)
    assert piece.read() == b"a" * 0x2000
    os.ftruncate(file, 0x9000)  # after the look that found it whole
    (beyond,) = memory.pieces(0x9000, 0x2000, write=True)
    for touch in (piece.read, beyond.read, lambda: beyond.write(bytes(0x2000))):
        with pytest.raises(MemoryGone):
            touch()
    for size in (1, 2, 4, 8, 12, 64):
        (small,) = memory.pieces(0x9000, size, write=True)
        with pytest.raises(MemoryGone):
            small.write(bytes(size))
    (piece,) = memory.pieces(0x8000, 0x1000, write=False)
    assert piece.read() == b"a" * 0x1000
    memory.clear()
    with pytest.raises(MemoryGone):  # a holder of a piece of memory that was unmapped
        piece.read()
    os.close(file)


@pytest.mark.parametrize("kind", ["disk", "event", "socket"])
def test_what_is_no_memory_file_is_reached_by_message(memory, tmp_path, kind):
    if kind == "disk":
        file = os.open(Path(__file__), os.O_RDONLY)  # its pages may take their time
    else:
        file = os.eventfd(0) if kind == "event" else socket.socket().detach()
    memory.map(0x1000, 0x1000, READ, 0, file)
    memory.map(0x1000, 0x1000, READ, 0, file)  # the same again
    os.close(file)
    assert [piece.file for piece in memory.pieces(0x1000, 16, write=False)] == [None]


def test_a_file_that_grew_is_mapped_anew(memory, file):
    memory.map(0, 0x1000, READ | WRITE, 0, file)
    os.ftruncate(file, 4 << 20)
    memory.map(0x1000, 0x1000, READ | WRITE, 3 << 20, file)
    (piece,) = memory.pieces(0x1000, 4, write=True)
    piece.view[:] = b"grew"
    assert os.pread(file, 4, 3 << 20) == b"grew"
    memory.unmap(0, 0x1000)
    memory.unmap(0x1000, 0x1000)


def test_unmapping_takes_whole_windows_only(memory, file):
    memory.map(0x1000, 0x2000, READ, 0, file)
    memory.map(0x3000, 0x1000, READ, 0x2000, file)
    for address, size in ((0x1000, 0x1000), (0x2000, 0x1000), (0x2000, 0x2000), (0x9000, 0x1000), (0, 0)):
        assert refused(memory.unmap, address, size) == errno.ENOENT
    assert memory.unmap(0, 1 << 48) == 2


def test_a_sweep_over_nothing_is_done_but_a_miss_is_reported(memory):
    # QEMU 11.1's VT-d, as a function changes domain: 0xfef00000+0x100000 is its smallest step.
    assert memory.unmap(0xFEF00000, 0x100000) == 0
    assert memory.unmap(0xFEF00000, (1 << 64) - 0xFEF00000) == 0
    assert refused(memory.unmap, 0x10000, 0x1000) == errno.ENOENT


def test_requests_that_leave_the_windows_fault(memory, file):
    memory.map(0x1000, 0x1000, WRITE, 0, file)
    for iova, size, write in ((0x1FFC, 8, True), (0xFFC, 8, True), (0x8000, 4, True), (0x1000, 4, False)):
        with pytest.raises(BusFault) as caught:
            memory.pieces(iova, size, write=write)
        assert (caught.value.iova, caught.value.size, caught.value.write) == (iova, size, write)


def test_nothing_is_left_open(fds):
    memory = ClientMemory()
    for page in range(20):
        fd = os.memfd_create("one", os.MFD_CLOEXEC)
        os.ftruncate(fd, 4096)
        memory.map(page << 12, 4096, READ | WRITE, 0, fd)
        os.close(fd)
    memory.unmap(0, 10 << 12)
    memory.clear()
    assert not fds.left()
