# SPDX-License-Identifier: Apache-2.0
"""What every kind of host does with messages, and what only one of them does."""

from __future__ import annotations

import pytest

from tests.platform.hosts import DISABLE, add, attach, count, send
from vfio_ims.backends.software.space import SoftwareAddressSpace
from vfio_ims.dma.allocator import IovaAllocator
from vfio_ims.errors import DeviceBusy, UsageError
from vfio_ims.messages import Format, Message
from vfio_ims.platform import KINDS, Platform
from vfio_ims.ports.values import IrqIndex

ALL = tuple(KINDS)
ISOLATING = tuple(name for name in KINDS if Platform(kind=name).remapping)
BLOCKS = tuple(name for name in ALL if name not in ("vtd-shv0", "compatibility"))
SHARED_ADDRESS = tuple(name for name in BLOCKS if name != "vtd")
"""Where MSI-X vectors' messages differ in their data only."""


# --- every kind -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ALL)
def test_copied_messages_arrive_each_on_its_own_vector(kind: str, fds: list[int]) -> None:
    platform = Platform(kind=kind)
    function = add(platform)
    messages = attach(function, 0, fds[:4])
    assert len(set(messages)) == 4
    for message, fd in zip(messages, fds, strict=False):
        send(function, message)
        assert [count(one) for one in fds] == [int(one == fd) for one in fds]
    assert platform.faults.total == 0
    assert platform.delivered == 4


@pytest.mark.parametrize("kind", ALL)
def test_messages_lie_in_the_window_that_is_no_memory_and_are_named_by_the_platform(kind: str, fds: list[int]) -> None:
    platform = Platform(kind=kind)
    (message,) = attach(add(platform), 0, fds[:1])
    assert platform.messages.takes(message.address)
    assert platform.interrupt_window.holds(message.address, 4)
    known = platform.messages.of_entry(message)
    assert known.format is platform.messages.format
    assert known.format not in (None, Format.MEMORY, Format.NONE, Format.X86)
    assert platform.messages.of_entry(Message(0x12_3450_0040, 1)).format is Format.MEMORY


@pytest.mark.parametrize("kind", ALL)
def test_a_detached_vector_is_reached_by_nothing_and_the_log_says_so(kind: str, fds: list[int]) -> None:
    platform = Platform(kind=kind)
    function = add(platform)
    (message,) = attach(function, 0, fds[:1])
    attach(function, 0, [-1])
    send(function, message)
    assert count(fds[0]) == 0
    (fault,) = platform.faults
    assert (fault.requester, fault.address, fault.data) == (function.requester, message.address, message.data)
    assert fault.why


@pytest.mark.parametrize("kind", ISOLATING)
def test_no_function_reaches_the_vectors_of_another(kind: str, fds: list[int]) -> None:
    platform = Platform(kind=kind)
    owner, thief = add(platform), add(platform)
    messages = attach(owner, 0, fds[:4])
    for message in messages:
        send(thief, message)
    assert [count(fd) for fd in fds[:4]] == [0, 0, 0, 0]
    assert {fault.requester for fault in platform.faults} == {thief.requester}
    assert platform.faults.total == 4


