# SPDX-License-Identifier: Apache-2.0
"""BARs of a bare device. The words of a masked slot serve as memory: what is written there has no effect."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.behaviour.common import EVERYWHERE, table_of
from vfio_ims.device import Bar, Device
from vfio_ims.errors import UsageError
from vfio_ims.ims import SlotArray
from vfio_ims.messages import Message, Slot

pytestmark = EVERYWHERE

PATTERN = 0xA5C3_96F0


@dataclass
class Words:
    """Address and data words of slot 0 in a BAR: offsets of their low, high and data words."""

    bar: Bar
    table: SlotArray
    low: int
    high: int
    data: int


@pytest.fixture
def words(vfio_device: Device) -> Iterator[Words]:
    with table_of(vfio_device) as table:
        if not isinstance(table, SlotArray) or table.layout.high != table.layout.low + 4 or not table.has_mask:
            pytest.skip("the device has no plain table of 64-bit addresses")
        table.write_many([(index, Slot()) for index in range(4)])
        base, layout = table.layout.at(0), table.layout
        yield Words(vfio_device.bar(layout.bar), table, base + layout.low, base + layout.high, base + layout.data)


@pytest.fixture
def msix_place(vfio_device: Device) -> tuple[Bar, int, int]:
    """The BAR with the MSI-X table, where it starts, and one past its end."""
    vfio_device.config.memory = True
    place = vfio_device.msix_table
    assert place is not None
    return vfio_device.bar(place[0]), place[1].offset, place[1].end


def test_registers_keep_what_is_written(words: Words) -> None:
    words.bar.write32(words.data, PATTERN)
    words.bar.write32(words.low, 0x1234_5678)
    words.bar.write32(words.high, 0x9ABC_DEF0)
    assert words.bar.read32(words.data) == PATTERN
    assert words.bar.read32(words.low) == 0x1234_5678
    assert words.bar.read32(words.high) == 0x9ABC_DEF0


def test_a_64_bit_access_is_both_words(words: Words) -> None:
    words.bar.write64(words.low, 0x0123_4567_89AB_CDE8)
    assert words.bar.read64(words.low) == 0x0123_4567_89AB_CDE8
    assert words.bar.read32(words.low) == 0x89AB_CDE8
    assert words.bar.read32(words.high) == 0x0123_4567


def test_narrow_reads_see_their_part(words: Words) -> None:
    words.bar.write32(words.data, PATTERN)
    assert [words.bar.read8(words.data + at) for at in range(4)] == list(PATTERN.to_bytes(4, "little"))
    assert [words.bar.read16(words.data + at) for at in (0, 2)] == [PATTERN & 0xFFFF, PATTERN >> 16]


def test_blocks_read_and_write_registers_in_order(words: Words) -> None:
    words.bar.write_block(words.low, array("I", [0x1000, 0x2000, 0x3000]))
    assert words.bar.read_block(words.low, 3) == array("I", [0x1000, 0x2000, 0x3000]).tobytes()


def test_a_table_is_written_in_one_call(words: Words) -> None:
    messages = [Message(0x1000 * (index + 1), index) for index in range(4)]
    words.table.write_many([(index, Slot(message)) for index, message in enumerate(messages)])
    assert [words.table.read(index).message for index in range(4)] == messages


def test_poll_returns_the_last_value_met_or_not(words: Words) -> None:
    words.bar.write32(words.data, 0xFF00)
    assert words.bar.poll(words.data, 4, 0xF000, 0xF000, 1.0) == 0xFF00
    assert words.bar.poll(words.data, 4, 0xF, 0xF, 0.01) == 0xFF00


@pytest.mark.parametrize("width", [16, 32, 64])
def test_an_unaligned_access_is_refused(words: Words, width: int) -> None:
    with pytest.raises(UsageError, match=f"multiple of {width // 8}"):
        getattr(words.bar, f"read{width}")(words.low + 1)
    with pytest.raises(UsageError, match=f"multiple of {width // 8}"):
        getattr(words.bar, f"write{width}")(words.low + 1, 0)


@pytest.mark.parametrize("width", [8, 16, 32, 64])
def test_an_access_outside_the_bar_is_refused(words: Words, width: int) -> None:
    bar = words.bar
    for offset in (bar.size, -(width // 8), 1 << 40):
        with pytest.raises(UsageError) as caught:
            getattr(bar, f"read{width}")(offset)
        assert bar.port.name in str(caught.value)
        with pytest.raises(UsageError):
            getattr(bar, f"write{width}")(offset, 0)


@pytest.mark.parametrize(("width", "value"), [(8, 256), (16, 1 << 16), (32, 1 << 32), (64, 1 << 64), (32, -1)])
def test_a_value_too_wide_is_refused(words: Words, width: int, value: int) -> None:
    words.bar.write32(words.data, PATTERN)
    with pytest.raises(UsageError, match=r"bits|bytes?\b"):
        getattr(words.bar, f"write{width}")(words.low, value)
    assert words.bar.read32(words.data) == PATTERN


def test_a_bar_that_is_not_there_is_refused(vfio_device: Device) -> None:
    vfio_device.config.memory = True
    with pytest.raises(UsageError, match="a BAR must be 0 to 5, not 6"):
        vfio_device.bar(6)
    with pytest.raises(UsageError, match=r"no such BAR; it has 0"):
        vfio_device.bar(5)


def test_a_bar_is_one_object(vfio_device: Device) -> None:
    vfio_device.config.memory = True
    assert vfio_device.bar(0) is vfio_device.bar(0)
    assert f"{vfio_device.bar(0).size:#x}" in repr(vfio_device.bar(0))


# --- nothing of ours writes the MSI-X table ---------------------------------------------------------------------------


@pytest.mark.parametrize("width", [8, 16, 32, 64])
def test_the_msix_table_is_never_written(msix_place: tuple[Bar, int, int], width: int) -> None:
    bar, start, end = msix_place
    before = bar.read_block(start, (end - start) // 4)
    for offset in (start, start + 8, end - width // 8):
        with pytest.raises(UsageError, match="MSI-X"):
            getattr(bar, f"write{width}")(offset, 0)
    assert bar.read_block(start, (end - start) // 4) == before


def test_no_block_reaches_into_the_msix_table(msix_place: tuple[Bar, int, int]) -> None:
    bar, start, end = msix_place
    for offset in (start - 8, start, end - 8):
        with pytest.raises(UsageError, match="MSI-X"):
            bar.write_block(offset, bytes(16))
    with pytest.raises(UsageError, match="MSI-X"):
        bar.write_table(start, 16, array("I", [1]), [(0, 0)], array("I", [0]))


def test_the_bytes_beside_the_msix_table_are_not_its(msix_place: tuple[Bar, int, int]) -> None:
    bar, start, end = msix_place
    bar.read32(start - 4), bar.read32(end)


def test_the_msix_table_shows_the_kernels_messages(msix_place: tuple[Bar, int, int], vfio_device: Device) -> None:
    bar, start, _ = msix_place
    with vfio_device.interrupts.open_msix(0):
        message = vfio_device.interrupts.msix.message(0)
        assert message.address == bar.read32(start) | bar.read32(start + 4) << 32
        assert message.address != 0
