# SPDX-License-Identifier: Apache-2.0
"""Shared memory and compiled access to it."""

from __future__ import annotations

import array
import mmap
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vfio_ims.errors import ClosedError, SetupError, UsageError
from vfio_ims.native.access import (
    change,
    clear_each,
    copy,
    fill,
    load,
    load_each,
    poll_any,
    poll_memory,
    scatter,
    store,
)
from vfio_ims.native.memory import GIB, MIB, SharedMemory, put, view_of

PAGE = mmap.PAGESIZE


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    with SharedMemory(2 * PAGE, name="buffer") as made:
        yield made


def test_it_is_zeroed_whole_pages_of_a_file(memory: SharedMemory) -> None:
    assert memory.size == 2 * PAGE
    assert memory.address % PAGE == 0
    memory.view[5:8] = b"abc"
    assert os.pread(memory.fd, 2 * PAGE, 0) == b"\0\0\0\0\0abc".ljust(2 * PAGE, b"\0")
    os.pwrite(memory.fd, b"Z", PAGE)
    assert memory.view[PAGE] == ord("Z")


@pytest.mark.parametrize(("size", "given"), [(1, PAGE), (PAGE, PAGE), (PAGE + 1, 2 * PAGE), (3 * MIB, 3 * MIB)])
def test_sizes_are_rounded_up(size: int, given: int) -> None:
    with SharedMemory(size) as memory:
        assert memory.size == len(memory.view) == given
        assert memory.address % (2 * MIB if size >= 2 * MIB else PAGE) == 0


@pytest.mark.parametrize(("size", "hugepages"), [(0, None), (-5, None), (PAGE, 4096), (PAGE, 3)])
def test_nonsense_is_refused(size: int, hugepages: int | None) -> None:
    with pytest.raises(UsageError, match="must be"):
        SharedMemory(size, hugepages=hugepages)


@pytest.mark.parametrize("hugepages", [2 * MIB, GIB])
def test_hugepages_are_had_or_explained(hugepages: int) -> None:
    free = Path(f"/sys/kernel/mm/hugepages/hugepages-{hugepages // 1024}kB/free_hugepages")
    if free.exists() and int(free.read_text()):
        with SharedMemory(1, hugepages=hugepages) as memory:
            assert memory.size == hugepages
            assert memory.address % hugepages == 0
        return
    with pytest.raises(SetupError, match=f"{hugepages // MIB} MiB") as caught:
        SharedMemory(1, hugepages=hugepages)
    assert "nr_hugepages" in caught.value.hint or "none" in caught.value.hint


def test_the_file_cannot_be_cut_under_us(memory: SharedMemory) -> None:
    with pytest.raises(PermissionError):
        os.ftruncate(memory.fd, 0)
    with pytest.raises(PermissionError):
        os.ftruncate(memory.fd, 8 * PAGE)


def test_it_does_not_close_under_a_view(memory: SharedMemory) -> None:
    view = memory.view
    piece = view[8:16]
    view.release()
    with pytest.raises(UsageError, match="memoryviews of it are still in use"):
        memory.close()
    assert not memory.closed
    piece[0] = 1
    piece.release()
    memory.close()
    memory.close()
    for used in (lambda: memory.view, lambda: memory.fd):
        with pytest.raises(ClosedError):
            used()


def test_nothing_is_left_behind(held: Callable[[], tuple[int, int]]) -> None:
    def cycle() -> None:
        with SharedMemory(3 * MIB), SharedMemory(PAGE):
            pass

    def mappings() -> int:
        return Path("/proc/self/maps").read_text().count("memfd:vfio-ims")

    cycle()
    before, mapped = held(), mappings()
    for _ in range(50):
        cycle()
    assert held()[0] <= before[0]
    assert held()[1] <= before[1] + 2
    assert mappings() == mapped  # not 0: other tests keep memory that a lost device may still reach


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_single_loads_and_stores(memory: SharedMemory, width: int) -> None:
    value = 0x8182_8384_8586_8788 >> (64 - 8 * width)
    store(memory.address + 8, width, value)
    assert bytes(memory.view[8:16]) == value.to_bytes(8, "little")
    assert load(memory.address + 8, width) == value
    with pytest.raises(UsageError, match="value"):
        store(memory.address, width, 1 << 8 * width)
    if width > 1:
        with pytest.raises(UsageError, match="multiple"):
            load(memory.address + 1, width)
    with pytest.raises(UsageError, match="width"):
        load(memory.address, 3)


