# SPDX-License-Identifier: Apache-2.0
"""A model's slots: masks, pending bits and PASIDs, also where the client writes them through a mapping."""

import mmap
import time
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import vfio_ims
from vfio_ims.errors import UsageError
from vfio_ims.messages import FireStatus
from vfio_ims.models import SlotStore
from vfio_ims.registers import SlotLayout

LAYOUT = SlotLayout(bar=0, offset=0, count=8, ignore=2, pasid_enable=3)
MASK, PENDING, IGNORE, PASID_ENABLE = 1, 2, 4, 8


def word(value: int) -> bytes:
    return value.to_bytes(4, "little")


class Slots(RuleBasedStateMachine):
    """Against what is expected of a table: masked pends, unmasked sends, pending sends once at the unmask."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[tuple[int, int]] = []
        self.store = SlotStore(LAYOUT, lambda address, data: self.sent.append((address, data)))
        self.expected: list[tuple[int, int]] = []
        self.masked = [True] * 8
        self.pending = [False] * 8
        self.message = [(0, 0)] * 8

    def _write(self, index: int, at: int, value: int) -> None:
        for touched in self.store.store(index * 16 + at, word(value)):
            self.store.discharge(touched)

    @rule(index=st.integers(0, 7), low=st.integers(0, 0x3FFF).map(lambda n: n * 4), data=st.integers(0, 255))
    def write_message(self, index: int, low: int, data: int) -> None:
        self._write(index, 0, low)
        self._write(index, 8, data)
        self.message[index] = low, data

    @rule(index=st.integers(0, 7), masked=st.booleans(), noise=st.sampled_from([0, PENDING, 0xFF0]))
    def write_control(self, index: int, masked: bool, noise: int) -> None:
        self._write(index, 12, int(masked) | noise)
        self.masked[index] = masked
        if not masked and self.pending[index]:
            self.pending[index] = False
            self.expected.append(self.message[index])

    @rule(index=st.integers(0, 7))
    def fire(self, index: int) -> None:
        outcome = self.store.fire(index)
        if self.masked[index]:
            assert outcome is FireStatus.PENDING
            self.pending[index] = True
        else:
            assert outcome is FireStatus.SENT
            self.expected.append(self.message[index])

    @rule()
    def reset(self) -> None:
        self.store.reset()
        self.masked, self.pending, self.message = [True] * 8, [False] * 8, [(0, 0)] * 8

    @invariant()
    def agrees(self) -> None:
        assert self.sent == self.expected
        for index in range(8):
            control = int.from_bytes(self.store.load(index * 16 + 12, 4), "little")
            assert control == self.masked[index] | self.pending[index] << 1


Slots.TestCase.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)
TestSlots = Slots.TestCase


@pytest.mark.parametrize(
    ("control", "pasid", "outcome"),
    [
        (PASID_ENABLE | 5 << 12, 5, FireStatus.SENT),
        (PASID_ENABLE | 5 << 12, 6, FireStatus.REFUSED),
        (PASID_ENABLE | 5 << 12, None, FireStatus.REFUSED),
        (5 << 12, None, FireStatus.SENT),
        (5 << 12, 5, FireStatus.REFUSED),
        (IGNORE, 7, FireStatus.SENT),
    ],
)
def test_a_slot_fires_only_for_its_pasid(control: int, pasid: int | None, outcome: FireStatus) -> None:
    sent: list[int] = []
    store = SlotStore(LAYOUT, lambda address, data: sent.append(data))
    store.store(12, word(control))
    assert store.fire(0, pasid) is outcome
    assert len(sent) == (outcome is FireStatus.SENT)


def test_a_pending_slot_unmasked_through_a_mapping_is_sent_soon() -> None:
    with vfio_ims.open_driver("mock:minimal,map_slots=yes") as driver, driver.ims.allocate(masked=True) as irq:
        assert driver.device.bar(0).mapped(0x1000, 0x100)
        assert str(driver.fire(irq.slot)) == "pending"
        assert irq.pending
        began = time.monotonic()
        irq.unmask()
        assert irq.wait(timeout=30)
        assert time.monotonic() - began < 10
        assert not irq.pending


def test_a_shared_store_gives_its_memory_back() -> None:
    store = SlotStore(LAYOUT, lambda address, data: None, shared=True)
    with mmap.mmap(store.fd, mmap.PAGESIZE) as area:
        area[0:4] = word(0x1000)
        assert store.slot(0).message.address == 0x1000
    store.close()
    assert store.fd == -1


def test_a_mapped_table_with_many_pending_slots_sends_those_that_are_unmasked() -> None:
    layout, sent = replace(LAYOUT, count=2048), list[int]()
    store = SlotStore(layout, lambda address, data: sent.append(data), shared=True)
    assert layout.control is not None
    assert not store.watch()
    with mmap.mmap(store.fd, store.mapped_size, offset=layout.offset) as client:

        def write(index: int, word: int, value: int) -> None:
            client[index * layout.stride + word : index * layout.stride + word + 4] = value.to_bytes(4, "little")

        for index in range(layout.count):
            write(index, layout.data, index)
            assert store.fire(index) is FireStatus.PENDING
        assert store.watch()
        assert sent == []
        for index in (0, 7, 1024, 2047):
            write(index, layout.control, 0)
        write(9, layout.control, 1)  # overwrites the pending bit, which the device keeps
        assert store.watch()
        assert sent == [0, 7, 1024, 2047]
        assert client[9 * layout.stride + layout.control] == 0b11
        assert client[7 * layout.stride + layout.control] == 0
        for index in range(layout.count):
            write(index, layout.control, 0)
        assert not store.watch()
        assert len(sent) == layout.count
    store.close()


def test_set_and_clear_registers_act_where_a_1_is_written_and_are_read_elsewhere() -> None:
    sent = list[int]()
    layout = SlotLayout(0, 0, 40, stride=12, mask_set=0x400, mask_clear=0x408, mask_bitmap=0x410, pending_bitmap=0x418)
    store = SlotStore(layout, lambda address, data: sent.append(data))
    assert store.answer(0x410, 8) == word(0xFFFF_FFFF) + word(0xFF)
    assert store.take(0x409, b"\x81") == [8, 15]  # one byte: the rest of the register is not written
    assert store.answer(0x410, 8) == word(0xFFFF_7EFF) + word(0xFF)
    assert store.answer(0x400, 16) == bytes(16)
    assert store.take(0x410, bytes(8)) == []
    assert store.take(0x400, word(1 << 15)) == [15]
    assert store.answer(0x410, 4) == word(0xFFFF_FEFF)
    assert (store.fire(8), store.fire(15)) == (FireStatus.SENT, FireStatus.PENDING)
    assert store.answer(0x418, 8) == word(1 << 15) + word(0)


@pytest.mark.parametrize("when", [0, 1])
def test_a_1_drops_what_pends_and_a_0_does_not(when: int) -> None:
    layout = replace(LAYOUT, pending_when=when, pending_access="rw1c")
    store = SlotStore(layout, lambda address, data: None)
    idle, held = (0, PENDING) if when else (PENDING, 0)
    store.store(12, word(MASK))
    for bit in (0, PENDING):
        assert store.fire(0) is FireStatus.PENDING
        assert store.load(12, 4) == word(MASK | held)
        store.store(12, word(MASK | bit))
        assert store.load(12, 4) == word(MASK | (idle if bit else held))
    assert store.pending == set()
    assert store.load(16 + 12, 4) == word(MASK | idle)


def test_pending_bits_that_a_1_clears_are_not_offered_for_mapping() -> None:
    layout = replace(LAYOUT, pending_access="rw1c")
    with pytest.raises(UsageError, match="more than a plain array"):
        SlotStore(layout, lambda address, data: None, shared=True)
