# SPDX-License-Identifier: Apache-2.0
"""IAA: streams of big-endian words, and codes without header or end."""

from __future__ import annotations

import zlib

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.intel_idxd import oracles
from tests.intel_idxd.iaa_streams.pieces import HALF, IN, OUT, PLACES, STATE, cut, unpressed
from tests.intel_idxd.memory import Arena
from tests.intel_idxd.test_iaa import texts
from vfio_ims.drivers.intel_idxd.driver import Iaa
from vfio_ims.drivers.intel_idxd.driver.iaa_operations import INFLATE
from vfio_ims.drivers.intel_idxd.hardware.aecs import CompressState
from vfio_ims.drivers.intel_idxd.hardware.iaa_flags import CompressFlag, DecompressFlag
from vfio_ims.drivers.intel_idxd.hardware.inflate_state import InflateState


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
