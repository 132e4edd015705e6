# SPDX-License-Identifier: Apache-2.0
"""IAA: which end of a stream is awaited, and a checksum with no output, or another."""

from __future__ import annotations

import zlib

import pytest

from tests.intel_idxd import oracles
from tests.intel_idxd.iaa_streams.pieces import HALF, IN, OUT, STATE, squeezed
from tests.intel_idxd.memory import PAGE, Arena
from tests.intel_idxd.test_iaa import texts
from vfio_ims.drivers.intel_idxd.driver.iaa_operations import INFLATE
from vfio_ims.drivers.intel_idxd.driver.operation_error import OperationError
from vfio_ims.drivers.intel_idxd.driver.queue_session import IaaQueue
from vfio_ims.drivers.intel_idxd.hardware.aecs import CompressState
from vfio_ims.drivers.intel_idxd.hardware.descriptors import Flag
from vfio_ims.drivers.intel_idxd.hardware.iaa_flags import DecompressFlag


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
