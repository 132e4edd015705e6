# SPDX-License-Identifier: Apache-2.0
"""IAA: streams in pieces, state carried from one job to the next, against zlib in both directions; bit orders."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.intel_idxd import oracles
from tests.intel_idxd.conftest import everywhere
from tests.intel_idxd.memory import PAGE, Arena, arena
from tests.intel_idxd.test_iaa import inflate, texts
from vfio_ims.drivers.intel_idxd.driver import Iaa
from vfio_ims.drivers.intel_idxd.driver.iaa_operations import INFLATE
from vfio_ims.drivers.intel_idxd.driver.iaa_streams import DecompressStream
from vfio_ims.drivers.intel_idxd.driver.operation_error import OperationError
from vfio_ims.drivers.intel_idxd.driver.queue_session import IaaQueue
from vfio_ims.drivers.intel_idxd.hardware.aecs import CompressState, FilterState
from vfio_ims.drivers.intel_idxd.hardware.completion import Completion
from vfio_ims.drivers.intel_idxd.hardware.descriptors import Flag
from vfio_ims.drivers.intel_idxd.hardware.iaa_flags import CompressFlag, DecompressFlag
from vfio_ims.drivers.intel_idxd.hardware.inflate_state import BlockState, InflateState
from vfio_ims.drivers.intel_idxd.hardware.status import IaaError, IaaStatus, Status
from vfio_ims.errors import UsageError

IN, OUT, HALF = 0, 24 * PAGE, 24 * PAGE
STATE = 48 * PAGE


shared = everywhere(Iaa)


@pytest.fixture(scope="module")
def memory(shared: Iaa) -> Arena:
    return arena(shared, 56 * PAGE)


@pytest.fixture(scope="module")
def states(shared: Iaa) -> Arena:
    return arena(shared, 4 * PAGE)


@pytest.fixture
def wq(shared: Iaa) -> Iterator[IaaQueue]:
    with shared.wq(0) as queue:
        yield queue


def cut(size: int, cuts: list[int], unit: int = 1) -> list[tuple[int, int]]:
    """Pieces of ``size`` bytes, each a multiple of ``unit``: where it begins and ends."""
    places = sorted({0, size, *(one % (size + 1) // unit * unit for one in cuts)})
    return list(pairwise(places)) or [(0, 0)]


def squeezed(data: bytes, level: int, strategy: int, flushes: list[int]) -> bytes:
    """By zlib, with a history of 4 KiB, in blocks that end here and there."""
    engine = zlib.compressobj(level, zlib.DEFLATED, -12, 8, strategy)
    out = b""
    for start, end in cut(len(data), flushes):
        out += engine.compress(data[start:end]) + engine.flush(zlib.Z_SYNC_FLUSH)
    return out + engine.flush()


def unpressed(
    stream: DecompressStream, memory: Arena, data: bytes, cuts: list[int], rooms: list[int], how: int = INFLATE
) -> tuple[bytes, Completion]:
    """All that the stream gives, in pieces of these sizes, with these rooms for output in turn."""
    out, turn = b"", 0
    memory.put(IN, data)
    for start, end in cut(len(data), cuts, 2 if how & DecompressFlag.BIG_ENDIAN else 1):
        while True:
            room = rooms[turn % len(rooms)]
            turn += 1
            last = end == len(data)
            found = stream.feed(memory.at(OUT), room, memory.at(IN + start), end - start, last=last, how=how)
            out += memory.take(OUT, found.outcome.size)
            start += found.completed
            if not found.more_output:
                break
            assert found.outcome.size == room  # as much as fits
    return out, found


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
PLACES = st.lists(st.integers(0, 1 << 20), max_size=5)


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


def test_whose_end_is_awaited(wq: IaaQueue, memory: Arena) -> None:
    """Linux' iaa_crypto makes blocks that are not final, and asks for the end of any."""
    data = texts(3, 1000)
    memory.put(IN, data)
    memory.put(STATE, CompressState.block(final=False).packed())
    size = wq.compress(memory.at(OUT), HALF, memory.at(IN), 1000, memory.at(STATE)).outcome.size
    memory.put(IN, memory.take(OUT, size) + b"\xff\xff")
    any_end = INFLATE & ~DecompressFlag.FINAL_END
    found = wq.decompress(memory.at(OUT), HALF, memory.at(IN), size + 2, how=any_end)
    assert (found.completed, found.outcome.size, found.outcome.crc) == (size, 1000, zlib.crc32(data))
    with pytest.raises(OperationError, match="the input does not end with the end of a block"):
        wq.decompress(memory.at(OUT), HALF, memory.at(IN), size)
    with pytest.raises(OperationError, match="the input does not end with the end of a block"):
        wq.decompress(memory.at(OUT), HALF, memory.at(IN), size - 2, how=any_end)


