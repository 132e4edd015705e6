# SPDX-License-Identifier: Apache-2.0
"""The same on every mount: in process, over a socket to a model in another process, and on what ``--vfio-device`` names

(silicon, or the model in QEMU under a kernel): ``pytest tests/intel_idxd/test_mounts.py --vfio-device 0000:6a:01.0``.
"""

from __future__ import annotations

import asyncio
import time
import zlib
from array import array
from contextlib import ExitStack
from random import Random

import pytest

from tests.intel_idxd import oracles
from tests.intel_idxd.memory import PAGE, arena
from vfio_ims.driver import Driver
from vfio_ims.drivers.intel_idxd.driver import Dsa, Iaa
from vfio_ims.drivers.intel_idxd.driver.iaa_operations import CRC64_ECMA
from vfio_ims.drivers.intel_idxd.driver.iaa_streams import DecompressStream
from vfio_ims.drivers.intel_idxd.driver.operation_error import OperationError
from vfio_ims.drivers.intel_idxd.hardware.aecs import CompressState, filter_state
from vfio_ims.drivers.intel_idxd.hardware.completion import Completion
from vfio_ims.drivers.intel_idxd.hardware.descriptors import DsaOpcode, Flag
from vfio_ims.drivers.intel_idxd.hardware.dif import DifTags
from vfio_ims.drivers.intel_idxd.hardware.iaa_flags import FilterFlags
from vfio_ims.ims import FireStatus

pytestmark = pytest.mark.vfio(model="intel-dsa", mount=("mock", "vfio-user"))
NOWHERE = 0x7000_0000_0000
LATE = 5.0
"""Seconds in which an owner must be woken: an emulated guest's, not a device's."""


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


@pytest.mark.parametrize("completion", ["poll", "ims"])
def test_a_plan_is_submitted_again(dsa: Dsa, completion: str) -> None:
    memory = arena(dsa, 16 * PAGE)
    sources, targets = (array("Q", (memory.at(at + 64 * n) for n in range(100))) for at in (0, 8 * PAGE))
    with dsa.wq(5, completion) as wq, wq.plan(DsaOpcode.MEMMOVE, source=sources, destination=targets, size=64) as plan:
        for seed in range(3):
            data = bytes(memory.fresh(seed))
            assert plan.submit().wait() == b"\1" * 100
            assert memory.take(8 * PAGE, 6400) == data[:6400]
        other = array("Q", (memory.at(12 * PAGE + 64 * n) for n in range(100)))
        assert plan.submit(destination=other, size=32).wait() == b"\1" * 100
        assert memory.take(12 * PAGE, 32) == data[:32]
    assert dsa.status() == ""


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
    """Work in flight on all queues at once: each slot's owner is woken, then finds its record, none later than LATE."""
    count, queues = dsa.ims_table().size, len(dsa.queues)
    burst = sum(queue.size for queue in dsa.queues.values())
    memory = arena(dsa, PAGE)
    with dsa.ims.allocate_group(count) as irqs:
        assert len({irqs[n].donor for n in range(count)}) == dsa.device.interrupts.msix.count - 1
        for start in range(0, count, burst):
            numbers = range(start, min(start + burst, count))
            with ExitStack() as stack:
                sessions = [stack.enter_context(dsa.wq(n % queues, irqs[n])) for n in numbers]
                flying = [wq.submit.memmove(memory.at(8), memory.at(0), 8) for wq in sessions]
                deadline = time.monotonic() + LATE
                for n, operation in zip(numbers, flying, strict=True):
                    while True:  # a wake-up for a neighbour on the donor may come before
                        assert irqs[n].wait(timeout=deadline - time.monotonic()), f"slot {n} was not woken"
                        if operation.done:
                            break
                    assert operation.wait().ok
        for n in range(0, count, 17):
            irqs[n].wait(timeout=0)
            assert dsa.fire(irqs[n].slot).status is FireStatus.SENT
            assert irqs[n].wait(timeout=LATE)
    assert dsa.status() == ""