def test_loads_and_clears_of_many_places(memory: SharedMemory) -> None:
    places = [memory.address + at for at in (24, 8, 64)]
    for place, value in zip(places, (7, 0, 0x1_0203), strict=True):
        store(place, 4, value)
        store(place + 4, 4, 9)
    assert load_each(places, 4) == [7, 0, 0x1_0203]
    assert load_each(places, 1) == [7, 0, 3]
    clear_each(places[:2], 4)
    assert load_each(places, 8) == [9 << 32, 9 << 32, 9 << 32 | 0x1_0203]
    assert load_each([], 4) == []
    for each in (load_each, clear_each):
        with pytest.raises(UsageError, match="multiple of 4"):
            each([memory.address + 2], 4)


def test_copies_and_fills(memory: SharedMemory) -> None:
    fill(memory.address, 0xAB, 100)
    copy(memory.address + PAGE, memory.address + 50, 100)
    assert bytes(memory.view[PAGE : PAGE + 101]) == b"\xab" * 50 + bytes(51)
    copy(memory.address + 1, memory.address, 100)
    assert bytes(memory.view[:102]) == b"\xab" * 101 + b"\0", "overlapping ranges too"


def test_a_view_of_an_address(memory: SharedMemory) -> None:
    view = view_of(memory.address + 16, 8)
    view[:] = b"12345678"
    assert bytes(memory.view[16:24]) == b"12345678"
    assert len(view) == 8
    assert view.format in ("B", "c")


def test_waiting_for_a_completion_record(memory: SharedMemory) -> None:
    at = memory.address + 32
    assert poll_memory(at, 1, 0xFF, 0, 0.01, differs=True) == 0
    timer = threading.Timer(0.02, store, (at, 1, 0x81))
    timer.start()
    assert poll_memory(at, 1, 0x7F, 0, 10, differs=True) == 0x81
    assert poll_memory(at, 4, 0x80, 0x80, 10) == 0x81
    timer.join()


@pytest.mark.parametrize("kind", [list, lambda places: array.array("Q", places)])
def test_waiting_for_any_of_many(memory: SharedMemory, kind: Callable[[list[int]], list[int]]) -> None:
    places = kind([memory.address + 64 * i for i in range(50)])
    assert poll_any(places, 1, 0xFF, 0, 0.01, differs=True) == []
    for i in (3, 40):
        store(memory.address + 64 * i, 1, 1)
    assert poll_any(places, 1, 0xFF, 0, 10, differs=True) == [3, 40]
    assert poll_any([], 1, 0, 1, 0) == []


def test_bits_changed_by_several_at_once_are_all_changed(memory: SharedMemory) -> None:
    assert change(memory.address, set=0x8000_0001) == 0
    assert change(memory.address, clear=1, set=2) == 0x8000_0001
    assert load(memory.address, 4) == 0x8000_0002
    undone = []

    def toggle(bit: int) -> None:
        for _ in range(5000):
            change(memory.address, set=bit)
            undone.append(not change(memory.address, clear=bit) & bit)

    threads = [threading.Thread(target=toggle, args=(1 << number,)) for number in (4, 5, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not any(undone)
    assert load(memory.address, 4) == 0x8000_0002
    with pytest.raises(UsageError):
        change(memory.address + 2, set=1)


@pytest.mark.parametrize("at", [0, 3, 8])
def test_a_devices_write_lands_whole(at: int) -> None:
    with SharedMemory(MIB) as memory, memory.view as view:
        for size in range(101):
            data = bytes(range(1, size + 1))
            view[:200] = bytes(200)
            put(view[at : at + size], data)
            assert view[:200] == (bytes(at) + data).ljust(200, b"\0")


@pytest.mark.parametrize(("width", "code"), [(2, "H"), (4, "I"), (8, "Q")])
def test_a_column_is_filled_at_every_step(width: int, code: str) -> None:
    rows = bytearray(16 * 3)
    assert not scatter(rows, 8, 16, array.array(code, [1, 2, 3]), width)
    view = memoryview(rows).cast(code)
    assert list(view[8 // width :: 16 // width]) == [1, 2, 3]
    assert sum(view) == 6
    assert scatter(rows, 0, 16, array.array(code, [5, 0]), width)  # one of them is 0
    with pytest.raises(UsageError, match="do not fit"):
        scatter(rows, 16 - width + 1, 16, array.array(code, [1, 2, 3]), width)
