# SPDX-License-Identifier: Apache-2.0
"""Declared registers: what is refused when declared, and what values, writes and slots come out as."""

from enum import IntEnum

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vfio_ims.errors import DeviceError, DeviceTimeout, UsageError
from vfio_ims.messages import Message, Slot
from vfio_ims.registers import MEMORY, Block, Doorbell, Register, Repeat, SlotLayout, Store, bit, bits


class Speed(IntEnum):
    SLOW = 0
    FAST = 1


class Queue(Block):
    SIZE = Register(0x0, 32, limit=bits(15, 0))
    STATE = Register(0x4, 32, on=bit(0), speed=bits(2, 1, enum=Speed), error=bit(31, "rw1c"))


class Registers(Block):
    ID = Register(0x00, access="ro", reset=0x1234)
    WIDE = Register(0x10, 128, low=bits(7, 0), top=bits(127, 120))
    QUEUES = Repeat(Queue, 0x40, count=4, stride=8)


class Memory:
    """A window on plain bytes that counts its accesses."""

    size = 0x100

    def __init__(self) -> None:
        self.bytes = bytearray(self.size)
        self.log: list[tuple[str, int, int]] = []

    def read32(self, offset: int) -> int:
        self.log.append(("r", offset, 4))
        return int.from_bytes(self.bytes[offset : offset + 4], "little")

    def write32(self, offset: int, value: int) -> None:
        self.log.append(("w", offset, 4))
        self.bytes[offset : offset + 4] = int(value).to_bytes(4, "little")

    def read_block(self, offset: int, count: int, width: int = 4) -> bytes:
        return bytes(self.bytes[offset : offset + count * width])

    def write_block(self, offset: int, data: bytes, width: int = 4) -> None:
        self.bytes[offset : offset + len(data)] = data

    def poll(self, offset: int, width: int, mask: int, expected: int, timeout: float) -> int:
        return self.read32(offset)


def test_a_read_is_one_access_and_a_snapshot() -> None:
    memory = Memory()
    regs = Registers(memory, label="dev")  # type: ignore[arg-type]
    memory.bytes[0x4C] = 0b011
    state = regs.QUEUES[1].STATE.read()
    assert memory.log == [("r", 0x4C, 4)]
    memory.bytes[0x4C] = 0
    assert (state.on, state.speed) == (1, 1)
    assert repr(state) == "STATE=0x00000003 (on=1, speed=fast)"
    with pytest.raises(AttributeError, match="did you mean 'speed'"):
        _ = state.sped


def test_update_writes_once_and_leaves_write_1_to_clear_bits_alone() -> None:
    memory = Memory()
    memory.bytes[0x44:0x48] = (0x8000_0001).to_bytes(4, "little")
    written = Registers(memory).QUEUES[0].STATE.update(speed=1)  # type: ignore[arg-type]
    assert written == 0b011
    assert memory.log == [("r", 0x44, 4), ("w", 0x44, 4)]


def test_wide_registers_keep_their_fields() -> None:
    regs = Registers(Memory())  # type: ignore[arg-type]
    regs.WIDE.write(low=0x12, top=0xFE)
    assert regs.WIDE.read().fields() == {"low": 0x12, "top": 0xFE}


def test_unknown_bits_are_shown() -> None:
    assert Queue.STATE.value(0x100).unknown == 0x100
    assert "unknown=0x100" in repr(Queue.STATE.value(0x100))


def test_expect_says_what_it_found_and_all_ones_as_a_device_that_is_gone() -> None:
    memory = Memory()
    regs = Registers(memory, label="mock:x")  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match=r"mock:x: read ID: it must be 0x1234, not 0x0"):
        regs.ID.expect(0x1234)
    memory.bytes[0:4] = b"\xff" * 4
    with pytest.raises(DeviceError, match="no device answers"):
        regs.ID.expect(0x1234)


