# SPDX-License-Identifier: Apache-2.0
"""Moving and filling memory, batches, every way to complete: the data against plain Python."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.intel_idxd.conftest import Opener, everywhere
from tests.intel_idxd.memory import PAGE, Arena, arena, hole
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.batch import split
from vfio_ims.drivers.intel_idxd.driver.operation_error import OperationError
from vfio_ims.drivers.intel_idxd.driver.operations import Request
from vfio_ims.drivers.intel_idxd.hardware.descriptors import Flag
from vfio_ims.drivers.intel_idxd.hardware.status import Status
from vfio_ims.errors import ClosedError, UsageError

SIZE = 4 * PAGE


shared = everywhere(Dsa)


@pytest.fixture(scope="module")
def memory(shared: Dsa) -> Arena:
    return arena(shared, SIZE)


ranges = st.tuples(st.integers(0, SIZE - 1), st.integers(0, SIZE - 1), st.integers(1, SIZE)).map(
    lambda t: (t[0], t[1], min(t[2], SIZE - max(t[0], t[1])))
)


@settings(max_examples=60, deadline=None)
@given(ranges, st.integers(0, 1 << 16))
def test_memmove_with_any_overlap(shared: Dsa, memory: Arena, where: tuple[int, int, int], seed: int) -> None:
    to, source, size = where
    expected = memory.fresh(seed)
    expected[to : to + size] = bytes(expected[source : source + size])
    with shared.wq(seed % 8) as wq:
        completion = wq.memmove(memory.at(to), memory.at(source), size)
    assert completion.status == Status.SUCCESS
    assert memory.all == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(0, SIZE - 1), st.integers(1, SIZE), st.sampled_from((b"\xa5", b"\1\2", b"abcd", b"01234567")))
def test_fill(shared: Dsa, memory: Arena, at: int, size: int, pattern: bytes) -> None:
    size = min(size, SIZE - at)
    expected = memory.fresh(at)
    expected[at : at + size] = (pattern * SIZE)[:size]
    with shared.wq(0) as wq:
        wq.fill(memory.at(at), pattern, size)
    assert memory.all == expected


@pytest.mark.parametrize("completion", ["poll", "ims", "msix"])
@pytest.mark.parametrize("size", [100, 1 << 20])
def test_every_way_to_complete(dsa: Dsa, completion: str, size: int) -> None:
    source, target = arena(dsa, size), arena(dsa, size)
    source.fresh(3)
    with dsa.wq(2, completion) as wq:
        for _ in range(3):
            target.fresh(4)
            wq.memmove(target.buffer, source.buffer, size)
            assert target.all == source.all
        operations = [wq.submit.nop() for _ in range(8)]
        assert all(operation.wait().ok for operation in operations)
    assert dsa.queues[2].in_flight == 0


def test_one_slot_shared_by_sessions_on_different_queues(dsa: Dsa) -> None:
    source, target = arena(dsa, 1 << 20), arena(dsa, 1 << 20)
    source.fresh(5)
    with dsa.ims.allocate() as irq, dsa.wq(0, irq) as first, dsa.wq(1, irq) as second:
        operations = [
            wq.submit.memmove(target.at(n << 17), source.at(n << 17), 1 << 17)
            for n, wq in enumerate((first, second) * 4)
        ]
        for operation in operations:
            operation.wait()
    assert target.all == source.all


@pytest.mark.parametrize("completion", ["poll", "ims", "msix"])
def test_awaiting(dsa: Dsa, completion: str) -> None:
    source, target = arena(dsa, 1 << 20), arena(dsa, 1 << 20)
    source.fresh(6)

    async def main() -> None:
        async with dsa.wq(0, completion) as wq:
            await wq.memmove(target.buffer, source.buffer, 1 << 20)
            assert target.all == source.all
            async with asyncio.timeout(5), asyncio.TaskGroup() as tasks:
                for n in range(8):

                    async def one(n: int = n) -> None:
                        await wq.fill(target.at(n << 17), bytes((n,)), 1 << 17)

                    tasks.create_task(one())
            batch = wq.batch()
            batch.fill(target.at(0), b"\xff", 8)
            batch.nop()
            assert [completion.ok for completion in await batch.run()] == [True, True]

    asyncio.run(main())
    assert target.take(0, 16) == b"\xff" * 8 + bytes(8)
    assert target.take(7 << 17, 4) == b"\7" * 4


def test_a_failed_operation_raises_in_a_task_too(dsa: Dsa) -> None:
    async def main() -> None:
        async with dsa.wq(0, "ims") as wq:
            await wq.memmove(0x7000_0000, 0x7100_0000, 64)

    with pytest.raises(OperationError, match="page fault at 0x71000000 after 0 bytes"):
        asyncio.run(main())


# --- batches ----------------------------------------------------------------------------------------------------------


def test_a_batch_in_order(dsa: Dsa) -> None:
    memory = arena(dsa)
    memory.fresh(1)
    with dsa.wq(0) as wq, wq.batch() as batch:
        batch.fill(memory.at(0), b"\1", PAGE)
        batch.memmove(memory.at(PAGE), memory.at(0), PAGE)
        batch.fill(memory.at(0), b"\2", PAGE)
        assert len(batch) == 3
    assert memory.take(0, 2 * PAGE) == b"\2" * PAGE + b"\1" * PAGE
    assert [completion.status for completion in batch.completions] == [1, 1, 1]


def test_a_batch_of_one_goes_alone_and_an_empty_one_nowhere(dsa: Dsa) -> None:
    memory = arena(dsa)
    with dsa.wq(0) as wq:
        with wq.batch() as batch:
            batch.fill(memory.at(0), b"\7", 8)
        assert memory.take(0, 8) == b"\7" * 8
        assert len(batch.completions) == 1
        with wq.batch() as nothing:
            pass
        assert nothing.completions == []


def test_more_than_a_batch_holds_goes_in_several(dsa: Dsa) -> None:
    memory = arena(dsa, 1025 * 8)
    with dsa.wq(0) as wq, wq.batch() as batch:
        for n in range(1025):
            batch.fill(memory.at(8 * n), n.to_bytes(2, "little"), 8)
    assert memory.all == b"".join(n.to_bytes(2, "little") * 4 for n in range(1025))
    assert len(batch.completions) == 1025


@given(st.integers(0, 5000), st.integers(2, 1024))
def test_no_batch_is_left_with_one(count: int, most: int) -> None:
    sizes = split(count, most)
    assert sum(sizes) == count
    assert all(size <= most for size in sizes)
    if most > 2:
        assert 1 not in sizes or count == 1


def test_a_fence_holds_back_what_follows_a_failure(dsa: Dsa) -> None:
    memory = arena(dsa)
    memory.fresh(2)
    with dsa.wq(0) as wq:
        batch = wq.batch()
        batch.fill(memory.at(0), b"\1", 8)
        batch.fill(0x7000_0000, b"\2", 8)
        batch.fill(memory.at(8), b"\3", 8)
        batch.fill(memory.at(16), b"\4", 8, flags=Flag.FENCE)
        run = batch.run()
        before = memory.take(16, 8)
        found = run.wait(check=False)
        assert [completion.status for completion in found] == [1, Status.PAGE_FAULT, 1, Status.NONE]
        assert memory.take(0, 16) == b"\1" * 8 + b"\3" * 8
        assert memory.take(16, 8) == before
        with pytest.raises(OperationError, match=r"fill \(descriptor 1 of a batch of 4\): status 0x3: page fault"):
            run.wait()
        assert wq.nop().ok


@pytest.mark.parametrize(
    ("count", "offset", "status"), [(1, 0, Status.COUNT), (1025, 0, Status.COUNT), (2, 32, Status.LIST_ALIGN)]
)
def test_bad_batches(dsa: Dsa, count: int, offset: int, status: Status) -> None:
    memory = arena(dsa, 128 * 1024)
    with dsa.wq(0) as wq:
        found = wq.start(Request(1, 0, memory.at(offset), 0, count, name="batch")).wait(check=False)
        assert found.status == status
        assert wq.nop().ok


def test_a_batch_whose_list_is_not_there(dsa: Dsa) -> None:
    edge = hole(dsa)
    with dsa.wq(0) as wq:
        found = wq.start(Request(1, 0, edge - 128, 0, 4, name="batch")).wait(check=False)
        assert (found.status, found.completed, found.fault) == (Status.BATCH_PAGE_FAULT, 2, edge)


def test_no_batch_in_a_batch(dsa: Dsa) -> None:
    with dsa.wq(0) as wq:
        batch = wq.batch()
        batch._run(Request(1, 0, 0x1000, 0, 2, name="batch"))
        batch.drain()
        assert [completion.status for completion in batch.run().wait(check=False)] == [Status.OPCODE] * 2


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("reads", "size"), [(True, 3 * PAGE), (False, 3 * PAGE), (True, 64), (False, 64)])
def test_a_page_fault_is_in_the_record_and_says_how_far_it_went(dsa: Dsa, reads: bool, size: int) -> None:
    edge, memory = hole(dsa), arena(dsa)
    expected = memory.fresh(7)
    start = edge - size // 2 - 10
    with dsa.wq(0) as wq:
        to, source = (memory.at(0), start) if reads else (start, memory.at(0))
        with pytest.raises(OperationError) as caught:
            wq.memmove(to, source, size)
        found = caught.value.completion
        assert (found.status, found.fault_was_write) == (Status.PAGE_FAULT, not reads)
        assert found.fault == edge
        assert found.completed <= edge - start
        if not reads:
            done, _ = dsa.device.dma.find(start)
            at = start - done.iova
            assert bytes(done.view[at : at + found.completed]) == expected[: found.completed]
        assert wq.nop().ok


def test_a_fill_that_faults_has_filled_what_it_says(dsa: Dsa) -> None:
    edge = hole(dsa)
    with dsa.wq(0) as wq:
        with pytest.raises(OperationError, match="on a write"):
            wq.fill(edge - PAGE - 100, b"\x5a", 2 * PAGE)
        buffer, _ = dsa.device.dma.find(edge - 1)
        assert bytes(buffer.view[-PAGE - 101 :]) == b"\0" + b"\x5a" * (PAGE + 100)


def test_a_buffer_that_is_too_small_is_refused_before_the_device_sees_it(dsa: Dsa) -> None:
    small = dsa.device.dma.allocate(100)
    with dsa.wq(0) as wq, pytest.raises(UsageError, match="at most the buffer's 0x64 bytes, not 0x65"):
        wq.fill(small, b"\0", 101)
    with pytest.raises(UsageError, match="1, 2, 4 or 8 bytes, not 3"), dsa.wq(0) as wq:
        wq.fill(small, b"abc", 8)


@pytest.mark.parametrize("size", [0, (1 << 21) + 1])
def test_sizes_out_of_range(opened: Opener, size: int) -> None:
    dsa = opened("max_transfer_shift=21")
    with dsa.wq(0) as wq:
        assert wq.submit.memmove(0x1000, 0x2000, size).wait(check=False).status == Status.SIZE


def test_an_operation_that_is_not_there(dsa: Dsa) -> None:
    with dsa.wq(0) as wq:
        assert wq.start(Request(0x7F, name="nonsense")).wait(check=False).status == Status.OPCODE


def test_flags_that_do_not_go_with_it(dsa: Dsa) -> None:
    with dsa.wq(0) as wq:
        found = wq.submit.nop(flags=Flag.CHECK_RESULT).wait(check=False)
        assert (found.status, found.invalid_flags) == (Status.FLAGS, Flag.CHECK_RESULT)
        with pytest.raises(OperationError, match="not allowed: 0x1"):
            wq.nop(flags=Flag.FENCE)
        found = wq.submit.memmove(0x1000, 0x1000, 8, flags=Flag.BLOCK_ON_FAULT).wait(check=False)
        assert found.invalid_flags == Flag.BLOCK_ON_FAULT


# --- queues and sessions ----------------------------------------------------------------------------------------------


def test_many_in_flight_never_overrun_a_queue(dsa: Dsa) -> None:
    source, target = arena(dsa, 1 << 20), arena(dsa, 1 << 20)
    source.fresh(9)
    with dsa.wq(0) as wq:
        operations = [wq.submit.memmove(target.at(n << 14), source.at(n << 14), 1 << 14) for n in range(64)]
        assert dsa.queues[0].in_flight <= 16
        for operation in operations:
            operation.wait()
    assert target.all == source.all
    assert dsa.status() == ""


def test_closing_a_session_waits_for_what_is_in_flight(dsa: Dsa) -> None:
    source, target = arena(dsa, 16 << 20), arena(dsa, 16 << 20)
    source.fresh(10)
    with dsa.wq(0, "ims") as wq:
        operation = wq.submit.memmove(target.buffer, source.buffer, 16 << 20)
    assert operation.done
    assert target.all == source.all
    with pytest.raises(ClosedError):
        wq.nop()
    wq.close()


def test_registers_answer_while_a_long_copy_runs(dsa: Dsa) -> None:
    source, target = dsa.device.dma.allocate(64 << 20), dsa.device.dma.allocate(64 << 20)
    with dsa.wq(0) as wq:
        operation = wq.submit.memmove(target, source, 64 << 20)
        reads = 0
        while not operation.done:
            dsa.regs.GENSTS.read()
            reads += 1
        assert reads > 2


def test_iaa_moves_memory(opened: Opener) -> None:
    iaa = opened(name="intel-iaa")
    memory = arena(iaa)
    expected = memory.fresh(11)
    with iaa.wq(0) as wq:
        assert len(wq.memmove(memory.at(0), memory.at(PAGE), PAGE).data) == 64
    assert memory.take(0, PAGE) == expected[PAGE : 2 * PAGE]
