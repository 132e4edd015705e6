# SPDX-License-Identifier: Apache-2.0
"""Messages: what they mean, what a table can hold of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vfio_ims.errors import UsageError
from vfio_ims.ims.polled import PolledWord
from vfio_ims.messages import INTERRUPT_RANGE, Format, Message, MessageLimits, MessagePlatform, Slot


def test_the_message_seen_on_a_real_kernel_decodes_to_its_handle() -> None:
    message = Message(0xFEE00318, 0)  # reference: read by mmap from a stock kernel's MSI-X table
    assert (message.format, message.handle) == (Format.VTD, 24)
    assert str(message) == "0xfee00318/0x0 (VT-d handle 24)"


@given(st.integers(0, 0xFFFF))
def test_a_handle_survives_its_message(handle: int) -> None:
    assert Message.remappable(handle).handle == handle


@given(st.integers(0, 255), st.integers(0, 255))
def test_a_compatibility_message_names_destination_and_vector(destination: int, vector: int) -> None:
    message = Message.compatibility(destination, vector)
    assert message.format is Format.X86
    assert message.handle is None
    assert f"APIC {destination} vector {vector:#x}" in str(message)


def test_an_its_doorbell_and_plain_memory_are_distinguished() -> None:
    assert Message(0x8090040, 5).meaning == "GICv3 ITS event 5"
    assert Message(0x1234_5000, 1).meaning == "memory"
    assert not Message(0, 0)


SMMU_WINDOW = range(0x800_0000, 0x810_0000)


@pytest.mark.parametrize(
    ("form", "windows", "message", "meaning"),
    [
        (Format.AMD, (INTERRUPT_RANGE,), Message(0xFEE0_0000, 0x2B), "AMD-Vi index 43"),
        (
            Format.COMPATIBILITY,
            (INTERRUPT_RANGE,),
            Message(0xFEE0_1000, 0x2B),
            "compatibility format, APIC 1 vector 0x2b",
        ),
        (Format.VTD, (INTERRUPT_RANGE,), Message(0xFEE0_0310, 0), "VT-d handle 24"),
        (Format.ITS, (SMMU_WINDOW,), Message(0x800_0040, 5), "GICv3 ITS event 5"),
        (Format.ITS, (SMMU_WINDOW,), Message(0xFEE0_0000, 5), "memory"),
        (Format.ITS, (), Message(0x809_0040, 5), "GICv3 ITS event 5"),
        (Format.GICV2M, (), Message(0x802_0040, 80), "GICv2m SPI 80"),
        (None, (INTERRUPT_RANGE,), Message(0xFEE0_0000, 0x2B), "APIC 0 vector 0x2b, or AMD index 0x2b"),
        (Format.AMD, (INTERRUPT_RANGE,), Message(0, 0), "no message"),
    ],
)
def test_the_platform_says_what_a_message_is(
    form: Format | None, windows: tuple[range, ...], message: Message, meaning: str
) -> None:
    known = MessagePlatform(form, windows).of_entry(message)
    assert known.meaning == meaning
    assert known == message, "an address/data pair is the same whatever it is called"
    assert hash(known) == hash(message)


def test_a_vectors_message_is_an_interrupt_wherever_it_points() -> None:
    """Where Linux gives a doorbell an I/O address that looks like memory, and nobody told of a window."""
    assert MessagePlatform(Format.ITS).of_vector(Message(0x1234_5000, 3)).meaning == "GICv3 ITS event 3"


@pytest.mark.parametrize(("address", "data"), [(1, 0), (1 << 64, 0), (-4, 0), (0, 1 << 32), (0, -1)])
def test_no_message_outside_its_bits(address: int, data: int) -> None:
    with pytest.raises(UsageError, match="must be"):
        Message(address, data)


def test_limits_say_why_a_message_does_not_fit() -> None:
    message = Message(0xFEE00318, 0x12345)
    assert MessageLimits().refusal(message) is None
    assert "16 bits of data" in (MessageLimits(data_bits=16).refusal(message) or "")
    twenty = MessageLimits(address_mask=0xFFFFC, address_fixed=0xFEE00000)
    assert twenty.refusal(message) is None
    assert "keep 0xfee00000" in (twenty.refusal(Message(0x1_0000_0000, 0)) or "")
    shared = MessageLimits(one_address=True)
    assert shared.refusal(message, (Message(0xFEE00318, 1),)) is None
    assert "one address for all" in (shared.refusal(message, (Message(0xFEE00338, 0),)) or "")


def test_a_slot_refuses_a_pasid_of_more_than_20_bits() -> None:
    with pytest.raises(UsageError, match="20 bits"):
        Slot(pasid=1 << 20)
    assert str(Slot(Message(0xFEE00318, 0), pasid=7)) == "0xfee00318/0x0 (VT-d handle 24), masked, PASID 7"


def test_a_word_of_our_own_memory_is_memory_wherever_it_lies() -> None:
    """0x40 past 64 KiB looks like an ITS's doorbell."""
    assert Message(0x1_0040, 1).format is Format.ITS
    assert PolledWord(0, 0x1_0040, memoryview(b"")).message.meaning == "memory"
