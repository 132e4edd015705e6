# SPDX-License-Identifier: Apache-2.0
"""IAA: deflate against zlib both ways, CRC64 and the codec for zeros against the definitions."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.intel_idxd import oracles
from tests.intel_idxd.conftest import Opener, everywhere
from tests.intel_idxd.memory import PAGE, Arena, arena, hole
from vfio_ims.drivers.intel_idxd.driver import Iaa
from vfio_ims.drivers.intel_idxd.driver.iaa_operations import CRC64_ECMA
from vfio_ims.drivers.intel_idxd.driver.operation_error import OperationError
from vfio_ims.drivers.intel_idxd.driver.operations import Request
from vfio_ims.drivers.intel_idxd.driver.queue_session import IaaQueue
from vfio_ims.drivers.intel_idxd.hardware.aecs import COMPRESS_SIZE, CompressState
from vfio_ims.drivers.intel_idxd.hardware.descriptors import Flag, IaaOpcode
from vfio_ims.drivers.intel_idxd.hardware.iaa_flags import CompressFlag
from vfio_ims.drivers.intel_idxd.hardware.status import IaaError, IaaStatus, Status
from vfio_ims.errors import UsageError

SIZE = 64 * PAGE
OUT, STATE = 32 * PAGE, 60 * PAGE
ROOM = STATE - OUT


shared = everywhere(Iaa)


@pytest.fixture(scope="module")
def memory(shared: Iaa) -> Arena:
    return arena(shared, SIZE)


@pytest.fixture
def wq(shared: Iaa) -> Iterator[IaaQueue]:
    with shared.wq(0) as queue:
        yield queue


def texts(seed: int, size: int) -> bytes:
    """Data with repetitions near and far, and some without."""
    random = Random(seed)
    out = bytearray()
    while len(out) < size:
        match random.randrange(4):
            case 0:
                out += random.randbytes(random.randrange(1, 40))
            case 1:
                out += bytes((random.randrange(256),)) * random.randrange(1, 600)
            case _:
                start = random.randrange(max(1, len(out)))
                out += out[start : start + random.randrange(3, 300)]
    return bytes(out[:size])


def inflate(data: bytes, window: int = -15) -> bytes:
    engine = zlib.decompressobj(window)
    out = engine.decompress(data)
    assert engine.eof
    assert engine.unused_data == b""
    return out


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 999), st.integers(1, 6000))
def test_what_it_compresses_zlib_inflates(shared: Iaa, memory: Arena, seed: int, size: int) -> None:
    data = texts(seed, size)
    memory.put(0, data)
    memory.put(STATE, CompressState().packed())
    with shared.wq(seed % 8) as wq:
        found = wq.compress(memory.at(OUT), ROOM, memory.at(0), size, memory.at(STATE)).outcome
        compressed = memory.take(OUT, found.size)
        assert inflate(compressed) == data
        assert inflate(compressed, -12) == data  # the history is 4 KiB
        assert found.crc == zlib.crc32(data)
        memory.put(0, bytes(size))
        back = wq.decompress(memory.at(0), size, memory.at(OUT), found.size)
    assert memory.take(0, size) == data
    assert (back.outcome.size, back.outcome.crc, back.completed) == (size, zlib.crc32(data), found.size)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 999),
    st.integers(1, 9000),
    st.integers(1, 9),
    st.sampled_from((zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED)),
)
def test_what_zlib_compresses_it_inflates(
    shared: Iaa, memory: Arena, seed: int, size: int, level: int, strategy: int
) -> None:
    data = texts(seed, size)
    engine = zlib.compressobj(level, zlib.DEFLATED, -12, 8, strategy)
    compressed = engine.compress(data) + engine.flush()
    memory.put(0, compressed + b"more")
    with shared.wq(0) as wq:
        found = wq.decompress(memory.at(OUT), ROOM, memory.at(0), len(compressed) + 4)
    assert memory.take(OUT, found.outcome.size) == data
    assert found.completed == len(compressed)


def test_repetitive_data_gets_smaller(wq: IaaQueue, memory: Arena) -> None:
    memory.put(0, b"vfio-ims " * 1000)
    memory.put(STATE, CompressState().packed())
    found = wq.compress(memory.at(OUT), ROOM, memory.at(0), 9000, memory.at(STATE))
    assert found.outcome.size < 200


def test_blocks_in_parts_make_one_stream(wq: IaaQueue, memory: Arena) -> None:
    """A block that is not final, closed by an empty stored block, and a final one behind it."""
    data = texts(1, 3000)
    memory.put(0, data)
    memory.put(STATE, CompressState.block(final=False).packed())
    how = CompressFlag.FLUSH | CompressFlag.END_OF_BLOCK_AND_STORED
    first = wq.compress(memory.at(OUT), ROOM, memory.at(0), 1000, memory.at(STATE), how=how).outcome
    memory.put(STATE, CompressState(crc=first.crc).packed())
    second = wq.compress(
        memory.at(OUT + first.size), ROOM - first.size, memory.at(1000), 2000, memory.at(STATE)
    ).outcome
    assert inflate(memory.take(OUT, first.size + second.size)) == data
    assert second.crc == zlib.crc32(data)


def test_a_final_stored_block_ends_a_stream(wq: IaaQueue, memory: Arena) -> None:
    data = texts(2, 500)
    memory.put(0, data)
    memory.put(STATE, CompressState.block(final=False).packed())
    how = CompressFlag.FLUSH | CompressFlag.END_OF_BLOCK_AND_FINAL_STORED
    found = wq.compress(memory.at(OUT), ROOM, memory.at(0), 500, memory.at(STATE), how=how).outcome
    assert inflate(memory.take(OUT, found.size)) == data


def test_other_codes_than_the_fixed_ones(wq: IaaQueue, memory: Arena) -> None:
    """Codes for two letters only, and a header written by hand that says so (RFC 1951, 3.2.7)."""
    data = b"abba" * 50 + b"ab"
    # The code length codes: 18 has 1 bit, 1 and 2 have 2.
    bits = ""

    def put(value: int, count: int) -> None:
        nonlocal bits
        bits += f"{value:0{count}b}"[::-1]

    put(1, 1), put(2, 2), put(0, 5), put(0, 5), put(14, 4)  # final, dynamic, 257 literals, 1 distance, 18 lengths
    for symbol in (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1):
        put({18: 1, 1: 2, 2: 2}.get(symbol, 0), 3)
    zeros, one, two = "0", "10", "11"  # 18; 1; 2
    bits += zeros + f"{97 - 11:07b}"[::-1] + one + two
    bits += zeros + f"{138 - 11:07b}"[::-1] + zeros + f"{256 - 99 - 138 - 11:07b}"[::-1] + two
    bits += one  # a distance code of length 1, not used
    literals = [0] * 286
    literals[97], literals[98], literals[256] = 1 << 15 | 0b0, 2 << 15 | 0b10, 2 << 15 | 0b11
    header = int(bits[::-1], 2)
    state = CompressState(0, 0, len(bits), header.to_bytes(256, "little"), literals, [0] * 30)
    memory.put(0, data)
    memory.put(STATE, state.packed())
    with pytest.raises(OperationError, match="the data or the tables for it are damaged"):
        wq.compress(memory.at(OUT), ROOM, memory.at(0), len(data), memory.at(STATE))  # matches have no code
    memory.put(0, b"ab")
    found = wq.compress(memory.at(OUT), ROOM, memory.at(0), 2, memory.at(STATE)).outcome
    assert inflate(memory.take(OUT, found.size)) == b"ab"


def test_statistics_count_what_would_be_written(wq: IaaQueue, memory: Arena) -> None:
    memory.put(0, b"abcabcabcx")
    found = wq.statistics(memory.at(OUT), ROOM, memory.at(0), 10)
    counts = memoryview(memory.take(OUT, found.outcome.size)).cast("I")
    assert found.outcome.size == 1280
    assert {n: counts[n] for n in range(286) if counts[n]} == {97: 1, 98: 1, 99: 1, 120: 1, 256: 1, 257 + 3: 1}
    assert [counts[288 + n] for n in range(30)] == [0, 0, 1] + [0] * 27


def test_output_that_does_not_fit(wq: IaaQueue, memory: Arena) -> None:
    data = texts(3, 2000)
    memory.put(0, zlib.compress(data, wbits=-12))
    memory.put(OUT, bytes(ROOM))
    found = wq.submit.decompress(memory.at(OUT), 100, memory.at(0), 2000).wait(check=False)
    assert (found.status, found.outcome.size) == (IaaStatus.OUTPUT_OVERFLOW, 100)
    assert memory.take(OUT, 101) == data[:100] + b"\0"


def test_damaged_data(wq: IaaQueue, memory: Arena) -> None:
    compressed = zlib.compress(texts(4, 2000), wbits=-12)
    memory.put(0, compressed[:-5])
    for data in (compressed[:-5], b"\x07" + compressed[1:]):
        memory.put(0, data)
        found = wq.submit.decompress(memory.at(OUT), ROOM, memory.at(0), len(data)).wait(check=False)
        assert found.status == IaaStatus.ANALYTICS
    far = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = Random(5).randbytes(8000)
    data = far.compress(block + block) + far.flush()
    memory.put(0, data)
    found = wq.submit.decompress(memory.at(OUT), ROOM, memory.at(0), len(data)).wait(check=False)
    assert found.status == IaaStatus.ANALYTICS  # a match from further back than 4 KiB


def test_bad_requests_to_deflate(wq: IaaQueue, memory: Arena) -> None:
    memory.put(STATE, CompressState().packed())
    compress, at = wq.submit.compress, memory.at
    assert compress(at(8), ROOM, at(0), 64, at(STATE)).wait(check=False).status == Status.OVERLAP
    for how in (1 << 6, 1 << 10, 1 << 12):  # indexing, a dictionary, a header made by the device
        assert compress(at(OUT), ROOM, at(0), 64, at(STATE), how=how).wait(check=False).status == (
            IaaStatus.COMPRESS_FLAGS
        )
    small = compress(at(OUT), 5, at(0), 64, at(STATE)).wait(check=False)
    assert (small.status, small.result) == (IaaStatus.ANALYTICS, IaaError.NO_ROOM)
    for flag in (Flag.IAA_SOURCE2_SECOND, Flag.IAA_WRITE_AT_OVERFLOW):
        found = compress(at(OUT), ROOM, at(0), 64, at(STATE), flags=flag).wait(check=False)
        assert (found.status, found.invalid_flags) == (Status.FLAGS, flag)
    unread = wq.start(Request(IaaOpcode.COMPRESS, 0, at(0), at(OUT), 64, 2, bytes(24), "compress")).wait(check=False)
    assert (unread.status, unread.invalid_flags) == (Status.FLAGS, Flag.IAA_READ_SOURCE2)
    assert wq.submit.decompress(at(8), ROOM, at(0), 64).wait(check=False).status == Status.OVERLAP
    state = wq.submit.decompress(at(OUT), ROOM, at(0), 64, flags=Flag.IAA_READ_SOURCE2).wait(check=False)
    assert state.status == Status.SIZE  # there is none
    with pytest.raises(OperationError, match="unsupported operation"):
        wq.start(Request(IaaOpcode.ENCRYPT, name="encrypt")).wait()
    assert COMPRESS_SIZE == 1568
    assert wq.nop().ok


def test_deflate_faults(opened: Opener) -> None:
    iaa = opened(name="intel-iaa")
    assert isinstance(iaa, Iaa)
    edge, memory = hole(iaa), arena(iaa)
    memory.put(0, zlib.compress(bytes(1000), wbits=-12))
    with iaa.wq(0, "ims") as wq:
        with pytest.raises(OperationError, match=f"page fault at {edge:#x}"):
            wq.decompress(memory.at(PAGE), PAGE, edge - 10, 100)
        with pytest.raises(OperationError, match="on a write"):
            wq.decompress(edge - 10, PAGE, memory.at(0), 100)
        assert wq.nop().ok


# --- CRC64 ------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.binary(min_size=1, max_size=200), st.booleans(), st.booleans())
def test_crc64(shared: Iaa, memory: Arena, data: bytes, reflect: bool, invert: bool) -> None:
    ones = (1 << 64) - 1 if invert else 0
    register = oracles.crc_bits(data, CRC64_ECMA, 64, ones, low_bit_first=reflect)
    expected = (oracles.mirror(register, 64) if reflect else register) ^ ones
    memory.put(0, data)
    with shared.wq(0) as wq:
        assert wq.crc64(memory.at(0), len(data), reflect=reflect, invert=invert).crc64 == expected


def test_the_check_value_of_ecma_182(wq: IaaQueue, memory: Arena) -> None:
    memory.put(0, b"123456789")
    assert wq.crc64(memory.at(0), 9).crc64 == 0x6C40_DF5F_0B49_7347
    # A shorter one in the upper bits: CRC-32 of bzip2.
    assert wq.crc64(memory.at(0), 9, 0x04C1_1DB7 << 32, invert=True).crc64 >> 32 == 0xFC89_1918


# --- the codec for zeros ----------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.sampled_from((16, 32)), st.integers(1, 400), st.integers(0, 999))
def test_zeros_left_out_and_put_in(shared: Iaa, memory: Arena, width: int, count: int, seed: int) -> None:
    random, step = Random(seed), width // 8
    elements = [random.randbytes(step) if random.random() < 0.4 else bytes(step) for _ in range(count)]
    data = b"".join(elements)
    per_block, expected = 128 // step, b""
    for at in range(0, count, per_block):
        block = elements[at : at + per_block]
        tags = sum(1 << n for n in range(per_block) if n >= len(block) or any(block[n]))
        expected += tags.to_bytes(per_block // 8, "little") + b"".join(e for e in block if any(e))
    memory.put(0, data)
    with shared.wq(0) as wq:
        found = wq.zero_compress(memory.at(OUT), ROOM, memory.at(0), len(data), width)
        assert memory.take(OUT, found.outcome.size) == expected
        memory.put(0, b"\xff" * len(data))
        back = wq.zero_decompress(memory.at(0), len(data), memory.at(OUT), len(expected), width)
    assert back.outcome.size == len(data)
    assert memory.take(0, len(data)) == data


def test_bytes_are_for_version_2(opened: Opener, wq: IaaQueue, memory: Arena) -> None:
    assert wq.submit.zero_compress(memory.at(OUT), 64, memory.at(0), 64, 8).wait(check=False).status == Status.OPCODE
    with pytest.raises(UsageError, match="8, 16 or 32 bits, not 64"):
        wq.zero_compress(memory.at(OUT), 64, memory.at(0), 64, 64)
    later = opened("version=2", "intel-iaa")
    assert isinstance(later, Iaa)
    other = arena(later)
    other.put(0, b"\0\1\0\2")
    with later.wq(0) as queue:
        found = queue.zero_compress(other.at(PAGE), PAGE, other.at(0), 4, 8)
    assert other.take(PAGE, found.outcome.size) == (((1 << 128) - 1) & ~0b101).to_bytes(16, "little") + b"\1\2"
