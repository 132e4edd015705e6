# SPDX-License-Identifier: Apache-2.0
"""Every status code that a descriptor can bring about, and that the device works on after each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.intel_idxd.conftest import Opener
from tests.intel_idxd.memory import PAGE, Arena, arena, hole
from vfio_ims.drivers.intel_idxd.completion import OperationError
from vfio_ims.drivers.intel_idxd.configuration import Configuration
from vfio_ims.drivers.intel_idxd.descriptors import DsaOpcode, Flag, encode
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.operations import Request
from vfio_ims.drivers.intel_idxd.queue_session import DsaQueue
from vfio_ims.drivers.intel_idxd.status import IaaStatus, Status, status_text
from vfio_ims.native.access import load

NOWHERE = 0x7000_0000
Case = Callable[[DsaQueue, Arena, int], int]


def request(opcode: int, **how: int | bytes) -> Case:
    def run(wq: DsaQueue, memory: Arena, edge: int) -> int:
        places = {key: memory.at(value) if key in ("source", "destination") else value for key, value in how.items()}
        return wq.start(Request(opcode, **places)).wait(check=False).status  # type: ignore[arg-type]

    return run


CASES: dict[Status, Case] = {
    Status.SUCCESS: lambda wq, memory, edge: wq.nop().status,
    Status.FALSE_PREDICATE: lambda wq, memory, edge: wq.compare_pattern(memory.at(0), b"\xff", 8, expect=0).status,
    Status.PAGE_FAULT: lambda wq, memory, edge: wq.submit.fill(edge - 8, 0, 16).wait(check=False).status,
    Status.BATCH_FAILED: lambda wq, memory, edge: batch(wq, memory),
    Status.BATCH_PAGE_FAULT: lambda wq, memory, edge: wq.start(Request(1, 0, NOWHERE, 0, 2)).wait(check=False).status,
    Status.DELTA_ORDER: lambda wq, memory, edge: delta(wq, memory, 5, 5),
    Status.DELTA_OFFSET: lambda wq, memory, edge: delta(wq, memory, 5, 99),
    Status.DIF: lambda wq, memory, edge: wq.submit.dif_check(memory.at(0), 520, 512).wait(check=False).status,
    Status.OPCODE: request(0x7F),
    Status.FLAGS: request(0, flags=1 << 6),
    Status.RESERVED: request(DsaOpcode.FILL, destination=0, size=8, specific=b"\0\1"),
    Status.SIZE: request(DsaOpcode.FILL, destination=0, size=0),
    Status.COUNT: request(DsaOpcode.BATCH, source=0, size=1),
    Status.DELTA_SIZE: request(DsaOpcode.APPLY_DELTA, source=0, destination=PAGE, size=64, specific=b"\x0b"),
    Status.OVERLAP: request(DsaOpcode.COPY_CRC, source=0, destination=8, size=64),
    Status.DUALCAST_ALIGN: lambda wq, memory, edge: (
        wq.submit.dualcast(memory.at(0), memory.at(PAGE + 4), memory.at(64), 4).wait(check=False).status
    ),
    Status.LIST_ALIGN: request(DsaOpcode.BATCH, source=32, size=2),
    Status.ADDRESS_ALIGN: request(DsaOpcode.APPLY_DELTA, source=4, destination=PAGE, size=64, specific=b"\x0a"),
}


def batch(wq: DsaQueue, memory: Arena) -> int:
    memory.put(0, encode(0) + encode(0x7F, Flag.RECORD_VALID, record=memory.at(PAGE)))
    return wq.start(Request(1, 0, memory.at(0), 0, 2)).wait(check=False).status


def delta(wq: DsaQueue, memory: Arena, *offsets: int) -> int:
    memory.put(0, b"".join(offset.to_bytes(2, "little") + bytes(8) for offset in offsets))
    return wq.submit.apply_delta(memory.at(PAGE), memory.at(0), 10 * len(offsets), 128).wait(check=False).status


def test_each_status_and_work_after_it(dsa: Dsa) -> None:
    edge, memory = hole(dsa), arena(dsa)
    with dsa.wq(0) as wq:
        for expected, run in CASES.items():
            memory.put(0, bytes(memory.buffer.size))
            memory.put(0, b"\1")
            assert run(wq, memory, edge) == expected, expected.name
            assert wq.nop().ok


def test_reserved_bits_of_the_first_word(dsa: Dsa) -> None:
    record = dsa.records.take()
    descriptor = bytearray(encode(0, Flag.RECORD_VALID | Flag.RECORD_ALWAYS, record=record.iova))
    descriptor[2] = 0x10
    dsa.device.bar(2).store64(0, bytes(descriptor))
    assert load(record.address, 1) == Status.RESERVED


def test_a_fault_that_blocks_ends_in_a_refused_page_request(dsa: Dsa) -> None:
    dsa.configure(Configuration.even(dsa.capabilities).with_queue(1, block_on_fault=True))
    with dsa.wq(1) as wq:
        found = wq.submit.fill(NOWHERE, 0, 8, flags=Flag.BLOCK_ON_FAULT).wait(check=False)
        assert (found.status, found.fault, found.fault_was_write) == (Status.PAGE_REQUEST, NOWHERE, True)
        assert wq.submit.fill(NOWHERE, 0, 8).wait(check=False).status == Status.PAGE_FAULT
        assert wq.nop().ok


def test_privileged_work_for_an_unprivileged_shared_queue(dsa: Dsa) -> None:
    even = Configuration.even(dsa.capabilities)
    dsa.configure(
        replace(even, queues=tuple(replace(q, dedicated=False, threshold=8) for q in even.queues[:1]) + even.queues[1:])
    )
    record = dsa.records.take()
    descriptor = bytearray(encode(0, Flag.RECORD_VALID | Flag.RECORD_ALWAYS, record=record.iova))
    descriptor[3] = 0x80
    assert dsa.device.bar(2).enqueue64(0x1000, bytes(descriptor))
    assert load(record.address, 1) == Status.PRIVILEGE


def test_hardware_errors_on_demand(opened: Opener) -> None:
    dsa = opened("hardware_status=3")
    with dsa.wq(0) as wq:
        statuses = [wq.submit.nop().wait(check=False).status for _ in range(6)]
        assert statuses == [1, 1, Status.HARDWARE] * 2
        with pytest.raises(OperationError, match="status 0x20: hardware error"):
            for _ in range(3):
                wq.nop()


def test_every_code_has_words() -> None:
    for status in (*Status, *IaaStatus):
        assert "which no public source names" not in status_text(status)
    assert "which no public source names" in status_text(0x7E)
    assert status_text(0x83).endswith("(on a write)")
