# SPDX-License-Identifier: Apache-2.0
"""Many operations given as arrays; shared queues."""

from __future__ import annotations

import asyncio
import ctypes
import struct
import threading
from array import array
from dataclasses import replace
from typing import Any

import pytest

from tests.intel_idxd import oracles
from tests.intel_idxd.conftest import Opener, model_of
from tests.intel_idxd.memory import arena
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.configuration import Configuration
from vfio_ims.drivers.intel_idxd.driver.in_flight import InFlight
from vfio_ims.drivers.intel_idxd.driver.operation_error import OperationError
from vfio_ims.drivers.intel_idxd.driver.work_queue import WorkQueue
from vfio_ims.drivers.intel_idxd.hardware.descriptors import DESCRIPTOR, DsaOpcode
from vfio_ims.errors import DeviceTimeout, UnsupportedError, UsageError
from vfio_ims.native.lib import native
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.row_plan import RowPlan
from vfio_ims.native.window import MappedWindow, Piece

COUNT = 300


@pytest.mark.parametrize("completion", ["poll", "ims"])
def test_many_moves(dsa: Dsa, completion: str) -> None:
    memory = arena(dsa, 64 * COUNT * 2)
    expected = memory.fresh(1)
    sources = array("Q", (memory.at(64 * n) for n in range(COUNT)))
    targets = array("Q", (memory.at(64 * (2 * COUNT - 1 - n)) for n in range(COUNT)))
    sizes = array("I", (1 + n % 64 for n in range(COUNT)))
    for n in range(COUNT):
        to = 64 * (2 * COUNT - 1 - n)
        expected[to : to + sizes[n]] = expected[64 * n : 64 * n + sizes[n]]
    with dsa.wq(3, completion) as wq:
        many = wq.submit_many(DsaOpcode.MEMMOVE, source=sources, destination=targets, size=sizes)
        assert many.wait() == b"\1" * COUNT
        assert len(many) == COUNT
        assert wq.nop().ok
    assert memory.all == expected
    assert dsa.queues[3].in_flight == 0
    assert dsa.status() == ""


def test_what_is_alike_is_given_once_and_results_are_read_as_an_array(dsa: Dsa) -> None:
    memory = arena(dsa, 8 * COUNT)
    data = bytes(memory.fresh(2))
    sources = array("Q", (memory.at(8 * n) for n in range(COUNT)))
    with dsa.wq(0) as wq:
        many = wq.submit_many(DsaOpcode.CRC, source=sources, size=8, name="CRC")
        with pytest.raises(UsageError, match="wait for it first"):
            many.words()
        many.wait()
        assert many.words() == [oracles.crc32c(data[8 * n : 8 * n + 8]) for n in range(COUNT)]
        assert many.completion(5).crc == many.words()[5]
        many.close()
        with pytest.raises(UsageError, match="it was closed"):
            many.words()


def test_the_first_that_failed_is_named(dsa: Dsa) -> None:
    memory = arena(dsa)
    targets = array("Q", [memory.at(0)] * 20)
    targets[7] = 0x7000_0000
    targets[9] = 0x7100_0000
    with dsa.wq(0) as wq:
        many = wq.submit_many(DsaOpcode.FILL, destination=targets, source=5, size=8, name="fill")
        with pytest.raises(OperationError, match="fill number 7: status 0x3: page fault"):
            many.wait()
        found = many.wait(check=False)
        assert [n for n, status in enumerate(found) if status != 1] == [7, 9]
        assert wq.nop().ok


def test_awaiting_many(dsa: Dsa) -> None:
    memory = arena(dsa)

    async def main() -> None:
        for completion in ("poll", "ims"):
            with dsa.wq(0, completion) as wq:
                targets = array("Q", (memory.at(8 * n) for n in range(100)))
                assert await wq.submit_many(DsaOpcode.FILL, destination=targets, source=7, size=8) == b"\1" * 100

            async with dsa.wq(0, completion) as wq:
                assert await wq.submit_many(DsaOpcode.FILL, destination=targets, source=7, size=8) == b"\1" * 100
                assert (await wq.crc(wq.copied(b"123456789"), 9)).crc == 0xE3069283

    asyncio.run(main())
    assert memory.take(0, 16) == (7).to_bytes(8, "little") * 2


