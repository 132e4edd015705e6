# SPDX-License-Identifier: Apache-2.0
"""IAA: the filters against their definitions, in each of the formats that they read."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.intel_idxd.conftest import everywhere
from tests.intel_idxd.memory import PAGE, Arena, arena
from vfio_ims.drivers.intel_idxd.driver import Iaa
from vfio_ims.drivers.intel_idxd.driver.iaa_operations import INFLATE
from vfio_ims.drivers.intel_idxd.driver.queue_session import IaaQueue
from vfio_ims.drivers.intel_idxd.hardware.aecs import FILTER_SIZE, FilterState, filter_state
from vfio_ims.drivers.intel_idxd.hardware.iaa_flags import DecompressFlag, FilterFlags
from vfio_ims.drivers.intel_idxd.hardware.status import IaaError, IaaStatus, Status

SIZE = 64 * PAGE
IN, OUT, STATE = 0, 32 * PAGE, 60 * PAGE
ROOM = STATE - OUT

shared = everywhere(Iaa)


@pytest.fixture(scope="module")
def memory(shared: Iaa) -> Arena:
    return arena(shared, SIZE)


@pytest.fixture
def wq(shared: Iaa) -> Iterator[IaaQueue]:
    with shared.wq(0) as queue:
        yield queue


def packed(values: list[int], width: int) -> bytes:
    whole = sum(one << n * width for n, one in enumerate(values))
    return whole.to_bytes(-(-len(values) * width // 8), "little")


columns = st.integers(1, 32).flatmap(
    lambda width: st.tuples(st.just(width), st.lists(st.integers(0, (1 << width) - 1), min_size=1, max_size=100))
)


@settings(max_examples=40, deadline=None)
@given(columns, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.booleans(), st.booleans())
def test_scan_and_extract(
    shared: Iaa, memory: Arena, column: tuple[int, list[int]], one: int, other: int, invert: bool, squeezed: bool
) -> None:
    width, values = column
    mask = (1 << width) - 1
    low, high = sorted((one & mask, other & mask))
    data, how = packed(values, width), 0
    if squeezed:
        data, how = zlib.compress(data, wbits=-12), DecompressFlag.ENABLE
    memory.put(0, data)
    memory.put(STATE, filter_state(low, high))
    hits = [int(low <= value <= high) ^ invert for value in values]
    form = FilterFlags(width=width, invert=invert)
    where = memory.at(OUT), ROOM, memory.at(0), len(data), len(values)
    with shared.wq(0) as wq:
        found = wq.scan(*where, form, memory.at(STATE), how=how).outcome
        assert memory.take(OUT, found.size) == packed(hits, 1)
        assert found.total == sum(hits)
        assert found.bits == len(values) % 8
        if any(hits):
            assert (found.low, found.high) == (hits.index(1), len(hits) - 1 - hits[::-1].index(1))
        indices = FilterFlags(width=width, invert=invert, output=2)
        found = wq.scan(*where, indices, memory.at(STATE), how=how).outcome
        assert memory.take(OUT, found.size) == packed([n for n, hit in enumerate(hits) if hit], 16)
        first, last = sorted((one % len(values), other % len(values)))
        memory.put(STATE, filter_state(first, last))
        found = wq.extract(*where, FilterFlags(width=width), memory.at(STATE), how=how).outcome
        chosen = values[first : last + 1]
        assert memory.take(OUT, found.size) == packed(chosen, width)
        assert (found.low, found.high, found.total) == (min(chosen), max(chosen), sum(chosen) & 0xFFFF_FFFF)
        found = wq.extract(*where, FilterFlags(width=width, output=3), memory.at(STATE), how=how).outcome
        assert memory.take(OUT, found.size) == packed(chosen, 32)


@settings(max_examples=40, deadline=None)
@given(columns, st.integers(0, 2**100 - 1))
def test_select_and_expand_are_each_others_inverse(
    shared: Iaa, memory: Arena, column: tuple[int, list[int]], seed: int
) -> None:
    width, values = column
    bits = [seed >> n & 1 for n in range(len(values))]
    mask, data = packed(bits, 1), packed(values, width)
    memory.put(0, data)
    memory.put(STATE, mask)
    form = FilterFlags(width=width)
    chosen = [value for value, bit in zip(values, bits, strict=True) if bit]
    with shared.wq(0) as wq:
        found = wq.select(
            memory.at(OUT), ROOM, memory.at(0), len(data), len(values), form, memory.at(STATE), len(mask)
        ).outcome
        assert memory.take(OUT, found.size) == packed(chosen, width)
        if chosen:
            found = wq.expand(
                memory.at(0), ROOM, memory.at(OUT), found.size, len(values), form, memory.at(STATE), len(mask)
            ).outcome
            back = [value * bit for value, bit in zip(values, bits, strict=True)]
            assert memory.take(0, found.size) == packed(back, width)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 10), st.lists(st.integers(0, 1023), min_size=1, max_size=80), st.integers(0, 2**64 - 1))
def test_sets(shared: Iaa, memory: Arena, width: int, raw: list[int], seed: int) -> None:
    values = [one & (1 << width) - 1 for one in raw]
    members = Random(seed).getrandbits(1 << width)
    data, table = packed(values, width), members.to_bytes(-(-(1 << width) // 8), "little")
    memory.put(0, data)
    memory.put(STATE, table)
    form, where = FilterFlags(width=width), (memory.at(OUT), ROOM, memory.at(0), len(data), len(values))
    with shared.wq(0) as wq:
        found = wq.set_membership(*where, form, memory.at(STATE), len(table)).outcome
        assert memory.take(OUT, found.size) == packed([members >> value & 1 for value in values], 1)
        found = wq.find_unique(*where, form).outcome
        assert memory.take(OUT, found.size) == packed([int(n in values) for n in range(1 << width)], 1)
        if width > 2:
            dropping = FilterFlags(width=width, drop_low=1, drop_high=1)
            found = wq.find_unique(*where, dropping).outcome
            left = {value >> 1 & (1 << width - 2) - 1 for value in values}
            assert memory.take(OUT, found.size) == packed([int(n in left) for n in range(1 << width - 2)], 1)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from((8, 16, 32)),
    st.lists(st.integers(0, 20), min_size=1, max_size=20),
    st.integers(1, 9),
    st.integers(0, 9),
)
def test_rle_burst(shared: Iaa, memory: Arena, width: int, counts: list[int], width2: int, seed: int) -> None:
    random = Random(seed)
    values = [random.getrandbits(width2) for _ in counts]
    lengths = counts
    if width == 32:  # where each run ends, from 0 on
        lengths = [0]
        for count in counts:
            lengths.append(lengths[-1] + count)
    data, table = packed(lengths, width), packed(values, width2)
    memory.put(0, data)
    memory.put(STATE, table)
    expected = [value for value, count in zip(values, counts, strict=True) for _ in range(count)]
    with shared.wq(0) as wq:
        found = wq.rle_burst(
            memory.at(OUT), ROOM, memory.at(0), len(data), len(lengths), FilterFlags(width=width, width2=width2),
            memory.at(STATE), len(table),
        ).outcome  # fmt: skip
    assert memory.take(OUT, found.size) == packed(expected, width2)


def test_bad_filters(wq: IaaQueue, memory: Arena) -> None:
    memory.put(STATE, filter_state(1, 5))
    where = memory.at(OUT), 1000, memory.at(0), 100

    def scan(inputs: int, form: FilterFlags, **how: int) -> int:
        return wq.submit.scan(*where, inputs, form, memory.at(STATE), **how).wait(check=False).status

    assert FILTER_SIZE == 32
    assert scan(100, FilterFlags()) == Status.SUCCESS
    assert scan(0, FilterFlags()) == IaaStatus.INPUTS
    assert scan(101, FilterFlags()) == IaaStatus.ANALYTICS
    assert scan(100, FilterFlags(parse=3)) == IaaStatus.FILTER_FLAGS
    assert scan(100, FilterFlags(drop_low=4, drop_high=4)) == IaaStatus.SOURCE_WIDTH
    memory.put(0, b"\xff" * 100)
    assert scan(100, FilterFlags(), how=DecompressFlag.ENABLE) == IaaStatus.ANALYTICS
    extract = wq.submit.extract(*where, 100, FilterFlags(invert=True), memory.at(STATE)).wait(check=False)
    assert extract.status == IaaStatus.INVERT_OUTPUT
    wide = wq.submit.find_unique(*where, 3, FilterFlags(width=32)).wait(check=False)
    assert wide.status == IaaStatus.SOURCE_WIDTH
    runs = wq.submit.rle_burst(*where, 3, FilterFlags(width=5), memory.at(STATE), 8).wait(check=False)
    assert runs.status == IaaStatus.SOURCE_WIDTH
    short = wq.submit.select(*where, 100, FilterFlags(), memory.at(STATE), 8).wait(check=False)
    assert (short.status, short.result) == (IaaStatus.ANALYTICS, IaaError.SHORT_SOURCE2)
    missing = wq.submit.scan(*where, 100, FilterFlags(), 0x7000_0000).wait(check=False)
    assert missing.status == Status.PAGE_FAULT
    assert wq.nop().ok


# --- filters' other formats -------------------------------------------------------------------------------------------


def packed_high(values: list[int], width: int) -> bytes:
    text = "".join(f"{value:0{width}b}" for value in values)
    text += "0" * (-len(text) % 8)
    return bytes(int(text[at : at + 8], 2) for at in range(0, len(text), 8))


def varint(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes((value & 127 | 128,))
        value >>= 7
    return out + bytes((value,))


def parquet(values: list[int], width: int, seed: int) -> bytes:
    """Runs of equal values and groups of eight packed ones, as Parquet's documentation has them."""
    random, out, at = Random(seed), bytes((width,)), 0
    while at < len(values):
        run = 1
        while at + run < len(values) and values[at + run] == values[at] and run < 300:
            run += 1
        if run > 2 or random.random() < 0.3:
            out += varint(run << 1) + values[at].to_bytes(-(-width // 8), "little")
            at += run
        else:
            groups = random.randrange(1, 3)
            piece = (values[at : at + 8 * groups] + [0] * 16)[: 8 * groups]
            out += varint(groups << 1 | 1) + packed(piece, width)
            at += 8 * groups
    return out


mixed_columns = st.integers(1, 32).flatmap(
    lambda width: st.tuples(
        st.just(width),
        st.lists(
            st.tuples(st.integers(0, (1 << width) - 1), st.integers(1, 12)).map(lambda one: [one[0]] * one[1]),
            min_size=1,
            max_size=20,
        ).map(lambda runs: [one for run in runs for one in run]),
    )
)


@settings(max_examples=50, deadline=None)
@given(mixed_columns, st.sampled_from((0, 1, 2)), st.booleans(), st.booleans(), st.integers(0, 999))
def test_other_orders_and_run_lengths(
    shared: Iaa, memory: Arena, column: tuple[int, list[int]], parse: int, big: bool, big2: bool, seed: int
) -> None:
    width, values = column
    random = Random(seed)
    data = (packed, packed_high, lambda v, w: parquet(v, w, seed))[parse](values, width)
    form = FilterFlags(parse, 1 if parse == 2 else width, big_endian2=big2, big_endian=big)
    give = packed_high if big else packed
    bits = [random.randrange(2) for _ in values]
    mask = (packed_high if big2 else packed)(bits, 1)
    low, high = sorted((random.choice(values), random.choice(values)))
    memory.put(IN, data)
    memory.put(STATE, filter_state(low, high))
    where = memory.at(OUT), ROOM, memory.at(IN), len(data), len(values)
    with shared.wq(0) as wq:
        found = wq.scan(*where, form, memory.at(STATE)).outcome
        assert memory.take(OUT, found.size) == give([int(low <= one <= high) for one in values], 1)
        wide = wq.extract(*where, form._replace(output=3), memory.at(STATE)).outcome
        chosen = values[low : high + 1]
        assert memory.take(OUT, wide.size) == give(chosen, 32)
        memory.put(STATE, mask)
        found = wq.select(*where, form, memory.at(STATE), len(mask)).outcome
        assert memory.take(OUT, found.size) == give([v for v, b in zip(values, bits, strict=True) if b], width)
        found = wq.expand(*where, form, memory.at(STATE), len(mask)).outcome
        taken = iter(values)
        expected = [next(taken) if bit else 0 for bit in bits]
        if any(bits):
            assert memory.take(OUT, found.size) == give(expected, width)


def test_indices_from_somewhere_and_bytes_left_out(wq: IaaQueue, memory: Arena) -> None:
    values = bytes(range(50))
    memory.put(IN, zlib.compress(b"head" + values, wbits=-12))
    memory.put(STATE, FilterState(low=10, high=12, first_index=1000, drop=4).packed())
    where = memory.at(OUT), ROOM, memory.at(IN), 200, 50
    form = FilterFlags(output=2)
    found = wq.scan(*where, form, memory.at(STATE), how=INFLATE).outcome
    assert memory.take(OUT, found.size) == packed([1010, 1011, 1012], 16)
    small = wq.submit.scan(*where, FilterFlags(output=1), memory.at(STATE), how=INFLATE).wait(check=False)
    assert (small.status, small.result) == (IaaStatus.ANALYTICS, IaaError.OUTPUT_WIDTH)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", IaaError.RUN_LENGTHS),
        (b"\x21\x02\x05", IaaError.RUN_WIDTH),
        (b"\x08\x04", IaaError.RUN_LENGTHS),
        (b"\x08\x04\x05", IaaError.RUN_LENGTHS),
        (b"\x08\x03\x05", IaaError.RUN_LENGTHS),
        (b"\x08" + b"\x80" * 6, IaaError.RUN_LENGTHS),
    ],
)
def test_damaged_run_lengths(wq: IaaQueue, memory: Arena, data: bytes, error: IaaError) -> None:
    memory.put(IN, data)
    memory.put(STATE, filter_state())
    where = memory.at(OUT), ROOM, memory.at(IN), len(data), 9
    found = wq.submit.scan(*where, FilterFlags(parse=2, width=1), memory.at(STATE)).wait(check=False)
    expected = Status.SIZE if not data else IaaStatus.ANALYTICS
    assert found.status == expected
    if data:
        assert found.result == error
