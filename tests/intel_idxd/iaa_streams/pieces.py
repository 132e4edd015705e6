# SPDX-License-Identifier: Apache-2.0
"""Streams in pieces: where they are cut, zlib's own, and all that comes out."""

from __future__ import annotations

import zlib
from itertools import pairwise

from hypothesis import strategies as st

from tests.intel_idxd.memory import PAGE, Arena
from vfio_ims.drivers.intel_idxd.driver.iaa_operations import INFLATE
from vfio_ims.drivers.intel_idxd.driver.iaa_streams import DecompressStream
from vfio_ims.drivers.intel_idxd.hardware.completion import Completion
from vfio_ims.drivers.intel_idxd.hardware.iaa_flags import DecompressFlag

IN, OUT, HALF = 0, 24 * PAGE, 24 * PAGE
STATE = 48 * PAGE


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


PLACES = st.lists(st.integers(0, 1 << 20), max_size=5)