def test_poll_times_out_in_words() -> None:
    with pytest.raises(DeviceTimeout, match=r"wait for STATE to have on=1: it still was STATE=0x00000000 after 0.1 s"):
        Registers(Memory()).QUEUES[0].STATE.poll(0.1, on=1)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("declare", "why"),
    [
        (lambda: Register(0, 24), "width must be one of"),
        (lambda: Register(2, 32), "aligned"),
        (lambda: Register(0, 8, wide=bits(8, 0)), "fit 8 bits"),
        (lambda: Register(0, a=bits(3, 0), b=bit(3)), "overlaps"),
        (lambda: Register(0, access="rwx"), "access must be"),  # type: ignore[arg-type]
        (lambda: type("Bad", (Block,), {"A": Register(0, 64), "B": Register(4)}), "overlaps A"),
        (lambda: SlotLayout(0, 0, 4, low=0, high=0), "low and high are both at 0x0"),
        (lambda: SlotLayout(0, 0, 4, data=18), r"data=18 lies outside .* stride=16 its last word is at 12 \(0xc\)"),
        (lambda: SlotLayout(0, 0, 4, data=10), "data=10 is no place of a 32-bit word"),
        (lambda: SlotLayout(0, 0, 4, data=12), "data_bits overlaps another field"),
        (lambda: SlotLayout(0, 0, 4, stride=12, mask=0), "mask must be None without a control word"),
        (lambda: SlotLayout(0, 0, 4, masked_when=2), "masked_when must be 0 or 1"),
        (lambda: SlotLayout(0, 0, 4, pending_when=2), "pending_when must be 0 or 1"),
        (lambda: SlotLayout(0, 0, 4, pending_access="rw"), "pending_access must be"),
        (lambda: SlotLayout(MEMORY, 0, 4, pending_access="rw1c"), "in memory cannot be written to clear them"),
        (lambda: SlotLayout(0, 0, 4, mask_set=0x100), "mask_set and mask_clear go together"),
        (lambda: SlotLayout(0, 0, 4, low=None, high=None, shared_address=0x20), "shared_address is a pair, .* not 32"),  # type: ignore[arg-type]
        (lambda: SlotLayout(0, 0, 4, mask_set=0x100, mask_clear=0x100), "are both at 0x100: each needs its own"),
        (
            lambda: SlotLayout(0, 0, 64, mask_bitmap=0x800, pending_bitmap=0x804),
            "both at 0x804: 64 slots need 2 of each",
        ),
        (lambda: SlotLayout(0, 0, 4, stride=12, mask_bitmap=0x18), "mask_bitmap at 0x18 lies on a word of entry 2"),
        (lambda: SlotLayout(7, 0, 4), "bar must be 0 to 5"),
        (lambda: Doorbell(0, 2), "offset must be a multiple of 4"),
        (lambda: Doorbell(0, 0, bitmap=True, value=1), "a bitmap is 32 bits wide"),
        (lambda: Store(()), "no table"),
        (lambda: Store((SlotLayout(MEMORY, 0, 4),)), "a context go together"),
        (lambda: Queue.STATE.value(speed=4), "fit 2 bits"),
        (lambda: Queue.STATE.value(sped=1), "did you mean 'speed'"),
    ],
)
def test_a_wrong_declaration_is_refused_when_declared(declare: object, why: str) -> None:
    with pytest.raises((UsageError, RuntimeError), match=why):
        declare()  # type: ignore[operator]


LAYOUT = SlotLayout(bar=0, offset=0x4000, count=2048, ignore=2, pasid_enable=3)


@given(
    st.builds(
        Slot,
        st.builds(Message, st.integers(0, (1 << 62) - 1).map(lambda a: a * 4), st.integers(0, 0xFFFF_FFFF)),
        st.booleans(),
        st.none() | st.integers(0, (1 << 20) - 1),
        st.booleans(),
    )
)
def test_a_slot_survives_its_entry(slot: Slot) -> None:
    message = slot.message
    words = message.address & 0xFFFF_FFFF, message.address >> 32, message.data, LAYOUT.control_word(slot)
    assert LAYOUT.decode_entry(words) == slot


def test_the_entry_of_dsa_is_where_the_reference_says() -> None:
    assert (LAYOUT.at(0), LAYOUT.at(2047), LAYOUT.size) == (0x4000, 0xBFF0, 0x8000)
    assert LAYOUT.control_word(Slot(masked=True, pasid=5)) == 5 << 12 | 0b1001
    with pytest.raises(UsageError, match="below 2048, not 2048"):
        LAYOUT.at(2048)