def test_output_that_is_not_wanted(wq: IaaQueue, memory: Arena) -> None:
    """Only its checksum: how a compressor verifies."""
    data = texts(4, 3000)
    compressed = squeezed(data, 6, zlib.Z_DEFAULT_STRATEGY, [])
    memory.put(IN, compressed)
    memory.put(OUT, bytes(PAGE))
    found = wq.decompress(
        memory.at(OUT), 1, memory.at(IN), len(compressed), how=INFLATE | DecompressFlag.SUPPRESS_OUTPUT
    )
    assert (found.outcome.size, found.outcome.crc) == (0, zlib.crc32(data))
    assert memory.take(OUT, PAGE) == bytes(PAGE)


def test_another_checksum(wq: IaaQueue, memory: Arena) -> None:
    data = texts(4, 300)
    memory.put(IN, data)
    memory.put(STATE, CompressState().packed())
    found = wq.compress(memory.at(OUT), HALF, memory.at(IN), 300, memory.at(STATE), flags=Flag.IAA_CRC32C)
    assert found.outcome.crc == oracles.crc32c(data)


# --- bit orders -------------------------------------------------------------------------------------------------------


def words_turned(data: bytes) -> bytes:
    """Each 16-bit word with bit 0 where bit 15 was."""
    words = [int.from_bytes(data[at : at + 2], "little") for at in range(0, len(data), 2)]
    return b"".join(oracles.mirror(word, 16).to_bytes(2, "little") for word in words)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.integers(1, 3000), PLACES)
