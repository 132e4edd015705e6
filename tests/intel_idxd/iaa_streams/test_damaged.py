# SPDX-License-Identifier: Apache-2.0
"""IAA: what is wrong with a damaged stream is named, where zlib refuses it too."""

from __future__ import annotations

import zlib

import pytest

from tests.intel_idxd.iaa_streams.blocks import bits_of, dynamic, number
from tests.intel_idxd.iaa_streams.pieces import HALF, IN, OUT
from tests.intel_idxd.memory import Arena
from vfio_ims.drivers.intel_idxd.driver.queue_session import IaaQueue
from vfio_ims.drivers.intel_idxd.hardware.status import IaaError, IaaStatus

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