@pytest.mark.parametrize("kind", ALL)
def test_a_moved_vector_keeps_its_message_where_the_platform_says_so(kind: str, fds: list[int]) -> None:
    platform = Platform(kind=kind)
    function = add(platform)
    (message,) = attach(function, 0, fds[:1])
    moved = platform.set_affinity(function, 0, 3)
    assert moved is not None
    assert (moved != message) is platform.messages.moves
    send(function, moved)
    assert count(fds[0]) == 1


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_block_of_msi_vectors_has_one_address_and_consecutive_data(kind: str, fds: list[int]) -> None:
    platform = Platform(kind=kind)
    attach(add(platform), 0, fds[:1])
    function = add(platform)
    messages = attach(function, 0, fds[1:5], IrqIndex.MSI)
    assert len({message.address for message in messages}) == 1
    assert [message.data - messages[0].data for message in messages] == [0, 1, 2, 3]
    assert messages[0].data % 4 == 0, "the function itself sends the low bits"
    function.interrupt(IrqIndex.MSI, 2)
    assert [count(fd) for fd in fds] == [0, 0, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("kind", [name for name in ALL if name not in BLOCKS])
def test_elsewhere_a_function_has_one_msi_vector(kind: str, fds: list[int]) -> None:
    function = add(Platform(kind=kind))
    with pytest.raises(DeviceBusy, match="one MSI vector"):
        attach(function, 0, fds[:2], IrqIndex.MSI)
    assert len(attach(function, 0, fds[:1], IrqIndex.MSI)) == 1


@pytest.mark.parametrize("kind", ALL)
def test_which_messages_of_msix_share_an_address(kind: str, fds: list[int]) -> None:
    messages = attach(add(Platform(kind=kind)), 0, fds[:4])
    assert len({message.address for message in messages}) == (1 if kind in SHARED_ADDRESS else 4)


@pytest.mark.parametrize("kind", ALL)
def test_what_is_given_back_is_handed_out_again(kind: str, fds: list[int]) -> None:
    platform = Platform(kind=kind)
    function = add(platform)
    before = attach(function, 0, fds[:4])
    assert function.irqs is not None
    function.irqs.set(IrqIndex.MSIX, DISABLE, 0, 0)
    assert attach(function, 0, fds[4:8]) == before
    send(function, before[1])
    assert [count(fd) for fd in fds] == [0, 0, 0, 0, 0, 1, 0, 0]


@pytest.mark.parametrize("kind", [name for name in ALL if name != "compatibility"])
def test_a_full_table_is_said_and_nothing_is_lost_by_that(kind: str, fds: list[int]) -> None:
    function = add(Platform(kind=kind, entries=4))
    with pytest.raises(DeviceBusy, match=r"of 4 .* are in use"):
        attach(function, 0, fds[:5])
    assert len(attach(function, 0, fds[:4])) == 4


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize(("data", "pasid"), [(b"12", None), (b"12345678", None), (b"1234", 7)])
def test_only_four_bytes_without_pasid_are_a_message(kind: str, data: bytes, pasid: int | None, fds: list[int]) -> None:
    platform = Platform(kind=kind)
    function = add(platform)
    (message,) = attach(function, 0, fds[:1])
    function.write(message.address, data, pasid)
    assert count(fds[0]) == 0
    (fault,) = platform.faults
    assert ("PASID" in fault.why) is (pasid is not None)


@pytest.mark.parametrize("kind", ALL)
def test_no_iova_of_the_window_is_ever_handed_out(kind: str) -> None:
    platform = Platform(kind=kind)
    window = platform.interrupt_window
    with SoftwareAddressSpace(platform) as space:
        allocator = IovaAllocator(space.ranges(), 4096)
        with pytest.raises(UsageError, match="outside the ranges that the IOMMU allows"):
            allocator.reserve(window.start, 4096)
        # All that lies below it is taken: the next that is handed out lies above.
        below = [one for one in space.ranges() if one.last < window.start]
        for one in below:
            allocator.reserve(max(one.start, 4096), one.last + 1 - max(one.start, 4096))
        assert allocator.allocate(4096) == window.last + 1
        with pytest.raises(UsageError, match="outside of what the IOMMU allows"):
            space.map(window.start, 0x7F00_0000_0000, 4096)


def test_kinds_are_named_and_remapping_can_be_off_where_it_can_be_on() -> None:
    assert Platform(kind="amd", remapping=False).kind.name == "compatibility"
    with pytest.raises(UsageError, match="vtd-shv0"):
        Platform(kind="vtd-shv1")


# --- AMD-Vi -----------------------------------------------------------------------------------------------------------


def test_an_amd_index_means_something_for_its_sender_only(fds: list[int]) -> None:
    """Copied to another function, a message raises that one's own vector of the same index."""
    platform = Platform(kind="amd")
    owner, other = add(platform), add(platform)
    (message,), (same,) = attach(owner, 0, fds[:1]), attach(other, 0, fds[1:2])
    assert message == same == Message(0xFEE0_0000, 0)
    send(other, message)
    assert [count(fd) for fd in fds[:2]] == [0, 1]
    send(other, Message(0xFEE0_0000, 1))
    assert str(platform.faults.last) == (
        "00:02.0: interrupt message 0xfee00000/0x1 refused: index 1 of 00:02.0's interrupt table is not enabled"
    )


def test_an_amd_table_of_2048_entries_says_so_in_the_address(fds: list[int]) -> None:
    platform = Platform(kind="amd", entries=2048)
    function = add(platform, vectors=1024)
    messages = attach(function, 0, [fds[0]] * 1023 + [fds[1]])
    assert {message.address for message in messages} == {0xFEE0_0004}
    send(function, messages[1023])
    assert count(fds[1]) == 1
    narrow = add(Platform(kind="amd"))
    send(narrow, Message(0xFEE0_0000, 0x621))
    assert "another delivery than fixed" in str(narrow.platform.faults.last)


# --- VT-d -------------------------------------------------------------------------------------------------------------


def test_without_subhandles_the_data_is_no_part_of_the_entry(fds: list[int]) -> None:
    platform = Platform(kind="vtd-shv0")
    function = add(platform)
    first, _ = attach(function, 0, fds[:2])
    assert (first.handle, first.data) == (0, 0)
    send(function, Message(first.address, 1))
    assert [count(fd) for fd in fds[:2]] == [1, 0]
    with_them = Platform(kind="vtd")
    function = add(with_them)
    first, _ = attach(function, 0, fds[:2])
    send(function, Message(first.address, 1))
    assert [count(fd) for fd in fds[:2]] == [0, 1]


# --- Arm --------------------------------------------------------------------------------------------------------------


def test_behind_an_smmu_the_message_is_an_address_in_the_reserved_window(fds: list[int]) -> None:
    """As seen on a real kernel: 0x8000040 behind SMMUv3, 0x8090040 behind virtio-iommu."""
    behind, bare = Platform(kind="its-smmu"), Platform(kind="its")
    assert attach(add(behind), 0, fds[:2]) == [Message(0x800_0040, 0), Message(0x800_0040, 1)]
    assert attach(add(bare), 0, fds[2:4]) == [Message(0x809_0040, 0), Message(0x809_0040, 1)]


def test_an_event_means_something_for_its_device_only(fds: list[int]) -> None:
    platform = Platform(kind="its")
    owner, other = add(platform), add(platform)
    (message,), (same,) = attach(owner, 0, fds[:1]), attach(other, 0, fds[1:2])
    assert message == same
    send(other, message)
    assert [count(fd) for fd in fds[:2]] == [0, 1]
    send(other, Message(message.address, 1))
    assert "event 1 of device 00:02.0 is not mapped" in str(platform.faults.last)
    send(other, Message(message.address + 4, 0))
    assert "doorbell at 0x8090040, and nothing at 0x8090044" in str(platform.faults.last)


def test_the_smmu_maps_the_doorbells_page_alone_and_for_those_that_have_vectors(fds: list[int]) -> None:
    platform = Platform(kind="its-smmu")
    owner, other = add(platform), add(platform)
    (message,) = attach(owner, 0, fds[:1])
    send(other, message)
    send(owner, Message(0x800_1040, 0))
    faults = [str(fault) for fault in platform.faults]
    assert "maps nothing at 0x8000040 for 00:02.0 (F_TRANSLATION)" in faults[0]
    assert "maps nothing at 0x8001040 for 00:01.0" in faults[1]
    assert count(fds[0]) == 0


def test_a_gicv2m_frame_takes_any_functions_message(fds: list[int]) -> None:
    platform = Platform(kind="gicv2m")
    owner, other = add(platform), add(platform)
    (first,), (second,) = attach(owner, 0, fds[:1]), attach(other, 0, fds[1:2])
    assert (first, second) == (Message(0x802_0040, 80), Message(0x802_0040, 81))
    send(other, first)
    assert [count(fd) for fd in fds[:2]] == [1, 0]
    assert platform.interrupt_remapping().answer is False
    send(other, Message(0x802_0040, 79))
    assert "SPI 79 is none of the frame's 80 to 143" in str(platform.faults.last)


def test_a_gicv2m_hosts_vectors_are_all_taken_up_front(fds: list[int]) -> None:
    """Linux 7.3 cannot add MSI-X vectors there one at a time."""
    assert Platform(kind="its").dynamic_msix
    assert not Platform(kind="gicv2m").dynamic_msix


def test_x86s_interrupt_addresses_are_memory_on_arm() -> None:
    with SoftwareAddressSpace(Platform(kind="its")) as space:
        assert any(one.holds(0xFEE0_0000, 4096) for one in space.ranges())
