# SPDX-License-Identifier: Apache-2.0
"""IAA: streams in pieces, state carried from one job to the next, against zlib in both directions."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.intel_idxd.iaa_streams.pieces import HALF, IN, OUT, PLACES, STATE, cut, squeezed, unpressed
from tests.intel_idxd.memory import Arena
from tests.intel_idxd.test_iaa import inflate, texts
from vfio_ims.drivers.intel_idxd.driver import Iaa
from vfio_ims.drivers.intel_idxd.driver.queue_session import IaaQueue
from vfio_ims.drivers.intel_idxd.hardware.aecs import CompressState
from vfio_ims.drivers.intel_idxd.hardware.iaa_flags import CompressFlag
from vfio_ims.errors import UsageError


def test_a_stream_that_has_ended_takes_nothing_more(shared: Iaa, memory: Arena, states: Arena) -> None:
    memory.put(IN, b"vfio" * 64)
    with shared.wq(0) as wq:
        stream = wq.compress_stream(states.buffer)
        size = stream.feed(memory.at(OUT), HALF, memory.at(IN), 256, last=True).outcome.size
        with pytest.raises(UsageError, match="the stream has ended"):
            stream.feed(memory.at(OUT), HALF, memory.at(IN), 256)
        back = wq.decompress_stream(states.buffer)
        assert back.feed(memory.at(IN), HALF, memory.at(OUT), size, last=True).outcome.size == 256
        with pytest.raises(UsageError, match="the stream has ended"):
            back.feed(memory.at(IN), HALF, memory.at(OUT), size, last=True)


STRATEGIES = st.sampled_from((zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 999), st.integers(0, 9000), PLACES)
def test_compressed_in_pieces_zlib_inflates_it(
    shared: Iaa, memory: Arena, states: Arena, seed: int, size: int, cuts: list[int]
) -> None:
    data = texts(seed, size)
    memory.put(IN, data)
    memory.put(OUT, bytes(HALF))
    out = check = 0
    pieces = cut(size, cuts)
    with shared.wq(seed % 8) as wq:
        stream = wq.compress_stream(states.buffer)
        for number, (start, end) in enumerate(pieces):
            last = number == len(pieces) - 1
            found = stream.feed(memory.at(OUT + out), HALF - out, memory.at(IN + start), end - start, last=last).outcome
            out, check = out + found.size, found.crc
            assert check == zlib.crc32(data[:end])
            assert last or not found.bits  # whole bytes only: the rest is in the state
    assert inflate(memory.take(OUT, out)) == data


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 999),
    st.integers(0, 9000),
    st.integers(0, 9),
    STRATEGIES,
    PLACES,
    PLACES,
    st.lists(st.integers(1, 6000), min_size=1, max_size=3),
)
def test_what_zlib_compressed_is_inflated_in_pieces(
    shared: Iaa,
    memory: Arena,
    states: Arena,
    seed: int,
    size: int,
    level: int,
    strategy: int,
    flushes: list[int],
    cuts: list[int],
    rooms: list[int],
) -> None:
    data = texts(seed, size)
    compressed = squeezed(data, level, strategy, flushes)
    rooms = [max(room, size // 20 + 1) for room in rooms]
    with shared.wq(0) as wq:
        out, last = unpressed(wq.decompress_stream(states.buffer), memory, compressed, cuts, rooms)
    assert out == data
    assert last.outcome.crc == zlib.crc32(data)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 99), st.integers(1, 3000), st.lists(st.integers(1, 40), min_size=1, max_size=4))
def test_bytes_at_a_time(shared: Iaa, memory: Arena, states: Arena, seed: int, size: int, steps: list[int]) -> None:
    """Far smaller pieces than a block's header: it is kept until it is whole."""
    data = texts(seed, size)
    compressed = squeezed(data, 9, zlib.Z_DEFAULT_STRATEGY, [])
    cuts, at = [], 0
    while at < min(len(compressed), 400):
        at += steps[len(cuts) % len(steps)]
        cuts.append(at)
    with shared.wq(0) as wq:
        out, _ = unpressed(wq.decompress_stream(states.buffer), memory, compressed, cuts, [HALF])
    assert out == data


def test_a_stream_of_many_blocks_from_end_to_end(wq: IaaQueue, memory: Arena, states: Arena) -> None:
    """A block for each piece, and all of it back: both engines of ours against each other and zlib."""
    data, out = texts(7, 20000), 0
    for start in range(0, len(data), 5000):
        final = start + 5000 >= len(data)
        memory.put(IN, data[start : start + 5000])
        memory.put(STATE, CompressState.block(final=final).packed())
        how = CompressFlag.FLUSH
        how |= CompressFlag.END_OF_BLOCK if final else CompressFlag.END_OF_BLOCK_AND_STORED
        found = wq.compress(memory.at(OUT + out), HALF - out, memory.at(IN), 5000, memory.at(STATE), how=how)
        out += found.outcome.size
    compressed = memory.take(OUT, out)
    assert inflate(compressed) == data
    back, _ = unpressed(wq.decompress_stream(states.buffer), memory, compressed, [777, 7777, 7778], [4096])
    assert back == data