def test_a_reset_under_it(dsa: Dsa) -> None:
    memory = arena(dsa)
    with dsa.ims.allocate() as irq:
        for _ in range(2):
            dsa.reset()
            with dsa.wq(0, irq) as wq:
                wq.fill(memory.at(0), 1, 8)


@pytest.mark.parametrize("seed", range(2))
def test_every_operation_against_its_definition(dsa: Dsa, seed: int) -> None:
    random, memory = Random(seed), arena(dsa, 24 * PAGE)
    with dsa.wq(random.randrange(len(dsa.queues)), random.choice(("poll", "ims", "msix"))) as wq:
        data, size, at = memory.fresh(seed), random.randrange(1, 2 * PAGE), random.randrange(64)
        source, other, target = 64 * random.randrange(4) + at, 4 * PAGE + at, 8 * PAGE + at
        wq.nop()
        pattern = random.randbytes(8)
        wq.fill(memory.at(target), pattern, size)
        assert memory.take(target, size) == (pattern * size)[:size]
        assert wq.compare_pattern(memory.at(target), pattern, size).result == 0
        wq.memmove(memory.at(target), memory.at(source), size)
        assert memory.take(target, size) == data[source : source + size]
        wrong = random.randrange(size)
        memory.put(target + wrong, bytes((data[source + wrong] ^ 1,)))
        found = wq.compare(memory.at(target), memory.at(source), size)
        assert (found.result, found.completed) == (1, wrong)
        wq.dualcast(memory.at(other), memory.at(target), memory.at(source), size)
        assert memory.take(other, size) == memory.take(target, size) == data[source : source + size]
        part = min(size, 400)
        checksum = oracles.crc32c(bytes(data[source : source + part]))
        assert wq.crc(memory.at(source), part).crc == checksum
        assert wq.copy_crc(memory.at(12 * PAGE), memory.at(source), part).crc == checksum
        assert memory.take(12 * PAGE, part) == data[source : source + part]
        one, two = bytes(data[:1024]), bytes(data[:500]) + random.randbytes(20) + bytes(data[520:1024])
        memory.put(16 * PAGE, two)
        expected, _ = oracles.delta(one, two, 800)
        found = wq.create_delta(memory.at(0), memory.at(16 * PAGE), 1024, memory.at(20 * PAGE), 800)
        assert memory.take(20 * PAGE, found.delta_size) == expected
        wq.apply_delta(memory.at(0), memory.at(20 * PAGE), found.delta_size, 1024)
        assert memory.take(0, 1024) == two
        block, tags, new = random.choice((512, 520)), DifTags(7, 3), DifTags(70, 30)
        wq.dif_insert(memory.at(4 * PAGE), memory.at(0), 2 * block, block, tags)
        fields = oracles.protect(memory.take(0, 2 * block), block, oracles.Tags(3, 7))
        assert memory.take(4 * PAGE, len(fields)) == fields
        wq.dif_check(memory.at(4 * PAGE), len(fields), block, tags)
        wq.dif_update(memory.at(8 * PAGE), memory.at(4 * PAGE), len(fields), block, tags, new)
        renewed = oracles.protect(memory.take(0, 2 * block), block, oracles.Tags(30, 70))
        assert memory.take(8 * PAGE, len(fields)) == renewed
        wq.dif_strip(memory.at(12 * PAGE), memory.at(8 * PAGE), len(fields), block, new)
        assert memory.take(12 * PAGE, 2 * block) == memory.take(0, 2 * block)
        wq.cache_flush(memory.at(0), PAGE)
        with wq.batch() as batch:
            batch.fill(memory.at(0), 1, size)
            batch.memmove(memory.at(4 * PAGE), memory.at(0), size, flags=Flag.FENCE)
        wq.drain()
        assert memory.take(4 * PAGE, size) == ((1).to_bytes(8, "little") * size)[:size]
    assert dsa.status() == ""


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


