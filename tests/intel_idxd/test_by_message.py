# SPDX-License-Identifier: Apache-2.0
"""A client that shares no memory files, as a QEMU without share=on: DMA goes by message, and no side waits for it."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator

import pytest

from tests.intel_idxd.memory import PAGE, arena, hole
from vfio_ims.backends.software.device import SoftwareDevice
from vfio_ims.device import Device
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.operation_error import OperationError
from vfio_ims.drivers.intel_idxd.hardware.registers import Bar0
from vfio_ims.drivers.intel_idxd.model import DsaModel
from vfio_ims.platform import Platform
from vfio_ims.vfio_user import Server, SocketLink

MIB = 1 << 20
TIMEOUT = 60.0
"""Seconds that each side gives the other: two that wait for each other are seen by the clock."""


@pytest.fixture
def dsa() -> Iterator[Dsa]:
    model = DsaModel(slots=256)
    with tempfile.TemporaryDirectory() as folder, Server(model, f"{folder}/socket", timeout=TIMEOUT):
        link = SocketLink(f"{folder}/socket", timeout=TIMEOUT, share_memory=False)
        with Dsa.start_on(Device(SoftwareDevice(link, Platform()))) as driver:
            yield driver
    model.close()


@pytest.mark.parametrize("completion", ["poll", "ims", "msix"])
def test_a_mebibyte_is_copied(dsa: Dsa, completion: str) -> None:
    memory = arena(dsa, 2 * MIB)
    with dsa.wq(0, completion) as wq:
        expected = memory.fresh(1)
        began = time.monotonic()
        wq.memmove(memory.at(MIB), memory.at(0), MIB)
        assert time.monotonic() - began < TIMEOUT
        assert memory.take(MIB, MIB) == expected[:MIB]
        expected = memory.fresh(2)
        wq.memmove(memory.at(100), memory.at(0), MIB)  # overlapping, from its end
        assert memory.take(100, MIB) == expected[:MIB]
        wq.fill(memory.at(5), b"\xa5\x5a", MIB)
        assert memory.take(5, MIB) == b"\xa5\x5a" * (MIB // 2)
    assert dsa.status() == ""


def test_registers_are_read_while_the_device_waits_for_memory(dsa: Dsa) -> None:
    """Each side asks the other at once: neither answers only after it was answered."""
    memory, over, slowest, reads = arena(dsa, 2 * MIB), threading.Event(), 0.0, 0

    def copy() -> None:
        try:
            with dsa.wq(0, "poll") as wq:
                for _ in range(3):
                    wq.memmove(memory.at(MIB), memory.at(0), MIB)
        finally:
            over.set()

    expected = memory.fresh(3)
    thread = threading.Thread(target=copy)
    thread.start()
    try:
        while not over.is_set():
            began = time.monotonic()
            assert dsa.device.bar(0).read32(Bar0.VERSION.offset)
            slowest, reads = max(slowest, time.monotonic() - began), reads + 1
    finally:
        thread.join()
    assert memory.take(MIB, MIB) == expected[:MIB]
    assert reads > 1
    assert slowest < TIMEOUT / 2


def test_memory_that_ends_is_a_page_fault_where_it_ends(dsa: Dsa) -> None:
    memory, edge = arena(dsa), hole(dsa)
    with dsa.wq(0, "poll") as wq:
        with pytest.raises(OperationError) as caught:
            wq.memmove(memory.at(0), edge - PAGE, 2 * PAGE)
        assert (caught.value.completion.fault, caught.value.completion.completed) == (edge, PAGE)
        with pytest.raises(OperationError) as caught:
            wq.memmove(edge - PAGE, memory.at(0), 2 * PAGE)
        assert (caught.value.completion.fault, caught.value.completion.completed) == (edge, PAGE)
