# SPDX-License-Identifier: Apache-2.0
"""A model's registers honour their access, whatever the width and place of an access."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vfio_ims.models.register_file import RegisterFile
from vfio_ims.models.sparse_registers import SparseRegisterFile, register_file
from vfio_ims.registers import Block, Register, Repeat, bit, bits


class Queue(Block):
    SIZE = Register(0x0, 32)
    STATE = Register(0x4, 32, "ro", reset=0x5)


class Device(Block):
    ID = Register(0x00, 32, "ro", reset=0x1234_5678)
    CONTROL = Register(
        0x08, 64, "rw", reset=0x10, cause=bits(63, 56, "rw1c"), fixed=bit(0, "ro"), key=bits(23, 16, "wo")
    )
    DOORBELL = Register(0x10, 32, "wo")
    QUEUES = Repeat(Queue, 0x40, count=4, stride=0x10)


def reference(byte_masks: list[tuple[int, int, int]], state: bytearray, offset: int, data: bytes) -> None:
    for at, new in zip(range(offset, offset + len(data)), data, strict=True):
        change, clear, _ = byte_masks[at]
        state[at] = state[at] & ~change & ~(new & clear) | new & change


def masks() -> list[tuple[int, int, int]]:
    """By hand from the declarations above: what changes, what clears, what is hidden, byte by byte."""
    plain = [(0, 0, 0)] * 0x80
    for at in range(0x08, 0x10):
        plain[at] = (0xFF, 0, 0)
    plain[0x08] = (0xFE, 0, 0)
    plain[0x0A] = (0xFF, 0, 0xFF)
    plain[0x0F] = (0, 0xFF, 0)
    for at in range(0x10, 0x14):
        plain[at] = (0xFF, 0, 0xFF)
    for queue in range(4):
        for at in range(0x40 + 0x10 * queue, 0x44 + 0x10 * queue):
            plain[at] = (0xFF, 0, 0)
    return plain


KINDS = pytest.mark.parametrize("kind", [RegisterFile, SparseRegisterFile])


@KINDS
@given(accesses=st.lists(st.tuples(st.integers(0, 0x7F), st.binary(min_size=1, max_size=8)), max_size=12))
def test_every_access_is_as_byte_masks_say(kind: type[RegisterFile], accesses: list[tuple[int, bytes]]) -> None:
    file, table = kind(Device, 0x80), masks()
    state = bytearray(0x80)
    state[0:4] = 0x1234_5678.to_bytes(4, "little")
    state[0x08] = 0x10
    for queue in range(4):
        state[0x44 + 0x10 * queue] = 0x5
    for offset, data in accesses:
        data = data[: 0x80 - offset]
        file.store(offset, data)
        reference(table, state, offset, data)
        seen = bytes(byte & ~hidden for byte, (_, _, hidden) in zip(state, table, strict=True))
        assert file.load(0, 0x80) == seen
        assert file.load(offset, len(data)) == seen[offset : offset + len(data)]


@KINDS
def test_a_write_tells_which_registers_it_touched_with_the_value_written(kind: type[RegisterFile]) -> None:
    file = kind(Device, 0x80)
    ((place, value),) = file.store(0x10, (7).to_bytes(4, "little"))
    assert (place.register.name, place.row, value) == ("DOORBELL", None, 7)
    ((place, value),) = file.store(0x60, (9).to_bytes(4, "little"))
    assert (place.register.name, place.row, value) == ("SIZE", 2, 9)
    touched = file.store(0x0C, bytes(8))  # the upper half of one register and the next
    assert [place.register.name for place, _ in touched] == ["CONTROL", "DOORBELL"]
    assert file.store(0x30, bytes(4)) == []


@KINDS
def test_the_model_itself_sets_read_only_registers_by_row(kind: type[RegisterFile]) -> None:
    file = kind(Device, 0x80)
    row = file.row(Device.QUEUES, 3)
    row.set(Queue.STATE, 0xAB)
    assert file.load(0x74, 4) == b"\xab\0\0\0"
    file.reset()
    assert row.get(Queue.STATE) == 5


class Port(Block):
    NEAR = Register(0x1000_0F80, 32)
    FAR = Register(0xA040_0000, 32, reset=1)


class Beside(Block):
    NEAR = Register(0x0F84, 32)


class Large(Block):
    PORTS = Repeat(Port, 0, count=64, stride=0x1000)
    BESIDE = Repeat(Beside, 0x1000_0000, count=4096, stride=0x1000)


def test_a_large_bar_costs_its_registers_and_rows_may_lie_between_one_another() -> None:
    file = register_file(Large, 1 << 32)
    file.store(0x1000_3F80, (0x55).to_bytes(4, "little"))
    file.store(0x1000_3F84, (0x66).to_bytes(4, "little"))
    assert file.row(Large.PORTS, 3).get(Port.NEAR) == 0x55
    assert file.row(Large.BESIDE, 3).get(Beside.NEAR) == 0x66
    ((place, _),) = file.store(0xA040_3000, bytes(4))
    assert (place.register, place.row) == (Port.FAR, 3)
    assert file.load(0xA040_4000, 4) == b"\1\0\0\0"
    assert file.load(0xFFFF_0000, 8) == bytes(8)