@pytest.mark.vfio(model="intel-iaa", mount=("mock", "vfio-user"))
def test_every_operation_of_iaa(ims_driver: Driver) -> None:
    assert isinstance(ims_driver, Iaa)
    random, memory = Random(5), arena(ims_driver, 32 * PAGE)
    states = ims_driver.device.dma.allocate(DecompressStream.SIZE)
    data = bytes(random.choice(b"abcd") for _ in range(3000))
    memory.put(0, data)
    with ims_driver.wq(1, random.choice(("poll", "ims", "msix"))) as wq:
        packed, stream = b"", wq.compress_stream(states)
        for start in range(0, 3000, 1000):
            last = start == 2000
            found = stream.feed(memory.at(8 * PAGE), PAGE, memory.at(start), 1000, last=last)
            packed += memory.take(8 * PAGE, found.outcome.size)
        assert zlib.decompress(packed, -15) == data
        memory.put(8 * PAGE, packed)
        half, out, stream = len(packed) // 2, b"", wq.decompress_stream(states)
        for start, size in ((0, half), (half, len(packed) - half)):
            found = stream.feed(memory.at(16 * PAGE), 4 * PAGE, memory.at(8 * PAGE + start), size, last=start > 0)
            out += memory.take(16 * PAGE, found.outcome.size)
        assert out == data
        assert found.outcome.crc == zlib.crc32(data)
        register = oracles.crc_bits(data[:300], CRC64_ECMA, 64, 0, low_bit_first=False)
        assert wq.crc64(memory.at(0), 300).crc64 == register
        sparse = b"".join(bytes(4) if n % 3 else random.randbytes(4) for n in range(100))
        memory.put(0, sparse)
        found = wq.zero_compress(memory.at(8 * PAGE), PAGE, memory.at(0), 400, 32)
        wq.zero_decompress(memory.at(16 * PAGE), 400, memory.at(8 * PAGE), found.outcome.size, 32)
        assert memory.take(16 * PAGE, 400) == sparse
        values = random.randbytes(64)
        memory.put(0, values)
        low, high, mask = 50, 200, random.randbytes(8)
        bits = [mask[n // 8] >> n % 8 & 1 for n in range(64)]
        memory.put(24 * PAGE, filter_state(low, high))
        memory.put(25 * PAGE, mask)
        memory.put(26 * PAGE, bytes(range(8)) * 4)
        where, form = (memory.at(16 * PAGE), PAGE, memory.at(0), 64, 64), FilterFlags(width=8)

        def vector(bits: list[bool] | list[int]) -> bytes:
            return sum(bool(bit) << n for n, bit in enumerate(bits)).to_bytes(len(bits) // 8, "little")

        def output(found: Completion) -> bytes:
            return memory.take(16 * PAGE, found.outcome.size)

        assert output(wq.scan(*where, form, memory.at(24 * PAGE))) == vector([low <= v <= high for v in values])
        assert output(wq.extract(*where, form, memory.at(24 * PAGE))) == values[low : high + 1]
        assert output(wq.select(*where, form, memory.at(25 * PAGE), 8)) == bytes(
            v for v, bit in zip(values, bits, strict=True) if bit
        )
        left = iter(values)
        expected = bytes(next(left) if bit else 0 for bit in bits)
        assert output(wq.expand(*where, form, memory.at(25 * PAGE), 8)) == expected
        members = memory.take(26 * PAGE, 32)
        assert output(wq.set_membership(*where, form, memory.at(26 * PAGE), 32)) == vector(
            [members[v // 8] >> v % 8 & 1 for v in values]
        )
        assert output(wq.find_unique(*where, form)) == vector([v in values for v in range(256)])
        runs = FilterFlags(width=8, width2=8)
        assert output(
            wq.rle_burst(memory.at(16 * PAGE), 4 * PAGE, memory.at(0), 8, 8, runs, memory.at(26 * PAGE), 8)
        ) == (b"".join(bytes((n,)) * values[n] for n in range(8)))
        wq.memmove(memory.at(16 * PAGE), memory.at(0), 64)
        assert memory.take(16 * PAGE, 64) == values
        wq.drain()
    assert ims_driver.status() == ""
