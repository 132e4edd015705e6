# SPDX-License-Identifier: Apache-2.0
"""The cases that others test DMA engines with: DPDK's app/test/test_dmadev.c, by its names; SPDK's and accel-config's

that are not in the other files of this folder.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import vfio_ims
from tests.intel_idxd.memory import Arena, arena
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.operation import Operation
from vfio_ims.drivers.intel_idxd.driver.queue_session import DsaQueue
from vfio_ims.drivers.intel_idxd.hardware.descriptors import Flag
from vfio_ims.drivers.intel_idxd.hardware.status import Status

COPY, BURST = 1024, 32
NOWHERE = 0x7000_0000


@pytest.fixture(scope="module")
def shared() -> Iterator[Dsa]:
    with vfio_ims.open_driver("mock:intel-dsa,slots=256") as driver:
        assert isinstance(driver, Dsa)
        yield driver


@pytest.fixture(scope="module")
def memory(shared: Dsa) -> Arena:
    return arena(shared, 2 * BURST * COPY)


@pytest.fixture(params=["poll", "ims", "msix"])
def wq(shared: Dsa, request: pytest.FixtureRequest) -> Iterator[DsaQueue]:
    with shared.wq(0, request.param) as queue:
        yield queue


def copies(wq: DsaQueue, memory: Arena, bad: set[int] = frozenset()) -> list[Operation]:  # type: ignore[assignment]
    """A burst of copies from the first half to the second; those of ``bad`` read from nowhere."""
    half = BURST * COPY
    return [
        wq.submit.memmove(memory.at(half + n * COPY), NOWHERE if n in bad else memory.at(n * COPY), COPY)
        for n in range(BURST)
    ]


def right(memory: Arena, numbers: range | list[int]) -> bool:
    half = BURST * COPY
    return all(memory.take(n * COPY, COPY) == memory.take(half + n * COPY, COPY) for n in numbers)


def test_single_copy(wq: DsaQueue, memory: Arena) -> None:
    memory.fresh(1)
    wq.memmove(memory.at(COPY), memory.at(0), COPY)
    assert memory.take(0, COPY) == memory.take(COPY, COPY)


@pytest.mark.parametrize("offset", [0, 1, 7, 63])
def test_enqueue_copies(wq: DsaQueue, memory: Arena, offset: int) -> None:
    for size in (1, 5, 8, 64, 200, COPY):
        memory.fresh(size)
        wq.memmove(memory.at(8 * COPY + offset), memory.at(offset), size)
        assert memory.take(8 * COPY + offset, size) == memory.take(offset, size)
    memory.fresh(2)
    for operation in copies(wq, memory):
        operation.wait()
    assert right(memory, range(BURST))


def test_stop_start(shared: Dsa, memory: Arena) -> None:
    for _ in range(2):
        with shared.wq(0) as wq:
            memory.fresh(3)
            wq.memmove(memory.at(COPY), memory.at(0), COPY)
            assert memory.take(0, COPY) == memory.take(COPY, COPY)
        shared.stop()
        shared.start()


def test_enqueue_sg_copies(wq: DsaQueue, memory: Arena) -> None:
    """Scattered pieces gathered: a batch of copies of different sizes."""
    memory.fresh(4)
    sizes = [1, 16, 255, 256, COPY, 3, 777]
    expected = b"".join(memory.take(n * COPY, size) for n, size in enumerate(sizes))
    with wq.batch() as batch:
        to = BURST * COPY
        for n, size in enumerate(sizes):
            batch.memmove(memory.at(to), memory.at(n * COPY), size)
            to += size
    assert memory.take(BURST * COPY, len(expected)) == expected


def test_enqueue_fill(wq: DsaQueue, memory: Arena) -> None:
    for size in (8, 64, 50, 100, 89):
        memory.fresh(size)
        wq.fill(memory.at(0), 0xFEDC_BA98_7654_3210, size)
        assert memory.take(0, size) == ((0xFEDC_BA98_7654_3210).to_bytes(8, "little") * 13)[:size]


def test_burst_capacity(shared: Dsa, wq: DsaQueue, memory: Arena) -> None:
    """More than the queue holds is taken all the same, and never more than it holds is in flight."""
    memory.fresh(5)
    operations = []
    for _ in range(4):
        operations += copies(wq, memory)
        assert shared.queues[0].in_flight <= shared.queues[0].size
    for operation in operations:
        operation.wait()
    assert shared.queues[0].in_flight == 0
    assert shared.status() == ""


def test_completion_status(wq: DsaQueue, memory: Arena) -> None:
    assert [operation.wait().status for operation in copies(wq, memory)] == [Status.SUCCESS] * BURST


def test_completion_handling(wq: DsaQueue, memory: Arena) -> None:
    """Completions are kept until they are asked for, in any order, as often as one likes."""
    operations = copies(wq, memory)
    operations[-1].wait()
    for operation in reversed(operations):
        assert operation.wait().ok
        assert operation.done
        assert operation.wait() is operation.wait()


@pytest.mark.parametrize("fence", [False, True])
def test_failure_in_full_burst(wq: DsaQueue, memory: Arena, fence: bool) -> None:
    memory.fresh(6)
    half, bad = BURST * COPY, 7
    memory.put(half, bytes(half))
    batch = wq.batch()
    for n in range(BURST):
        source = NOWHERE if n == bad else memory.at(n * COPY)
        flags = Flag.FENCE if fence and n == bad + 5 else 0
        batch.memmove(memory.at(half + n * COPY), source, COPY, flags=flags)
    statuses = [completion.status for completion in batch.run().wait(check=False)]
    done = range(bad + 5) if fence else range(BURST)
    expected = [Status.PAGE_FAULT if n == bad else Status.SUCCESS if n in done else Status.NONE for n in range(BURST)]
    assert statuses == expected
    assert right(memory, [n for n in done if n != bad])
    if fence:
        assert memory.take(half + (bad + 5) * COPY, COPY) == bytes(COPY)


def test_individual_status_query_with_failure(wq: DsaQueue, memory: Arena) -> None:
    memory.fresh(7)
    operations = copies(wq, memory, {9})
    for n, operation in enumerate(operations):
        assert operation.wait(check=False).status == (Status.PAGE_FAULT if n == 9 else Status.SUCCESS)
    assert right(memory, [n for n in range(BURST) if n != 9])


def test_single_item_status_query_with_failure(wq: DsaQueue, memory: Arena) -> None:
    for n in range(5):
        operation = wq.submit.memmove(memory.at(0), NOWHERE if n == 2 else memory.at(COPY), COPY)
        assert operation.wait(check=False).ok == (n != 2)


def test_multi_failure(wq: DsaQueue, memory: Arena) -> None:
    memory.fresh(8)
    bad = {2, 3, 13, BURST - 1}
    operations = copies(wq, memory, bad)
    failed = {n for n, operation in enumerate(operations) if not operation.wait(check=False).ok}
    assert failed == bad
    assert right(memory, [n for n in range(BURST) if n not in bad])
    assert wq.nop().ok


def test_enq_deq_ops(wq: DsaQueue, memory: Arena) -> None:
    for _ in range(200):
        assert wq.memmove(memory.at(COPY), memory.at(0), 64).ok


def test_every_queue_through_every_slot() -> None:
    """All work queues, all 2048 slots on 8 shared donors: every completion is seen by its owner after a wake-up."""
    with vfio_ims.open_driver("mock:intel-dsa") as dsa:
        assert isinstance(dsa, Dsa)
        memory = arena(dsa, 1 << 16)
        data = memory.fresh(9)
        with dsa.ims.allocate_group(2048) as irqs:
            for n in range(2048):
                at = 8 * (n % 4096)
                with dsa.wq(n % 8, irqs[n]) as wq:
                    wq.memmove(memory.at(at), memory.at(1 << 15), 8)
                    data[at : at + 8] = data[1 << 15 : (1 << 15) + 8]
            assert {irqs[n].donor for n in range(2048)} == set(range(1, 9))
        assert memory.all == data
