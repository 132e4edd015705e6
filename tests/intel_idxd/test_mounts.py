# SPDX-License-Identifier: Apache-2.0
"""The same on every mount: in process, over a socket to a model in another process, and on what ``--vfio-device`` names

(silicon, or the model in QEMU under a kernel): ``pytest tests/intel_idxd/test_mounts.py --vfio-device 0000:6a:01.0``.
"""

from __future__ import annotations

import asyncio
import zlib
from array import array
from random import Random

import pytest

from tests.intel_idxd import oracles
from tests.intel_idxd.memory import PAGE, arena
from vfio_ims.driver import Driver
from vfio_ims.drivers.intel_idxd.aecs import CompressState
from vfio_ims.drivers.intel_idxd.completion import OperationError
from vfio_ims.drivers.intel_idxd.descriptors import DsaOpcode
from vfio_ims.drivers.intel_idxd.dif import DifTags
from vfio_ims.drivers.intel_idxd.driver import Dsa, Iaa
from vfio_ims.ims import FireStatus

pytestmark = pytest.mark.vfio(model="intel-dsa", mount=("mock", "vfio-user"))
NOWHERE = 0x7000_0000_0000


@pytest.fixture
def dsa(ims_driver: Driver) -> Dsa:
    assert isinstance(ims_driver, Dsa)
    return ims_driver


def test_it_is_up_and_reports_nothing(dsa: Dsa) -> None:
    assert dsa.status() == ""
    assert dsa.verdict.usable
    assert dict(dsa.details())["errors"] == "none"


@pytest.mark.parametrize("completion", ["poll", "ims", "msix"])
def test_operations_over_random_ranges(dsa: Dsa, completion: str) -> None:
    random, memory = Random(completion), arena(dsa, 16 * PAGE)
    with dsa.wq(random.randrange(8), completion) as wq:
        for seed in range(8):
            expected = memory.fresh(seed)
            size, to, source = random.randrange(1, 8 * PAGE), random.randrange(8 * PAGE), random.randrange(8 * PAGE)
            expected[to : to + size] = bytes(expected[source : source + size])
            wq.memmove(memory.at(to), memory.at(source), size)
            assert memory.all == expected
            wq.fill(memory.at(to), b"\xa5\x5a", size)
            assert memory.take(to, size) == (b"\xa5\x5a" * size)[:size]
            piece = min(size, 500)
            assert wq.crc(memory.at(source), piece).crc == oracles.crc32c(memory.take(source, piece))
            assert wq.compare(memory.at(to), memory.at(to), size).result == 0
    assert dsa.status() == ""


def test_batches_and_integrity_fields(dsa: Dsa) -> None:
    memory = arena(dsa, 4 * PAGE)
    data = bytes(memory.fresh(1)[:1024])
    with dsa.wq(1, "ims") as wq:
        with wq.batch() as batch:
            batch.dif_insert(memory.at(PAGE), memory.at(0), 1024, 512, DifTags(5, 9))
            batch.fill(memory.at(0), 0, 1024)
            batch.dif_strip(memory.at(2 * PAGE), memory.at(PAGE), 1040, 512, DifTags(5, 9))
        assert memory.take(PAGE, 1040) == oracles.protect(data, 512, oracles.Tags(9, 5))
        assert memory.take(2 * PAGE, 1024) == data


def test_a_fault_ends_in_the_record_and_work_goes_on(dsa: Dsa) -> None:
    memory = arena(dsa)
    with dsa.wq(2) as wq:
        with pytest.raises(OperationError, match="page fault"):
            wq.memmove(memory.at(0), NOWHERE, 64)
        with pytest.raises(OperationError, match="page fault"):
            wq.fill(NOWHERE, 0, 64)
        assert wq.nop().ok


def test_many_at_once(dsa: Dsa) -> None:
    memory = arena(dsa, 16 * PAGE)
    targets = array("Q", (memory.at(64 * n) for n in range(500)))
    with dsa.wq(3) as wq:
        assert wq.submit_many(DsaOpcode.FILL, destination=targets, source=0x55, size=64).wait() == b"\1" * 500
    assert memory.take(0, 64 * 500) == ((0x55).to_bytes(8, "little") * 8) * 500


def test_tasks_share_a_slot(dsa: Dsa) -> None:
    memory = arena(dsa, 16 * PAGE)

    async def main() -> None:
        with dsa.ims.allocate() as irq:
            async with dsa.wq(4, irq) as wq, asyncio.timeout(10), asyncio.TaskGroup() as tasks:

                async def one(n: int) -> None:
                    await wq.fill(memory.at(n * PAGE), bytes((n,)), PAGE)

                for n in range(16):
                    tasks.create_task(one(n))

    asyncio.run(main())
    assert all(memory.take(n * PAGE, 4) == bytes((n,)) * 4 for n in range(16))


def test_all_queues_through_all_slots_on_shared_donors(dsa: Dsa) -> None:
    count = dsa.ims_table().size
    memory = arena(dsa, PAGE)
    with dsa.ims.allocate_group(count) as irqs:
        for n in range(count):
            with dsa.wq(n % len(dsa.queues), irqs[n]) as wq:
                wq.memmove(memory.at(8), memory.at(0), 8)
        for n in range(0, count, 17):
            irqs[n].wait(timeout=0)
            assert dsa.fire(irqs[n].slot).status is FireStatus.SENT
            assert irqs[n].wait(timeout=2)


def test_a_reset_under_it(dsa: Dsa) -> None:
    memory = arena(dsa)
    with dsa.ims.allocate() as irq:
        for _ in range(2):
            dsa.reset()
            with dsa.wq(0, irq) as wq:
                wq.fill(memory.at(0), 1, 8)


@pytest.mark.vfio(model="intel-iaa", mount=("mock", "vfio-user"))
def test_deflate(ims_driver: Driver) -> None:
    assert isinstance(ims_driver, Iaa)
    memory, data = arena(ims_driver, 32 * PAGE), b"in process, over a socket, under a kernel; " * 100
    memory.put(0, data)
    memory.put(31 * PAGE, CompressState().packed())
    with ims_driver.wq(0, "ims") as wq:
        found = wq.compress(memory.at(8 * PAGE), 8 * PAGE, memory.at(0), len(data), memory.at(31 * PAGE))
        compressed = memory.take(8 * PAGE, found.outcome.size)
        assert zlib.decompress(compressed, -15) == data
        wq.decompress(memory.at(20 * PAGE), 8 * PAGE, memory.at(8 * PAGE), len(compressed))
    assert memory.take(20 * PAGE, len(data)) == data
