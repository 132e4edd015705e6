# SPDX-License-Identifier: Apache-2.0
"""Handles: who owns them, when they are handed out again, and what happens without remapping."""

from __future__ import annotations

import errno
import struct

import pytest

from tests.platform.hosts import ATTACH, DISABLE, add, attach, count, send
from vfio_ims.errors import DeviceBusy
from vfio_ims.messages import Message
from vfio_ims.platform import Platform
from vfio_ims.ports.values import IrqIndex


def test_a_copied_message_arrives_on_its_donor(fds: list[int]) -> None:
    platform = Platform()
    function = add(platform)
    messages = attach(function, 0, fds[:3])
    assert len({str(message) for message in messages}) == 3
    assert all(message.handle is not None for message in messages)
    send(function, messages[1])
    assert [count(fd) for fd in fds[:3]] == [0, 1, 0]
    assert platform.faults.total == 0


def test_another_functions_message_is_refused(fds: list[int]) -> None:
    platform = Platform()
    owner, thief = add(platform), add(platform)
    (message,) = attach(owner, 0, fds[:1])
    send(thief, message)
    assert count(fds[0]) == 0
    fault = platform.faults.last
    assert fault is not None
    assert fault.requester == thief.requester
    assert "belongs to requester" in str(fault)


def test_detaching_keeps_the_handle_and_reattaching_revives_the_copy(fds: list[int]) -> None:
    platform = Platform()
    function = add(platform)
    (message,) = attach(function, 0, fds[:1])
    attach(function, 0, [-1])
    send(function, message)
    assert count(fds[0]) == 0
    assert platform.faults.last is not None
    assert "not present" in platform.faults.last.why
    assert attach(function, 0, fds[1:2]) == [message]
    send(function, message)
    assert [count(fd) for fd in fds[:2]] == [0, 1]


def test_after_disabling_all_the_handles_are_handed_out_again(fds: list[int]) -> None:
    """The hazard: a slot that was not quiesced raises an interrupt of the present owner of the handle."""
    platform = Platform()
    first, second = add(platform), add(platform)
    (message,) = attach(first, 0, fds[:1])
    assert first.irqs is not None
    first.irqs.set(IrqIndex.MSIX, DISABLE, 0, 0)
    assert attach(second, 0, fds[1:2]) == [message]
    send(first, message)
    assert count(fds[1]) == 0, "a foreign function is refused"
    send(second, message)
    assert count(fds[1]) == 1
    assert second.irqs is not None
    second.irqs.set(IrqIndex.MSIX, DISABLE, 0, 0)
    stale = message
    (fresh, other) = attach(first, 0, fds[2:4])
    assert fresh == stale
    send(first, stale)
    assert [count(fd) for fd in fds[:4]] == [0, 0, 1, 0], "its own function's new vector fires for the stale slot"
    assert other != stale


def test_an_affinity_change_leaves_the_message_alone(fds: list[int]) -> None:
    platform = Platform()
    function = add(platform)
    (message,) = attach(function, 0, fds[:1])
    assert platform.set_affinity(function, 0, 3) == message
    send(function, message)
    assert count(fds[0]) == 1


def test_the_table_runs_out_and_nothing_is_lost_by_that(fds: list[int]) -> None:
    platform = Platform(entries=4)
    first, second = add(platform), add(platform)
    attach(first, 0, fds[:3])
    with pytest.raises(DeviceBusy, match="3 of 4 interrupt-remapping entries") as caught:
        attach(second, 0, fds[3:5])
    assert caught.value.errno == errno.ENOSPC
    assert len(attach(second, 0, fds[3:4])) == 1
    assert second.irqs is not None
    second.irqs.close()
    first.irqs.close()  # type: ignore[union-attr]
    assert len(attach(second, 0, fds[:4])) == 4


def test_multiple_msi_takes_an_aligned_block_and_differs_by_data(fds: list[int]) -> None:
    platform = Platform()
    other, function = add(platform), add(platform)
    attach(other, 0, fds[:1])
    irqs = function.irqs
    assert irqs is not None
    irqs.set(IrqIndex.MSI, ATTACH, 0, 3, fds[1:4])
    messages = [irqs.msi.message(index) for index in range(3)]
    assert [message.data for message in messages if message] == [0, 1, 2]
    assert len({message.address for message in messages if message}) == 1
    assert messages[0] is not None
    assert messages[0].handle is not None
    assert messages[0].handle % 4 == 0
    function.interrupt(IrqIndex.MSI, 2)
    assert [count(fd) for fd in fds[:4]] == [0, 0, 0, 1]


def test_compatibility_format_is_blocked_while_remapping_is_on(fds: list[int]) -> None:
    platform = Platform()
    function = add(platform)
    send(function, Message.compatibility(0, 0x21))
    assert platform.faults.last is not None
    assert "compatibility format" in platform.faults.last.why


# --- without remapping ------------------------------------------------------------------------------------------------


def test_without_remapping_a_moved_vector_leaves_its_copies_stale(fds: list[int]) -> None:
    platform = Platform(remapping=False)
    function = add(platform)
    (old,) = attach(function, 0, fds[:1])
    assert old.handle is None
    new = platform.set_affinity(function, 0, 3)
    assert new is not None
    assert new != old
    assert function.irqs is not None
    assert Message(*struct.unpack_from("<QI", function.irqs.table.data)) == new
    send(function, old)
    assert count(fds[0]) == 0
    assert platform.faults.last is not None
    assert platform.faults.last.why.startswith("no irq handler for vector")
    send(function, new)
    assert count(fds[0]) == 1


def test_without_remapping_a_stale_message_reaches_the_new_owner_of_the_cpu_vector(fds: list[int]) -> None:
    platform = Platform(remapping=False, cpus=2)
    first, second = add(platform), add(platform)
    (stale,) = attach(first, 0, fds[:1])
    platform.set_affinity(first, 0, 1)
    (taken,) = attach(second, 0, fds[1:2])
    assert taken == stale
    send(first, stale)
    assert [count(fd) for fd in fds[:2]] == [0, 1]


def test_the_old_cpu_vector_lives_until_a_message_reaches_the_new_one(fds: list[int]) -> None:
    platform = Platform(remapping=False)
    function = add(platform)
    (old,) = attach(function, 0, fds[:1])
    new = platform.set_affinity(function, 0, 1, settle=False)
    assert new is not None
    send(function, old)
    assert count(fds[0]) == 1
    send(function, new)
    assert count(fds[0]) == 1
    send(function, old)
    assert count(fds[0]) == 0


def test_without_remapping_there_is_one_msi_vector(fds: list[int]) -> None:
    function = add(Platform(remapping=False))
    assert function.irqs is not None
    with pytest.raises(DeviceBusy, match="one MSI vector"):
        function.irqs.set(IrqIndex.MSI, ATTACH, 0, 2, fds[:2])
    function.irqs.set(IrqIndex.MSI, ATTACH, 0, 1, fds[:1])


def test_cpu_vectors_run_out(fds: list[int]) -> None:
    platform = Platform(remapping=False, cpus=1)
    function = add(platform, vectors=2048)
    with pytest.raises(DeviceBusy) as caught:
        attach(function, 0, [fds[0]] * 300)
    assert caught.value.errno == errno.ENOSPC
    assert len(attach(function, 0, fds[:2])) == 2


def test_what_the_platform_says_of_itself() -> None:
    assert Platform().interrupt_remapping().answer is True
    assert Platform(remapping=False).interrupt_remapping().answer is False