def test_arrays_that_do_not_go_together(dsa: Dsa) -> None:
    with dsa.wq(0) as wq:
        for how in (
            {"source": array("Q", [1]), "size": array("I", [1, 2])},
            {"source": array("Q")},
            {"source": array("I", [1])},
            {"source": 5},
            {"source": array("Q", [1]), "size": 1 << 32},
        ):
            with pytest.raises(UsageError):
                wq.submit_many(DsaOpcode.NOP, **how)
        assert wq.nop().ok


def test_arrays_that_were_refused_keep_no_records(dsa: Dsa) -> None:
    with dsa.wq(0) as wq:
        for _ in range(50):
            for use in (wq.submit_many, wq.plan):
                with pytest.raises(UsageError, match="as the others"):
                    use(DsaOpcode.NOP, source=array("Q", [1, 2]), size=array("I", [1]))
        assert len(dsa.in_flight.rows_of(wq)) == 1


COLUMNS: dict[str, tuple[dict[str, Any], str]] = {
    "objects' addresses": ({"destination": (ctypes.py_object * 2)(1, 2)}, "not one of 8 bytes each, format '<O'"),
    "the other byte order": ({"destination": (ctypes.c_uint64.__ctype_be__ * 2)()}, "format '>Q'"),
    "every second": ({"destination": memoryview(array("Q", range(4)))[::2]}, "not one that is not in one piece"),
    "one number of ctypes": ({"destination": ctypes.c_uint64(5)}, r"int\(\) of it is one number"),
    "too long": ({"specific": bytes(25)}, "specific must be at most 24 bytes, not 25"),
    "a text": ({"specific": "x"}, "specific must be bytes, not str"),
    "no name": ({"name": ["x"]}, r"name must be a text, not \['x'\]"),
}


@pytest.mark.parametrize(("how", "words"), COLUMNS.values(), ids=COLUMNS)
def test_what_would_be_read_as_something_else_is_refused(dsa: Dsa, how: dict[str, Any], words: str) -> None:
    with dsa.wq(0) as wq:
        for use in (wq.submit_many, wq.submit_many, wq.plan):
            with pytest.raises(UsageError, match=words):
                use(DsaOpcode.FILL, **({"destination": array("Q", [8, 16]), "size": 8} | how))
        assert wq.nop().ok


def test_on_a_mapped_portal_many_are_one_compiled_call(dsa: Dsa) -> None:
    """The portal is a page of plain memory here: what lies in it is what a device would have got."""
    count = 64
    with SharedMemory(0x4000) as page, SharedMemory(4096) as records:
        window = MappedWindow(0x4000, [Piece(page.fd, 0, 0, 0x4000)])
        with window:
            bar = dsa.device.bar(2)
            mapped = type(bar)(bar.port, bar.owner, 2, window, pieces=True)
            in_flight = InFlight()
            queue = WorkQueue(mapped, dsa.regs, in_flight, 0, 16, dedicated=True)
            rows = RowPlan([(16, 8)], 8, queue.page, count, records.address, 0x1000, 32)
            rows.lay_out(DESCRIPTOR.pack(0, 3 << 24, 0, 0, 0, 64, 0, 0, b""), count, [array("Q", range(count))])
            rows.place(queue.portal(ims=True), pieces=True)
            in_flight.begin_many(rows, 0)

            def complete() -> None:
                for n in range(count):
                    while page.view[0x2000 + 64 * n + 9] == 0:  # the second byte of the record's address
                        pass
                    records.view[32 * n] = 1

            device = threading.Thread(target=complete)
            device.start()
            queue.submit_rows(rows, ims=True)
            device.join()
            for n in range(count):
                taken = struct.unpack_from("<IIQQ", page.view, 0x2000 + 64 * n)
                assert taken == (0, 3 << 24, 0x1000 + 32 * n, n)
            assert rows.under_way
            with pytest.raises(UsageError, match="its last submission is in flight"):
                queue.submit_rows(rows, ims=True)
            assert native().lib.row_plan_finish(rows.c, 1, 0) == count
            assert not rows.under_way
            assert rows.statuses == b"\1" * count
            rows.place(queue.portal(ims=False), pieces=True)
            with pytest.raises(DeviceTimeout, match=r"16 of 64 were stored in 0\.01 s"):
                queue.submit_rows(rows, ims=False, timeout=0.01)


