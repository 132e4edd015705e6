# SPDX-License-Identifier: Apache-2.0
"""Who waits for whom: engines of one group, groups among themselves, drains, commands that wait or abort."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from tests.intel_idxd.conftest import Opener, model_of
from tests.intel_idxd.memory import arena
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.configuration import Configuration, Group
from vfio_ims.drivers.intel_idxd.driver.operation import Operation
from vfio_ims.drivers.intel_idxd.driver.queue_session import DsaQueue
from vfio_ims.drivers.intel_idxd.hardware.commands import Command, queue_operand
from vfio_ims.drivers.intel_idxd.hardware.descriptors import Descriptor, Flag
from vfio_ims.drivers.intel_idxd.hardware.status import Status
from vfio_ims.drivers.intel_idxd.model.engines import Work
from vfio_ims.errors import DeviceTimeout, UsageError

LONG = 8192  # beyond what is done at once; an engine that gets so much work here stops until it is let go


@contextmanager
def held(dsa: Dsa) -> Iterator[threading.Event]:
    """Long work does not end before the event is set."""
    executor, go = model_of(dsa).executor, threading.Event()
    run = executor.run

    def stopping(work: Work, descriptor: Descriptor, index: int | None, *, quick: bool = False) -> int:
        if descriptor.size == LONG:
            assert go.wait(10)
        return run(work, descriptor, index, quick=quick)

    executor.run = stopping  # type: ignore[method-assign]
    try:
        yield go
    finally:
        go.set()


def one_group(dsa: Dsa, engines: int) -> None:
    """All queues in group 0, with so many engines."""
    even = Configuration.even(dsa.capabilities)
    groups = tuple(Group(n, tuple(range(engines)) if n == 0 else ()) for n in range(4))
    dsa.configure(replace(even, queues=tuple(replace(q, group=0) for q in even.queues), groups=groups))


def long(wq: DsaQueue, at: int) -> Operation:
    return wq.submit.fill(at, b"\1", LONG)


def begun(dsa: Dsa, count: int) -> None:
    """Wait until so many engines work."""
    engines = model_of(dsa).engines
    deadline = time.monotonic() + 30
    while sum(work.begun for work in list(engines._under_way.values())) < count:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_one_engine_works_in_order(dsa: Dsa) -> None:
    memory = arena(dsa, 4 * LONG)
    with held(dsa) as go, dsa.wq(0) as wq, dsa.wq(4) as neighbour:
        first = long(wq, memory.at(0))
        short, other = wq.submit.fill(memory.at(0), b"\2", 8), neighbour.submit.nop()
        time.sleep(0.01)
        assert not any(operation.done for operation in (first, short, other))  # queue 4 is in the same group
        go.set()
        for operation in (first, short, other):
            operation.wait()
    assert memory.take(0, 16) == b"\2" * 8 + b"\1" * 8


def test_a_long_copy_in_one_group_stalls_no_other_group(dsa: Dsa) -> None:
    memory = arena(dsa, 4 * LONG)
    with held(dsa) as go, dsa.wq(0) as wq, dsa.wq(1, "ims") as other, dsa.wq(2) as third:
        first = long(wq, memory.at(0))
        begun(dsa, 1)
        other.fill(memory.at(LONG), b"\2", 8)
        with third.batch() as batch:
            batch.fill(memory.at(2 * LONG), b"\3", 2 * LONG)
            batch.memmove(memory.at(2 * LONG), memory.at(LONG), 8, flags=Flag.FENCE)
        dsa.commander.run(Command.DRAIN_QUEUE, queue_operand(1))
        assert not first.done
        go.set()
        first.wait()
    assert memory.take(2 * LONG, 16) == b"\2" * 8 + b"\3" * 8


@pytest.mark.parametrize("engines", [2, 4])
def test_engines_of_one_group_complete_out_of_order(dsa: Dsa, engines: int) -> None:
    one_group(dsa, engines)
    memory = arena(dsa, 4 * LONG)
    with held(dsa) as go, dsa.wq(0) as wq:
        stuck = [long(wq, memory.at(0)) for _ in range(engines - 1)]
        wq.fill(memory.at(LONG), b"\2", 8)
        wq.fill(memory.at(LONG), b"\2", 2 * LONG)
        stuck.append(long(wq, memory.at(0)))
        last = wq.submit.nop()
        time.sleep(0.01)
        assert not any(operation.done for operation in [*stuck, last])  # no engine is free
        go.set()
        for operation in (*stuck, last):
            operation.wait()


def test_a_drain_waits_for_its_queue_and_for_no_other(dsa: Dsa) -> None:
    one_group(dsa, 4)
    memory = arena(dsa, 4 * LONG)
    with held(dsa) as go, dsa.wq(0) as wq, dsa.wq(1) as other:
        first = long(wq, memory.at(0))
        drain, after = wq.submit.drain(), wq.submit.drain()
        wq.nop()  # what comes behind a drain need not wait
        other.drain()
        assert not any(operation.done for operation in (first, drain, after))
        go.set()
        after.wait()
        assert drain.done
        assert first.done


def test_drain_commands_wait_for_what_they_name(dsa: Dsa) -> None:
    memory = arena(dsa, 4 * LONG)
    with held(dsa) as go, dsa.wq(0, pasid=5) as wq:
        first = long(wq, memory.at(0))
        begun(dsa, 1)
        dsa.control.drain(queue=1)
        dsa.control.drain(pasid=6)
        for command, operand in (
            (Command.DRAIN_QUEUE, queue_operand(0)),
            (Command.DRAIN_PASID, 5),
            (Command.DRAIN_ALL, 0),
        ):
            go.clear()
            first = long(wq, memory.at(0))
            dsa.regs.CMD.write(command=command, operand=operand)
            time.sleep(0.005)
            assert dsa.regs.CMDSTS.read().active
            go.set()
            dsa.commander.run(Command.DRAIN_ALL)
            assert first.done


def test_aborts_drop_what_was_not_begun(dsa: Dsa) -> None:
    memory = arena(dsa, 4 * LONG)
    with dsa.wq(0, timeout=0.05) as wq, dsa.wq(4, timeout=5) as neighbour:
        with held(dsa) as go:
            running = long(wq, memory.at(0))
            begun(dsa, 1)
            dropped = [wq.submit.fill(memory.at(0), b"\2", 8), wq.submit.drain()]
            kept = neighbour.submit.fill(memory.at(LONG), b"\3", 8)
            assert dsa.control.occupancy(0) == 2
            dsa.regs.CMD.write(command=Command.ABORT_QUEUE, operand=queue_operand(0))
            assert dsa.control.occupancy(0) == 0
            go.set()
            # The commander does not know of a command that was written past it, and would write its own into it.
            deadline = time.monotonic() + 30
            while dsa.regs.CMDSTS.read().active:
                assert time.monotonic() < deadline
            dsa.commander.run(Command.DRAIN_ALL)
        assert running.done
        assert kept.done
        for operation in dropped:
            with pytest.raises(DeviceTimeout):
                operation.wait()
        assert memory.take(0, 8) == b"\1" * 8
    dsa.reset()
    with dsa.wq(0) as wq:
        assert wq.nop().ok


def test_of_a_shared_queue_the_work_of_one_pasid_is_aborted(dsa: Dsa) -> None:
    """Two address spaces use one shared queue: each descriptor has its PASID."""
    even = Configuration.even(dsa.capabilities)
    with pytest.raises(UsageError, match="configured without PASIDs"):
        dsa.configure(even.with_queue(0, dedicated=False, threshold=16))
        dsa.wq(0, pasid=7)
    dsa.configure(even.with_queue(0, dedicated=False, threshold=16, pasid=0))
    with pytest.raises(UsageError, match="each of its requests needs one"):
        dsa.wq(0)
    memory = arena(dsa, 4 * LONG)
    with dsa.wq(0, pasid=7, timeout=0.05) as wq, dsa.wq(0, pasid=8) as other:
        with held(dsa) as go:
            first = long(other, memory.at(0))
            begun(dsa, 1)
            dropped, kept = wq.submit.nop(), other.submit.nop()
            dsa.regs.CMD.write(command=Command.ABORT_PASID, operand=7)
            assert not dsa.regs.CMDSTS.read().active  # nothing of it runs
            go.set()
            kept.wait()
            first.wait()
        assert not dropped.done
    dsa.reset()


def test_an_abort_ends_a_batch(dsa: Dsa) -> None:
    memory = arena(dsa, 4 * LONG)
    with dsa.wq(0) as wq:
        batch = wq.batch()
        for n in range(3):
            batch.fill(memory.at(0), bytes((n,)), 8)
        model = model_of(dsa)
        fill = model.executor.run

        def run(work: Work, descriptor: object, index: int | None, *, quick: bool = False) -> int:
            if index == 1:
                model.engines.abort(lambda one: True)
            return fill(work, descriptor, index, quick=quick)  # type: ignore[arg-type]

        model.executor.run = run  # type: ignore[method-assign]
        whole = batch.run()
        assert [completion.status for completion in whole.wait(check=False)] == [1, 1, Status.NONE]
        assert memory.take(0, 8) == b"\1" * 8


def test_registers_answer_within_a_chunk_of_a_long_copy(dsa: Dsa) -> None:
    """A lock that is taken anew after each chunk leaves other threads time to take it."""
    size = 64 << 20
    source, target = dsa.device.dma.allocate(size), dsa.device.dma.allocate(size)
    with dsa.wq(0) as wq, dsa.wq(1) as other:
        operation, reads, shorts = wq.submit.memmove(target, source, size), 0, 0
        while not operation.done:
            dsa.regs.GENSTS.read()
            reads += 1
            if not reads % 4:
                other.fill(target.iova, 0, 8)
                shorts += 1
    assert reads > 16  # of the copy's 16 chunks
    assert shorts > 3


def test_a_failure_of_the_model_itself_is_a_hardware_error(dsa: Dsa, caplog: pytest.LogCaptureFixture) -> None:
    """And its engine goes on working."""
    executor, operate = model_of(dsa).executor, model_of(dsa).executor.operate

    def fails(*everything: object) -> None:
        raise ZeroDivisionError

    executor.operate = fails  # type: ignore[method-assign, assignment]
    memory = arena(dsa, 4 * LONG)
    with dsa.wq(0) as wq, caplog.at_level(logging.CRITICAL):
        for size in (8, LONG):
            assert wq.submit.fill(memory.at(0), 0, size).wait(check=False).status == Status.HARDWARE
        executor.operate = operate  # type: ignore[method-assign]
        assert wq.fill(memory.at(0), 0, LONG).ok


def test_work_comes_up_again_after_a_reset_under_it(opened: Opener) -> None:
    dsa = opened()
    memory = arena(dsa, 4 * LONG)
    with held(dsa) as go:
        with dsa.wq(0, timeout=0.02) as wq:
            long(wq, memory.at(0))
            begun(dsa, 1)
            wq.submit.nop()
        dsa.device.reset()  # a function reset waits for nothing
        go.set()
    dsa.reset()
    with dsa.wq(0) as wq:
        assert wq.fill(memory.at(0), 0, LONG).ok
        assert wq.drain().ok
