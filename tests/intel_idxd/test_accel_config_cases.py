# SPDX-License-Identifier: Apache-2.0
"""accel-config's cases, ``test``: sizes of batches, page faults, shared and dedicated queues."""

from __future__ import annotations

import pytest

from tests.intel_idxd.memory import PAGE, arena
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.configuration import Configuration
from vfio_ims.drivers.intel_idxd.driver.operations import Request
from vfio_ims.drivers.intel_idxd.hardware.descriptors import DsaOpcode, Flag
from vfio_ims.drivers.intel_idxd.hardware.status import Status

NOWHERE = 0x7000_0000


@pytest.mark.parametrize("count", [2, 3, 16, 127, 128, 1023, 1024])
def test_batch_sizes(dsa: Dsa, count: int) -> None:
    memory = arena(dsa, 2 * PAGE)
    with dsa.wq(0, "ims") as wq, wq.batch() as batch:
        for n in range(count):
            batch.fill(memory.at(8 * n % PAGE), n.to_bytes(8, "little"), 8)
    assert [completion.status for completion in batch.completions] == [Status.SUCCESS] * count
    assert memory.take(8 * (count - 1) % PAGE, 8) == (count - 1).to_bytes(8, "little")


@pytest.fixture
def blocking(dsa: Dsa) -> Dsa:
    dsa.configure(Configuration.even(dsa.capabilities).with_queue(0, block_on_fault=True))
    return dsa


@pytest.mark.parametrize("opcode", [DsaOpcode.MEMMOVE, DsaOpcode.COMPARE, DsaOpcode.CRC, DsaOpcode.DIF_CHECK])
def test_page_fault_block(blocking: Dsa, opcode: DsaOpcode) -> None:
    """The page request is answered with an error: nothing here could bring the page."""
    size, specific = (520, b"\0\0\0") if opcode == DsaOpcode.DIF_CHECK else (64, b"")
    with blocking.wq(0) as wq:
        request = Request(opcode, Flag.BLOCK_ON_FAULT, NOWHERE, 0, size, specific=specific)
        if opcode in (DsaOpcode.MEMMOVE, DsaOpcode.COMPARE):
            request = request._replace(destination=blocking.device.dma.allocate(PAGE).iova)
        found = wq.start(request).wait(check=False)
        assert (found.status, found.fault) == (Status.PAGE_REQUEST, NOWHERE)
        assert wq.nop().ok


def test_page_fault_no_block(dsa: Dsa) -> None:
    """In a batch too, where the others go on."""
    memory = arena(dsa)
    with dsa.wq(0) as wq:
        batch = wq.batch()
        batch.memmove(memory.at(0), NOWHERE, 64)
        batch.memmove(NOWHERE, memory.at(0), 64)
        batch.fill(memory.at(0), b"\7", 64)
        found = batch.run().wait(check=False)
        assert [one.status for one in found] == [Status.PAGE_FAULT, Status.PAGE_FAULT, Status.SUCCESS]
        assert [one.fault_was_write for one in found] == [False, True, False]
    assert memory.take(0, 64) == b"\7" * 64


@pytest.mark.parametrize("completion", ["poll", "ims", "msix"])
def test_shared_and_dedicated(dsa: Dsa, completion: str) -> None:
    dsa.configure(Configuration.even(dsa.capabilities).with_queue(1, dedicated=False, threshold=8))
    memory = arena(dsa, 8 * PAGE)
    expected = bytes(memory.fresh(1)[:PAGE])
    with dsa.wq(0, completion) as dedicated, dsa.wq(1, completion) as shared:
        operations = [
            wq.submit.memmove(memory.at(PAGE * (1 + n)), memory.at(0), PAGE)
            for n, wq in enumerate((dedicated, shared) * 3)
        ]
        assert all(operation.wait().ok for operation in operations)
    assert memory.take(PAGE, 6 * PAGE) == expected * 6
