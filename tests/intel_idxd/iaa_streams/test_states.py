# SPDX-License-Identifier: Apache-2.0
"""IAA: the state that a stream is kept in: what it cannot hold, what it must not be, as it is written and read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.intel_idxd.iaa_streams.blocks import bits_of, dynamic
from tests.intel_idxd.iaa_streams.pieces import HALF, IN, OUT
from tests.intel_idxd.memory import Arena
from vfio_ims.drivers.intel_idxd.driver.operation_error import OperationError
from vfio_ims.drivers.intel_idxd.driver.queue_session import IaaQueue
from vfio_ims.drivers.intel_idxd.hardware.aecs import FilterState
from vfio_ims.drivers.intel_idxd.hardware.completion import Completion
from vfio_ims.drivers.intel_idxd.hardware.descriptors import Flag
from vfio_ims.drivers.intel_idxd.hardware.iaa_flags import DecompressFlag
from vfio_ims.drivers.intel_idxd.hardware.inflate_state import BlockState, InflateState
from vfio_ims.drivers.intel_idxd.hardware.status import IaaError, IaaStatus, Status
from vfio_ims.errors import UsageError


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
