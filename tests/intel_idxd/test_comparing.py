# SPDX-License-Identifier: Apache-2.0
"""Comparing, deltas, dualcast, flushing: against plain Python."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.intel_idxd import oracles
from tests.intel_idxd.conftest import everywhere
from tests.intel_idxd.memory import PAGE, Arena, arena, hole
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.operation_error import OperationError
from vfio_ims.drivers.intel_idxd.hardware.descriptors import Flag
from vfio_ims.drivers.intel_idxd.hardware.status import Status

SIZE = 8 * PAGE


shared = everywhere(Dsa)


@pytest.fixture(scope="module")
def memory(shared: Dsa) -> Arena:
    return arena(shared, SIZE)


def changed(data: bytes, seed: int, count: int) -> bytes:
    out = bytearray(data)
    random = Random(seed)
    for _ in range(count):
        out[random.randrange(len(out))] ^= random.randrange(1, 256)
    return bytes(out)


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 3 * PAGE),
    st.integers(0, PAGE),
    st.integers(0, 3),
    st.integers(0, 999),
    st.sampled_from((None, 0, 1)),
)
def test_compare(shared: Dsa, memory: Arena, size: int, at: int, count: int, seed: int, expect: int | None) -> None:
    data = bytes(memory.fresh(seed)[at : at + size])
    other = changed(data, seed, count)
    memory.put(4 * PAGE + 3, other)
    difference = oracles.first_difference(data, other)
    with shared.wq(1) as wq:
        found = wq.compare(memory.at(at), memory.at(4 * PAGE + 3), size, expect=expect)
    assert found.result == (difference is not None)
    assert found.completed == (difference or 0)
    assert found.status == (Status.SUCCESS if expect in (None, found.result) else Status.FALSE_PREDICATE)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3 * PAGE), st.integers(0, 64), st.integers(-1, 3 * PAGE), st.binary(min_size=8, max_size=8))
def test_compare_pattern(shared: Dsa, memory: Arena, size: int, at: int, wrong: int, pattern: bytes) -> None:
    data = bytearray((pattern * (size // 8 + 1))[:size])
    if 0 <= wrong < size:
        data[wrong] ^= 0x10
    memory.put(at, bytes(data))
    with shared.wq(0) as wq:
        found = wq.compare_pattern(memory.at(at), pattern, size)
    assert (found.result, found.completed) == ((1, wrong) if 0 <= wrong < size else (0, 0))


def test_a_false_predicate_stops_no_fence_but_is_reported(shared: Dsa, memory: Arena) -> None:
    memory.fresh(0)
    with shared.wq(0) as wq, wq.batch() as batch:
        batch.compare(memory.at(0), memory.at(PAGE), 64, expect=0)
        batch.fill(memory.at(0), b"\1", 8, flags=Flag.FENCE)
    assert [one.status for one in batch.completions] == [Status.FALSE_PREDICATE, Status.SUCCESS]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 256),
    st.integers(0, 20),
    st.integers(8, 40),
    st.integers(0, 999),
    st.sampled_from((None, 1, 2, 4, 6)),
)
def test_deltas_there_and_back(
    shared: Dsa, memory: Arena, words: int, count: int, entries: int, seed: int, expect: int | None
) -> None:
    size, most = 8 * words, 10 * entries
    one = bytes(memory.fresh(seed)[:size])
    other = changed(one, seed, count)
    memory.put(2 * PAGE, other)
    expected, full = oracles.delta(one, other, most)
    outcome = 2 if full else 1 if expected else 0
    with shared.wq(0) as wq:
        found = wq.create_delta(memory.at(0), memory.at(2 * PAGE), size, memory.at(4 * PAGE), most, expect=expect)
        assert (found.result, found.delta_size) == (outcome, len(expected))
        assert memory.take(4 * PAGE, len(expected)) == expected
        satisfied = expect is None or expect >> outcome & 1
        assert found.status == (Status.SUCCESS if satisfied else Status.FALSE_PREDICATE)
        if outcome == 1:
            wq.apply_delta(memory.at(0), memory.at(4 * PAGE), len(expected), size)
            assert memory.take(0, size) == other


def test_bad_deltas(shared: Dsa, memory: Arena) -> None:
    def create(first: int = 0, second: int = PAGE, size: int = 64, record: int = 2 * PAGE, most: int = 80) -> int:
        places = memory.at(first), memory.at(second), size, memory.at(record), most
        return wq.submit.create_delta(*places).wait(check=False).status

    def apply(record: bytes, size: int = 64, to: int = 0, length: int | None = None) -> int:
        memory.put(PAGE, record)
        length = len(record) if length is None else length
        return wq.submit.apply_delta(memory.at(to), memory.at(PAGE), length, size).wait(check=False).status

    entry = [number.to_bytes(2, "little") + bytes(8) for number in range(16)]
    with shared.wq(0) as wq:
        assert create() == Status.SUCCESS
        assert create(first=4) == create(second=PAGE + 1) == create(record=2 * PAGE + 2) == Status.ADDRESS_ALIGN
        assert create(size=60) == create(size=0x8_0008) == Status.SIZE
        assert create(most=79) == Status.DELTA_SIZE
        assert create(record=PAGE + 32) == Status.OVERLAP
        assert apply(entry[0] + entry[7]) == Status.SUCCESS
        assert apply(entry[3] + entry[3]) == apply(entry[3] + entry[2]) == Status.DELTA_ORDER
        assert apply(entry[0] + entry[8]) == Status.DELTA_OFFSET
        assert apply(entry[0], length=9) == apply(b"", length=0) == Status.DELTA_SIZE
        assert apply(entry[0], to=4) == Status.ADDRESS_ALIGN
        assert apply(entry[0], size=12) == Status.SIZE
        assert apply(entry[0], to=PAGE - 8) == Status.OVERLAP
        assert wq.nop().ok


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 2 * PAGE), st.integers(0, PAGE - 1), st.integers(0, 999))
def test_dualcast(shared: Dsa, memory: Arena, size: int, at: int, seed: int) -> None:
    expected = memory.fresh(seed)
    size = min(size, 2 * PAGE - at)
    for to in (2 * PAGE + at, 4 * PAGE + at):
        expected[to : to + size] = expected[6 * PAGE : 6 * PAGE + size]
    with shared.wq(0) as wq:
        wq.dualcast(memory.at(2 * PAGE + at), memory.at(4 * PAGE + at), memory.at(6 * PAGE), size)
    assert memory.all == expected


def test_bad_dualcasts(shared: Dsa, memory: Arena) -> None:
    with shared.wq(0) as wq:
        for first, second, source, status in (
            (0, PAGE + 8, 4 * PAGE, Status.DUALCAST_ALIGN),
            (0, PAGE, 4 * PAGE, Status.OVERLAP),
            (0, 2 * PAGE, PAGE, Status.OVERLAP),
            (0, 2 * PAGE, 3 * PAGE, Status.OVERLAP),
        ):
            places = memory.at(first), memory.at(second), memory.at(source)
            assert wq.submit.dualcast(*places, 2 * PAGE).wait(check=False).status == status


def test_cache_flush(shared: Dsa, memory: Arena) -> None:
    with shared.wq(0) as wq:
        assert wq.cache_flush(memory.at(0), SIZE).ok
        assert wq.cache_flush(memory.at(0), SIZE, flags=Flag.CACHE_CONTROL).ok


def test_operations_of_later_versions_are_unknown_to_the_first(shared: Dsa, memory: Arena) -> None:
    with shared.wq(0) as wq:
        assert wq.submit.translation_fetch(memory.at(0), PAGE).wait(check=False).status == Status.OPCODE
        assert wq.submit.dix_generate(memory.at(0), memory.at(PAGE), 512, 512).wait(check=False).status == Status.OPCODE


def test_faults_tell_how_far_it_went_and_what_was_found_before(dsa: Dsa) -> None:
    edge, memory = hole(dsa), arena(dsa)
    memory.put(0, bytes(memory.buffer.size))
    start = edge - PAGE - 100
    with dsa.wq(0) as wq:
        for submit in (
            lambda: wq.compare(memory.at(0), start, 3 * PAGE),
            lambda: wq.compare(start, memory.at(0), 3 * PAGE),
            lambda: wq.compare_pattern(start, 0, 3 * PAGE),
            lambda: wq.cache_flush(start, 3 * PAGE),
            lambda: wq.crc(start, 3 * PAGE),
            lambda: wq.copy_crc(memory.at(0), start, 3 * PAGE),
            lambda: wq.copy_crc(start, memory.at(0), 3 * PAGE),
        ):
            with pytest.raises(OperationError) as caught:
                submit()
            found = caught.value.completion
            assert (found.status, found.fault, found.completed) == (Status.PAGE_FAULT, edge, edge - start)
        memory.put(PAGE, b"\1")  # a difference before the fault is found first
        assert wq.compare(memory.at(0), start, 3 * PAGE).result == 1
        for first, second in ((memory.at(0), edge - PAGE), (edge - PAGE, memory.at(0))):
            with pytest.raises(OperationError) as caught:
                wq.dualcast(first, second, memory.at(2 * PAGE), 2 * PAGE)
            assert (caught.value.completion.completed, caught.value.completion.fault) == (PAGE, edge)
        with pytest.raises(OperationError, match=f"at {edge:#x} after 4096 bytes"):
            wq.create_delta(memory.at(0), edge - PAGE, 2 * PAGE, memory.at(2 * PAGE), 800)
        memory.put(PAGE, b"\1")
        with pytest.raises(OperationError, match="on a write"):
            wq.create_delta(memory.at(0), memory.at(PAGE), PAGE, 0x7000_0000, 800)
        with pytest.raises(OperationError, match="page fault"):
            memory.put(0, (8).to_bytes(2, "little"))
            wq.apply_delta(edge - 64, memory.at(0), 10, 128)
        assert wq.nop().ok