def test_big_endian_streams(shared: Iaa, memory: Arena, states: Arena, seed: int, size: int, cuts: list[int]) -> None:
    data = texts(seed, size)
    memory.put(IN, data)
    out, pieces = 0, cut(size, cuts)
    with shared.wq(0) as wq:
        stream = wq.compress_stream(states.buffer)
        for start, end in pieces:
            found = stream.feed(
                memory.at(OUT + out), HALF - out, memory.at(IN + start), end - start,
                last=end == size, how=CompressFlag.BIG_ENDIAN,
            )  # fmt: skip
            out += found.outcome.size
        assert out % 2 == 0
        compressed = memory.take(OUT, out)
        engine = zlib.decompressobj(-15)
        assert engine.decompress(words_turned(compressed)) == data
        assert engine.eof
        how = INFLATE | DecompressFlag.BIG_ENDIAN
        back, _ = unpressed(wq.decompress_stream(states.buffer), memory, compressed, cuts, [size // 3 + 7], how)
    assert back == data


LENGTHS = (3, 3, 3, 3, 4, 4, 4, 5, 5, 6, 7, 7)  # of the codes for a..l


@settings(max_examples=30, deadline=None)
@given(st.text("abcdefghijkl", max_size=200), st.booleans())
def test_nothing_but_huffman_codes(shared: Iaa, memory: Arena, states: Arena, text: str, big: bool) -> None:
    """No header, no matches, no end: how many bits of the last byte count is given, and given back."""
    data = text.encode()
    lengths = [0] * 97 + list(LENGTHS) + [0] * (256 - 97 - len(LENGTHS))
    code, codes = 0, {}
    for n, length in enumerate(LENGTHS):  # they are sorted: the next code is the one before plus 1, and longer
        code <<= length - (LENGTHS[n - 1] if n else length)
        codes["abcdefghijkl"[n]] = f"{code:0{length}b}"
        code += 1
    bits = "".join(codes[letter] for letter in text)
    unit = 16 if big else 8
    whole = bits + "0" * (-len(bits) % unit)
    expected = b"".join(
        int(whole[at : at + 16], 2).to_bytes(2, "little") if big else bytes((int(whole[at : at + 8][::-1], 2),))
        for at in range(0, len(whole), unit)
    )
    memory.put(IN, data)
    memory.put(STATE, CompressState.of_lengths(lengths).packed())
    how = CompressFlag.FLUSH | CompressFlag.LITERALS | (CompressFlag.BIG_ENDIAN if big else 0)
    with shared.wq(0) as wq:
        found = wq.compress(memory.at(OUT), HALF, memory.at(IN), len(data), memory.at(STATE), how=how).outcome
        assert memory.take(OUT, found.size) == expected
        assert found.bits == len(bits) % unit
        ignored = -len(bits) % unit
        if ignored > 7:
            return  # the first generation has no field for it
        states.put(0, InflateState.huffman_only(lengths))
        memory.put(IN, expected)
        back = wq.decompress(
            memory.at(OUT), HALF, memory.at(IN), len(expected), state=states.buffer,
            how=DecompressFlag.ENABLE | DecompressFlag.FLUSH | ignored * DecompressFlag.IGNORED_BITS
            | (DecompressFlag.BIG_ENDIAN if big else 0),
        )  # fmt: skip
    assert memory.take(OUT, back.outcome.size) == data


# --- damaged streams --------------------------------------------------------------------------------------------------


def bits_of(text: str) -> bytes:
    """Bits in the order in which they are read."""
    text = text.replace(" ", "")
    text += "0" * (-len(text) % 8)
    return bytes(int(text[at : at + 8][::-1], 2) for at in range(0, len(text), 8))


def number(value: int, width: int) -> str:
    return f"{value:0{width}b}"[::-1]


def dynamic(literals: int, distances: int, lengths: dict[int, int], rest: str = "") -> bytes:
    """A header with these lengths of the codes for code lengths."""
    order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
    head = number(0b101, 3) + number(literals - 257, 5) + number(distances - 1, 5) + number(15, 4)
    return bits_of(head + "".join(number(lengths.get(one, 0), 3) for one in order) + rest)


DAMAGES = {
    IaaError.BLOCK_TYPE: b"\x07",
    IaaError.STORED_SIZE: b"\x01\x05\x00\x00\x00",
    IaaError.NOT_AT_END: b"\x01\x05\x00\xfa\xffhel",
    IaaError.LITERAL_CODE: bits_of("1 10 11000110"),  # 286 with fixed codes
    IaaError.DISTANCE_CODE: bits_of("1 10 00110000 00110001 00110010 0000001 11110"),
    IaaError.BEFORE_START: bits_of("1 10 00110000 0000001 00100"),
    IaaError.FAR_DISTANCE: bits_of("1 10 00110000 0000001 11000" + number(2000, 11)),
    IaaError.MANY_LITERALS: dynamic(287, 1, {}),
    IaaError.MANY_DISTANCES: dynamic(257, 31, {}),
    IaaError.CODE_LENGTHS: dynamic(257, 1, {0: 1, 1: 1, 2: 1}),
    IaaError.CODE_LENGTH: dynamic(257, 1, {0: 2, 18: 2}, "11" * 4),
    IaaError.REPEATED_NOTHING: dynamic(257, 1, {16: 1, 18: 1}, "0 00"),
    IaaError.NO_LITERALS: dynamic(257, 1, {18: 1, 1: 1}, "1" + number(127, 7) + "1" + number(108, 7) + "0"),
    IaaError.LITERAL_COUNT: dynamic(257, 1, {18: 1}, ("0" + number(127, 7)) * 2),
    IaaError.LITERAL_LENGTHS: dynamic(257, 1, {1: 1, 18: 1}, "0000" + ("1" + number(116, 7)) * 2 + "0"),
    IaaError.DISTANCE_LENGTHS: dynamic(
        257, 3, {1: 1, 18: 1}, "0" + "1" + number(127, 7) + "1" + number(106, 7) + "0" + "000"
    ),
}


@pytest.mark.parametrize("error", DAMAGES, ids=lambda error: error.name)
def test_what_is_wrong_with_a_stream(wq: IaaQueue, memory: Arena, error: IaaError) -> None:
    data = DAMAGES[error]
    with pytest.raises(zlib.error):
        engine = zlib.decompressobj(-12)
        engine.decompress(data + b"\0" * 30 if error != IaaError.NOT_AT_END else data)
        if error in (IaaError.NOT_AT_END, IaaError.LITERAL_CODE):
            raise zlib.error("it ends early, which zlib does not mind")
    memory.put(IN, data + b"\0" * 30)
    size = len(data) + (30 if error != IaaError.NOT_AT_END else 0)
    found = wq.submit.decompress(memory.at(OUT), HALF, memory.at(IN), size).wait(check=False)
    assert (found.status, found.result) == (IaaStatus.ANALYTICS, error), str(found)
    assert str(error) in str(found)
    assert wq.nop().ok


def test_a_header_longer_than_the_state_can_keep(wq: IaaQueue, memory: Arena, states: Arena) -> None:
    """256 bytes of input are kept at most; no header of zlib's is that long."""
    data = dynamic(286, 30, dict.fromkeys(range(16), 4), "0000" * 4)
    memory.put(IN, data + bytes(300))
    stream = wq.decompress_stream(states.buffer)
    with pytest.raises(OperationError, match="no literal has a code"):
        stream.feed(memory.at(OUT), HALF, memory.at(IN), 300)
    long = dynamic(286, 30, {1: 7, 18: 1}, "")[:18] + b"\xff" * 400
    memory.put(IN, long)
    found = wq.submit.decompress(
        memory.at(OUT), HALF, memory.at(IN), 300, state=states.buffer, resume=False, keep=Flag.IAA_WRITE_SOURCE2
    ).wait(check=False)
    assert found.status == IaaStatus.ANALYTICS


def test_bad_states(wq: IaaQueue, memory: Arena, states: Arena) -> None:
    def run(state: InflateState | bytes, **how: int) -> Completion:
        data = state if isinstance(state, bytes) else state.packed(FilterState())
        states.put(0, data)
        place = states.at(how.pop("at", 0))
        how.setdefault("how", DecompressFlag.ENABLE)
        return wq.submit.decompress(memory.at(OUT), HALF, memory.at(IN), 10, state=place, **how).wait(check=False)

    memory.put(IN, bits_of("1 10 00110000 0000000") + bytes(8))
    assert run(InflateState()).outcome.size == 1
    assert run(InflateState(block=BlockState.DONE)).outcome.size == 0
    wrong = bytearray(InflateState().packed(FilterState()))
    for at, value in ((0x434, 7), (0x1B8, 65), (0x4E4, 0xFF), (0x4E5, 0x7F)):
        state = bytearray(wrong)
        state[at] = value
        found = run(bytes(state))
        if at != 0x4E4:
            assert (found.status, found.result) == (IaaStatus.ANALYTICS, IaaError.STATE)
    assert run(InflateState(), at=16).status == Status.ADDRESS_ALIGN
    both = Flag.IAA_WRITE_SOURCE2 | Flag.IAA_WRITE_AT_OVERFLOW
    assert run(InflateState(), keep=both).invalid_flags == both
    assert run(InflateState(), how=1 << 10).status == IaaStatus.COMPRESS_FLAGS  # indexing
    with pytest.raises(UsageError, match="at most the buffer's"):
        wq.compress_stream(wq.copied(bytes(100)))


states_of = st.builds(
    InflateState,
    block=st.sampled_from((1, 2, 6, 8)),
    bits=st.integers(0, 2**2048 - 1),
    bit_count=st.integers(0, 2048),
    stored=st.integers(0, 65535),
    history=st.binary(max_size=40).map(lambda data: data * 103),
)


@given(states_of, st.integers(0, 2**32 - 1), st.integers(0, 99))
def test_a_state_is_read_as_it_was_written(state: InflateState, crc: int, drop: int) -> None:
    state = InflateState(
        state.block, state.bits & (1 << state.bit_count) - 1, state.bit_count, state.stored, (0, 0), (b"", b""),
        state.history[-4096:],
    )  # fmt: skip
    summary = FilterState(crc, 5, 1, 2, 3, drop)
    data = state.packed(summary)
    assert len(data) == 0x1500
    assert InflateState.unpacked(data) == state
    assert FilterState.unpacked(data) == summary
    short = state.packed(summary, 0x4E0)
    assert len(short) == 0x4E0
    assert InflateState.unpacked(short).history == b""