# --- shared queues ----------------------------------------------------------------------------------------------------


def shared(dsa: Dsa, *indices: int) -> Configuration:
    even = Configuration.even(dsa.capabilities)
    queues = tuple(replace(q, dedicated=False, threshold=q.size // 2) if q.index in indices else q for q in even.queues)
    return replace(even, queues=queues)


def test_shared_queues_take_and_refuse(dsa: Dsa) -> None:
    dsa.configure(shared(dsa, 2, 5))
    source, target = arena(dsa, 8 << 20), arena(dsa, 8 << 20)
    source.fresh(3)
    with dsa.wq(2) as wq, dsa.wq(5, "ims") as other:
        operations = [
            queue.submit.memmove(target.at(n << 18), source.at(n << 18), 1 << 18)
            for n in range(16)
            for queue in (wq, other)
        ]
        for operation in operations:
            operation.wait()
    assert target.take(0, 4 << 20) == source.take(0, 4 << 20)
    with dsa.ims.allocate() as irq:
        assert dsa.fire(irq.slot).status == "sent"
        assert irq.wait(timeout=1)
    assert dsa.status() == ""


def test_a_shared_queue_answers_retry_when_its_threshold_is_reached(dsa: Dsa) -> None:
    dsa.configure(shared(dsa, 2))
    memory = arena(dsa, 32 << 20)
    model = model_of(dsa)
    with dsa.wq(2, timeout=0.05) as wq, model.lock:  # the engines cannot get on meanwhile
        for _ in range(8):
            wq.submit.memmove(memory.at(0), memory.at(16 << 20), 16 << 20)
        with pytest.raises(DeviceTimeout, match="answered retry"):
            wq.submit.nop()
        wq.timeout = 10
    assert dsa.wq(2).nop().ok


def test_many_through_a_shared_queue(dsa: Dsa) -> None:
    dsa.configure(shared(dsa, 0))
    memory = arena(dsa)
    targets = array("Q", (memory.at(8 * n) for n in range(100)))
    with dsa.wq(0) as wq:
        assert wq.submit_many(DsaOpcode.FILL, destination=targets, source=9, size=8).wait() == b"\1" * 100


def test_a_posted_store_to_a_shared_queue_is_lost_and_reported(dsa: Dsa) -> None:
    dsa.configure(shared(dsa, 3))
    dsa.device.bar(2).store64(0x4000 * 3, bytes(64))
    assert "it takes ENQCMD" in dsa.status()


def test_enqcmd_is_refused_where_it_would_kill_the_process(dsa: Dsa) -> None:
    """Hardware's windows are mapped ones: they refuse, with the reason."""
    with SharedMemory(0x4000) as page, MappedWindow(0x4000, [Piece(page.fd, 0, 0, 0x4000)]) as window:
        bar = type(dsa.device.bar(2))(dsa.device.port, dsa.device, 2, window, pieces=False)
        queue = WorkQueue(bar, dsa.regs, InFlight(), 0, 16, dedicated=False)
        with pytest.raises(UnsupportedError, match="ENQCMD behind VFIO kills the process"):
            queue.submit(bytes(64), dsa.records.take(), ims=False)
        assert queue.in_flight == 0


def test_a_configuration_may_be_changed_while_slots_are_held(opened: Opener) -> None:
    dsa = opened()
    with dsa.ims.allocate() as irq:
        dsa.configure(replace(Configuration.even(dsa.capabilities), read_buffer_limit=0))
        irq.wait(timeout=0)
        assert dsa.fire(irq.slot).status == "sent"
        assert irq.wait(timeout=1)
        only = Configuration.even(dsa.capabilities)
        only = replace(only, queues=tuple(replace(q, size=128 if q.index == 0 else 0) for q in only.queues))
        only = replace(only, groups=only.groups[:1])
        dsa.configure(only)
        assert list(dsa.queues) == [0]
        assert dsa.queues[0].size == 128
        irq.wait(timeout=0)
        assert dsa.fire(irq.slot).status == "sent"
        assert irq.wait(timeout=1)
