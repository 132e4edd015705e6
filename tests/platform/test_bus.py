# SPDX-License-Identifier: Apache-2.0
"""What leaves a function: messages, DMA, standard interrupts, and what of it the platform refuses and logs."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest

from vfio_ims.errors import BusFault, DeviceBusy, UsageError
from vfio_ims.native.memory import SharedMemory
from vfio_ims.platform import FaultKind, Function, IoAddressSpace, Platform
from vfio_ims.platform.irqs import Irqs
from vfio_ims.ports.values import IrqIndex, IrqSet

PAGE = 4096
ATTACH = IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER


@pytest.fixture
def memory() -> Iterator[SharedMemory]:
    with SharedMemory(4 * PAGE) as shared:
        yield shared


@pytest.fixture
def function(memory: SharedMemory) -> Function:
    function = Platform().add(0x6A01)
    function.space = IoAddressSpace()
    function.space.map(0x10000, memory.address, PAGE)
    function.bus_master = True
    return function


def last(function: Function) -> str:
    fault = function.platform.faults.last
    assert fault is not None
    return str(fault)


def test_a_slot_may_point_at_memory(function: Function, memory: SharedMemory) -> None:
    function.write(0x10008, (0xCAFE).to_bytes(4, "little"))
    assert bytes(memory.view[:16]) == bytes(8) + b"\xfe\xca\0\0" + bytes(4)
    assert function.read(0x10008, 4) == b"\xfe\xca\0\0"


@pytest.mark.parametrize(
    ("address", "data", "pasid", "why"),
    [
        (0xFEE00318, b"12345678", None, "4 aligned bytes"),
        (0xFEE00318, b"12", None, "4 aligned bytes"),
        (0xFEE0031A, b"1234", None, "4 aligned bytes"),
        (0xFEE00318, b"1234", 5, "PASID"),
    ],
)
def test_what_is_no_message(function: Function, address: int, data: bytes, pasid: int | None, why: str) -> None:
    function.write(address, data, pasid)
    assert why in last(function)
    assert last(function).startswith("6a:00.1")


def test_a_message_that_nobody_has_is_logged_whole(function: Function) -> None:
    function.write(0xFEE00318, (0x4021).to_bytes(4, "little"))
    fault = function.platform.faults.last
    assert fault is not None
    seen = (fault.kind, fault.requester, fault.address, fault.size, fault.data)
    assert seen == (FaultKind.MESSAGE, 0x6A01, 0xFEE00318, 4, 0x4021)


def test_reads_of_the_interrupt_range_fault(function: Function) -> None:
    with pytest.raises(BusFault):
        function.read(0xFEE00000, 4)


def test_dma_faults_are_raised_and_logged(function: Function) -> None:
    faults = function.platform.faults
    with pytest.raises(BusFault, match="no mapping"):
        function.write(0x20000, b"1234")
    with pytest.raises(BusFault, match="no mapping"):
        function.read(0x20000, 4)
    with pytest.raises(BusFault, match="no mapping"):
        function.views(0x10000, 2 * PAGE, write=True)
    assert faults.counts == {FaultKind.DMA_WRITE: 2, FaultKind.DMA_READ: 1}
    assert "0x20000 (4 bytes)" in str(faults)
    faults.clear()
    assert str(faults) == "no faults"


def test_nothing_leaves_while_bus_mastering_is_off(function: Function) -> None:
    function.bus_master = False
    function.write(0xFEE00318, b"1234")
    assert "bus mastering is off" in last(function)
    with pytest.raises(BusFault, match="bus mastering is off"):
        function.read(0x10000, 4)


def test_pasids_have_their_own_memory(function: Function, memory: SharedMemory) -> None:
    own = IoAddressSpace()
    own.map(0x10000, memory.address + PAGE, PAGE)
    function.pasids[5] = own
    function.write(0x10000, b"plain")
    function.write(0x10000, b"tagged", 5)
    assert bytes(memory.view[:5]) == b"plain"
    assert bytes(memory.view[PAGE : PAGE + 6]) == b"tagged"
    with pytest.raises(BusFault, match="PASID 6 is not attached"):
        function.read(0x10000, 1, 6)
    assert "PASID 6" in last(function)


def test_without_an_address_space(memory: SharedMemory) -> None:
    function = Platform().add()
    function.bus_master = True
    with pytest.raises(BusFault, match="no address space"):
        function.read(0x10000, 1)


def test_the_log_is_bounded_but_counts_all(function: Function) -> None:
    for _ in range(1000):
        function.write(0xFEE00010, b"\0\0\0\0")
    assert len(function.platform.faults) == 256
    assert function.platform.faults.total == 1000


def test_requester_ids_are_unique() -> None:
    platform = Platform()
    first = platform.add(0x0100)
    with pytest.raises(DeviceBusy):
        platform.add(0x0100)
    with pytest.raises(UsageError):
        platform.add(1 << 16)
    platform.remove(first)
    platform.add(0x0100)
    assert len({platform.add().requester for _ in range(10)}) == 10


def test_a_removed_function_reaches_nothing(function: Function) -> None:
    function.platform.remove(function)
    with pytest.raises(BusFault):
        function.read(0x10000, 1)
    function.interrupt(IrqIndex.MSIX, 0)


def test_standard_interrupts(function: Function, fds: list[int]) -> None:
    platform = function.platform
    counts = {IrqIndex.MSIX: 4, IrqIndex.REQ: 1}
    irqs = function.irqs = Irqs("x", function.requester, counts, platform.controller, platform.lock, platform.signal)
    function.interrupt(IrqIndex.MSIX, 1)
    irqs.set(IrqIndex.MSIX, ATTACH, 0, 2, [fds[0], -1])
    function.interrupt(IrqIndex.MSIX, 0)
    function.interrupt(IrqIndex.MSIX, 3)
    function.interrupt(IrqIndex.MSIX, 99)
    assert os.eventfd_read(fds[0]) == 1
    assert irqs.table.pending == {3}
    irqs.set(IrqIndex.MSIX, ATTACH, 3, 1, fds[1:2])
    assert os.eventfd_read(fds[1]) == 1, "what pended is delivered when a listener comes"
    function.bus_master = False
    function.interrupt(IrqIndex.MSIX, 0)
    with pytest.raises(BlockingIOError):
        os.eventfd_read(fds[0])
    irqs.set(IrqIndex.REQ, ATTACH, 0, 1, fds[2:3])
    function.interrupt(IrqIndex.REQ, 0)
    assert os.eventfd_read(fds[2]) == 1
    irqs.close()


def test_fires_while_vectors_come_and_go(function: Function, fds: list[int]) -> None:
    """Another descriptor must never be signalled: a vector's is closed only between deliveries."""
    platform = function.platform
    irqs = function.irqs = Irqs(
        "x", function.requester, {IrqIndex.MSIX: 1}, platform.controller, platform.lock, platform.signal
    )
    irqs.set(IrqIndex.MSIX, ATTACH, 0, 1, fds[:1])
    message = irqs.msix.message(0)
    assert message is not None
    stop = threading.Event()

    def fire() -> None:
        while not stop.is_set():
            function.write(message.address, message.data.to_bytes(4, "little"))

    thread = threading.Thread(target=fire)
    thread.start()
    for _ in range(60):
        irqs.set(IrqIndex.MSIX, ATTACH, 0, 1, [-1])
        bystander = os.eventfd(0, os.EFD_NONBLOCK)
        irqs.set(IrqIndex.MSIX, ATTACH, 0, 1, fds[:1])
        with pytest.raises(BlockingIOError):
            os.eventfd_read(bystander)
        os.close(bystander)
    stop.set()
    thread.join()
    irqs.close()
