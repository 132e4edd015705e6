# SPDX-License-Identifier: Apache-2.0
"""Prepared plans: the same operations submitted again and again, on models and on a mapped portal of plain memory."""

from __future__ import annotations

import asyncio
import gc
import os
import struct
import threading
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, closing
from functools import partial
from inspect import signature
from typing import Any, NamedTuple

import pytest

from tests.behaviour.common import in_child
from tests.behaviour.interrupting import sweep
from tests.intel_idxd import oracles
from tests.intel_idxd.conftest import Opener
from tests.intel_idxd.memory import PAGE, arena
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.operation_error import OperationError
from vfio_ims.drivers.intel_idxd.driver.plan import Plan
from vfio_ims.drivers.intel_idxd.driver.queue_session import DsaQueue
from vfio_ims.drivers.intel_idxd.driver.results import Results
from vfio_ims.drivers.intel_idxd.hardware.descriptors import DsaOpcode
from vfio_ims.errors import ClosedError, DeviceError, DeviceTimeout, UsageError
from vfio_ims.native.access import fill
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.window import MappedWindow, Piece

COUNT = 64
PORTALS = 0x20000


@pytest.mark.parametrize("completion", ["poll", "ims"])
def test_a_plan_does_its_work_each_time(dsa: Dsa, completion: str) -> None:
    memory = arena(dsa, 8 * PAGE)
    sources = array("Q", (memory.at(8 * n) for n in range(COUNT)))
    with dsa.wq(0, completion) as wq, wq.plan(DsaOpcode.CRC, source=sources, size=8, name="CRC") as plan:
        assert not plan.in_flight
        for seed in range(3):
            data = bytes(memory.fresh(seed))
            assert plan.submit() is plan
            assert plan.wait() == b"\1" * COUNT
            assert plan.words() == [oracles.crc32c(data[8 * n : 8 * n + 8]) for n in range(COUNT)]
            assert plan.completion(5).crc == plan.words()[5]
        sources[3] = memory.at(8 * 7)  # in place: read when it is submitted
        plan.submit().wait()
        assert plan.words()[3] == plan.words()[7]
    assert dsa.queues[0].in_flight == 0
    assert dsa.status() == ""


def test_other_addresses_are_for_one_time_only(dsa: Dsa) -> None:
    memory = arena(dsa, 4 * PAGE)
    targets, others = (array("Q", (memory.at(at + 8 * n) for n in range(4))) for at in (0, PAGE))
    with dsa.wq(0) as wq, wq.plan(DsaOpcode.FILL, destination=targets, source=1, size=8) as plan:
        plan.submit(destination=others, source=2).wait()
        assert memory.take(PAGE, 32) == (2).to_bytes(8, "little") * 4
        assert memory.take(0, 32) != (1).to_bytes(8, "little") * 4
        plan.submit().wait()
        assert memory.take(0, 32) == (1).to_bytes(8, "little") * 4
        assert memory.take(PAGE, 32) == (2).to_bytes(8, "little") * 4
        for wrong in (
            {"destination": array("Q", [1])},
            {"destination": 5},
            {"source": array("Q", range(4))},
            {"size": array("I", range(4))},
        ):
            with pytest.raises(
                UsageError, match=r"arrays must be given for its arrays, of 4 values each|must be an array$"
            ):
                plan.submit(**wrong)  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="size must be a number of 32 bits"):
            plan.submit(size=1 << 32)
        with pytest.raises(UsageError, match="numbers of 8 bytes, not list"):
            plan.submit(destination=[1, 2, 3, 4])  # type: ignore[arg-type]
        assert not plan.in_flight
        assert plan.submit().wait() == b"\1" * 4


def test_the_first_that_failed_is_named_at_each_wait(dsa: Dsa) -> None:
    memory = arena(dsa)
    targets = array("Q", [memory.at(0)] * 20)
    with dsa.wq(0) as wq, wq.plan(DsaOpcode.FILL, destination=targets, source=5, size=8, name="fill") as plan:
        plan.submit().wait()
        targets[7] = 0x7000_0000
        plan.submit()
        for _ in range(2):
            with pytest.raises(OperationError, match="fill number 7: status 0x3: page fault"):
                plan.wait()
        assert plan.wait(check=False)[6:9] == b"\1\x83\1"
        targets[7] = memory.at(8)
        assert plan.submit().wait() == b"\1" * 20


def test_awaiting_a_plan(dsa: Dsa) -> None:
    memory = arena(dsa)

    async def main() -> None:
        for completion in ("poll", "ims"):
            async with dsa.wq(0, completion) as wq:
                targets = array("Q", (memory.at(8 * n) for n in range(100)))
                plan = wq.plan(DsaOpcode.FILL, destination=targets, source=7, size=8)
                for _ in range(3):
                    assert await plan.submit() == b"\1" * 100

    asyncio.run(main())
    assert memory.take(0, 16) == (7).to_bytes(8, "little") * 2


def test_a_plan_is_used_in_turn(dsa: Dsa) -> None:
    sizes = array("I", [8] * 4)
    with dsa.wq(0) as wq:
        plan = wq.plan(DsaOpcode.NOP, size=sizes, name="nothing")
        with pytest.raises(UsageError, match="nothing was submitted"):
            plan.wait()
        with pytest.raises(UsageError, match="wait for it first"):
            plan.words()
        plan.submit()
        with pytest.raises(UsageError, match="its last submission is in flight"):
            plan.submit()
        with pytest.raises(UsageError, match="its last submission is in flight"):
            plan.submit(size=sizes)
        plan.close()  # not yet
        assert plan.wait() == plan.wait() == b"\1" * 4
        with pytest.raises(BufferError):
            sizes.append(8)
        plan.close()
        sizes.append(8)
        assert plan.wait() == b"\1" * 4
        for use in (plan.submit, plan.words):
            with pytest.raises(UsageError, match="closed"):
                use()
        held = wq.plan(DsaOpcode.NOP, size=sizes)
        held.submit()
    assert held.wait() == b"\1" * 5
    with pytest.raises(ClosedError, match="session on the work queue was closed"):
        held.submit()


def test_records_of_plans_that_are_gone_are_the_next_ones(dsa: Dsa) -> None:
    with dsa.wq(0) as wq:
        seen = set()
        for _ in range(20):
            plan = wq.plan(DsaOpcode.NOP, size=array("I", [8] * 4))
            plan.submit()
            seen.add(plan._work.rows.records)
            del plan  # in flight
            gc.collect()
            wq.drain()
        assert len(seen) <= 2
    assert dsa.queues[0].in_flight == 0


def test_what_a_reset_has_ended_may_be_submitted_again(dsa: Dsa) -> None:
    with dsa.wq(0, timeout=0.05) as wq:
        plan = wq.plan(DsaOpcode.NOP, size=array("I", [8] * 4))
        plan.submit()
        dsa.reset()
        assert dsa.queues[0].in_flight == 0
        wq.timeout = 10
        assert plan.submit().wait() == b"\1" * 4


def test_a_forked_child_may_not_submit(dsa: Dsa) -> None:
    with dsa.wq(0) as wq:
        plan = wq.plan(DsaOpcode.NOP, size=array("I", [8] * 4))
        plan.submit()

        def refused() -> str:
            for use in (plan.submit, plan.wait, plan.words):
                with pytest.raises(ClosedError):
                    use()
            return "all refused"

        assert in_child(refused) == "all refused"
        assert plan.wait() == b"\1" * 4


# --- a mapped portal --------------------------------------------------------------------------------------------------


class Mapped(NamedTuple):
    """A queue whose portals are plain memory: what lies in them is what a device would have got."""

    dsa: Dsa
    wq: DsaQueue
    portals: SharedMemory
    window: MappedWindow

    def plan(self, count: int = COUNT) -> Plan:
        return self.wq.plan(DsaOpcode.MEMMOVE, source=array("Q", range(count)), destination=7, size=64)

    def stored(self, at: int) -> tuple[int, ...]:
        """Opcode, source and destination of the descriptor at ``at``."""
        with self.portals.view as view:
            what, _, source, destination = struct.unpack_from("<4xIQQQ", view, at)
        return what >> 24, source, destination

    def complete(self, operations: Results) -> None:
        fill(operations._work.rows.records, 1, operations._work.rows.step * len(operations))


@pytest.fixture
def mapped(opened: Opener) -> Iterator[Mapped]:
    with ExitStack() as stack:
        dsa = opened()
        portals = stack.enter_context(SharedMemory(PORTALS))
        window = stack.enter_context(MappedWindow(PORTALS, [Piece(portals.fd, 0, 0, PORTALS)]))
        bar, queue = dsa.device.bar(2), dsa.queues[0]
        queue._portals, queue.size = type(bar)(bar.port, bar.owner, 2, window, pieces=True), 2 * COUNT
        wq = dsa.wq(0, timeout=0.2)
        yield Mapped(dsa, wq, portals, window)
        for queue in dsa.queues.values():
            for rows in dsa.in_flight.many(queue.index):
                fill(rows.records, 1, rows.step * rows.count)
        wq.close()


def test_descriptors_walk_through_the_page(mapped: Mapped) -> None:
    plan = mapped.plan(40)
    for turn in range(4):
        assert mapped.dsa.queues[0].page.c.open == (turn > 0)
        plan.submit()
        assert plan.in_flight
        assert mapped.dsa.queues[0].in_flight == 40
        for n in (0, 39):
            assert mapped.stored(64 * (40 * turn + n) % 4096) == (3, n, 7)
        mapped.complete(plan)
        assert plan.wait() == b"\1" * 40
        assert mapped.dsa.queues[0].in_flight == 0


def test_two_plans_are_under_way_where_both_have_room(mapped: Mapped) -> None:
    plans = [mapped.plan() for _ in range(3)]
    for _ in range(3):
        for plan in plans[:2]:
            plan.submit()
        with pytest.raises(DeviceTimeout, match="are under way"):
            plans[2].submit()
        assert not plans[2].in_flight
        assert mapped.dsa.queues[0].in_flight == 2 * COUNT
        for plan in plans[:2]:
            mapped.complete(plan)
        plans[2].submit()
        for plan in plans:
            mapped.complete(plan)
            plan.wait()


def test_a_single_operation_takes_an_entry_of_the_plans(mapped: Mapped) -> None:
    whole = mapped.plan(2 * COUNT)
    whole.submit()
    mapped.complete(whole)
    whole.wait()
    single = mapped.wq.submit.nop()
    with pytest.raises(DeviceTimeout, match=f"{2 * COUNT - 1} of {2 * COUNT} were stored"):
        whole.submit()
    assert len(whole) == 2 * COUNT
    assert mapped.dsa.queues[0].in_flight == 2 * COUNT
    fill(single.record.address, 1, 32)
    mapped.complete(whole)
    assert single.wait().ok
    assert whole.wait() == b"\1" * (2 * COUNT - 1)
    whole.submit()
    mapped.complete(whole)
    assert whole.wait() == b"\1" * 2 * COUNT


def test_more_than_the_queue_has_entries_wait_for_one_another(mapped: Mapped) -> None:
    plan = mapped.plan(5 * COUNT)
    with pytest.raises(DeviceTimeout, match=f"{2 * COUNT} of {5 * COUNT} were stored in 0.2 s"):
        plan.submit()
    mapped.complete(plan)
    assert plan.wait() == b"\1" * 2 * COUNT


def test_a_plan_is_the_next_work_after_a_loan_to_a_pasid(mapped: Mapped) -> None:
    queue, ended, plan = mapped.dsa.queues[0], [], mapped.plan()
    plan.submit()
    mapped.complete(plan)
    plan.wait()
    with queue.lock:
        queue.page.close()
        queue.loan = 5, lambda: ended.append(1)
    plan.submit()
    assert ended == [1]


def test_it_waits_for_who_holds_the_queue(mapped: Mapped) -> None:
    """A reset, above all: what is submitted meanwhile would be lost."""
    queue, plan = mapped.dsa.queues[0], mapped.plan()
    plan.submit()
    mapped.complete(plan)
    plan.wait()
    with mapped.dsa._quiet():
        thread = threading.Thread(target=plan.submit)
        thread.start()
        thread.join(0.1)
        assert thread.is_alive()
        assert not plan.in_flight
    thread.join()
    assert plan.in_flight
    assert queue.in_flight == COUNT


def test_a_diverted_window_sees_every_submission(mapped: Mapped) -> None:
    """A recorder's, above all, which may begin at any time."""
    seen: list[int] = []

    class Taker:
        def __getattr__(self, name: str) -> Any:
            return getattr(mapped.window.undiverted(), name)

        def store_rows(self, offset: int, pattern: bytes, count: int, *arguments: Any, **named: Any) -> int:
            seen.append(count)
            return mapped.window.undiverted().store_rows(offset, pattern, count, *arguments, **named)

    plan, taker = mapped.plan(), Taker()
    for diverted in (None, taker, taker, None, None):
        mapped.window.divert(diverted)  # type: ignore[arg-type]
        plan.submit()
        mapped.complete(plan)
        assert plan.wait() == b"\1" * COUNT
    assert seen == [COUNT, COUNT]


def test_a_portal_that_is_gone_or_closed(mapped: Mapped) -> None:
    plan, other = mapped.plan(), mapped.plan()
    for one in (plan, other):
        one.submit()
        mapped.complete(one)
        one.wait()
    mapped.window.close()
    with pytest.raises(ClosedError):
        plan.submit()
    assert not plan.in_flight
    assert mapped.dsa.queues[0].in_flight == 0


def test_a_portal_whose_device_is_gone_leaves_it_in_flight(mapped: Mapped) -> None:
    with MemoryFile(PORTALS) as file:
        window = MappedWindow(PORTALS, [Piece(file.fd, 0, 0, PORTALS)])
        bar, queue = mapped.dsa.device.bar(2), mapped.dsa.queues[1]
        queue._portals = type(bar)(bar.port, bar.owner, 2, window, pieces=True)
        with window, mapped.dsa.wq(1, timeout=0.05) as wq:
            plan = wq.plan(DsaOpcode.NOP, size=array("I", [8] * 4))
            plan.submit()
            mapped.complete(plan)
            plan.wait()
            os.ftruncate(file.fd, 0)
            with pytest.raises(DeviceError, match="SIGBUS"):
                plan.submit()
            assert plan.in_flight  # who knows
            with pytest.raises(DeviceTimeout, match="0 of 4"):
                plan.wait()
            mapped.complete(plan)


class MemoryFile:
    """A file in memory that can be cut."""

    def __init__(self, size: int) -> None:
        self.fd = os.memfd_create("portals")
        os.ftruncate(self.fd, size)

    def __enter__(self) -> MemoryFile:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self.fd)


def test_with_other_arrays_where_the_portal_is_mapped(mapped: Mapped) -> None:
    plan, queue = mapped.plan(), mapped.dsa.queues[0]
    other = array("Q", range(500, 500 + COUNT))
    for _ in range(2):
        for given, first in (({}, 0), ({"source": other}, 500), ({"source": other, "destination": 9}, 500)):
            at = int(queue.page.c.walk)
            plan.submit(**given)  # type: ignore[arg-type]
            assert mapped.stored(at) == (3, first, given.get("destination", 7))
            with pytest.raises(UsageError, match="in flight"):
                plan.submit(source=other)
            mapped.complete(plan)
            assert plan.wait() == b"\1" * COUNT
    for wrong in (other[1:], array("I", other), [1] * COUNT, 5, 5.0):
        with pytest.raises(UsageError):
            plan.submit(source=wrong)  # type: ignore[arg-type]
    other.append(1)  # it has no holder
    assert not plan.in_flight
    assert queue.in_flight == 0


def test_many_that_were_submitted_before_are_not_laid_out_again(mapped: Mapped) -> None:
    """The compiled call takes the arrays as they are, and whatever is not like the last time is checked as ever."""
    queue, wq, records = mapped.dsa.queues[0], mapped.wq, set()
    for turn in range(4):
        at = int(queue.page.c.walk)
        numbers = array("Q", range(turn, turn + COUNT))
        many = wq.submit_many(DsaOpcode.MEMMOVE, source=numbers, destination=7, size=64)
        numbers.append(1)  # it has no holder
        assert mapped.stored(at) == (3, turn, 7)
        assert queue.in_flight == COUNT
        mapped.complete(many)
        records.add(many._work.rows.records)
        assert many.wait() == b"\1" * COUNT
        many.close()
        assert many.wait() == b"\1" * COUNT
    assert len(records) == 1
    for wrong in ({"size": 64.0}, {"size": 1 << 33}, {"destination": "Q"}, {"source": array("d", range(COUNT))}):
        right: dict[str, Any] = {"source": array("Q", range(COUNT)), "destination": 7, "size": 64}
        with pytest.raises(UsageError):
            wq.submit_many(DsaOpcode.MEMMOVE, **right | wrong)
    for opcode, flags in ((3.0, 0), (3, 0.0), ("3", 0)):
        with pytest.raises(UsageError, match="opcode and flags must be numbers"):
            wq.submit_many(opcode, source=array("Q", range(COUNT)), destination=7, size=64, flags=flags)  # type: ignore[arg-type]
    assert queue.in_flight == 0


class _Equal(int):
    """A number that says that it is whatever it is compared with."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash(struct.pack("QQ", 16, ord("Q")))  # an array's kind


def test_a_number_that_says_that_it_equals_an_array_is_a_number(mapped: Mapped) -> None:
    sources = array("Q", [5, 6])
    for _ in range(2):
        with closing(mapped.wq.submit_many(DsaOpcode.MEMMOVE, source=sources, destination=1, size=8)) as many:
            mapped.complete(many)
            many.wait()
    with pytest.raises(UsageError, match="must be an array"):
        mapped.wq.submit_many(DsaOpcode.MEMMOVE, source=_Equal(7), destination=1, size=8)


def test_an_array_and_a_number_in_each_others_place_are_not_alike(mapped: Mapped) -> None:
    numbers, alike = array("Q", range(100, 100 + COUNT)), 8 * COUNT
    for _ in range(2):
        for source, destination in ((numbers, alike), (alike, numbers), (numbers, numbers)):
            at = int(mapped.dsa.queues[0].page.c.walk)
            many = mapped.wq.submit_many(DsaOpcode.MEMMOVE, source=source, destination=destination, size=64)
            first = tuple(alike if isinstance(one, int) else one[0] for one in (source, destination))
            assert mapped.stored(at) == (3, *first)
            mapped.complete(many)
            assert many.wait() == b"\1" * COUNT
            many.close()
    assert len(mapped.wq.works.ready) == 3


def test_a_closed_session_takes_no_more_of_what_it_had_last(mapped: Mapped) -> None:
    numbers = array("Q", range(COUNT))
    for _ in range(2):
        many = mapped.wq.submit_many(DsaOpcode.MEMMOVE, source=numbers, size=64)
        mapped.complete(many)
        many.wait()
        many.close()
    mapped.wq.close()
    at = int(mapped.dsa.queues[0].page.c.walk)
    with pytest.raises(ClosedError, match="session on the work queue was closed"):
        mapped.wq.submit_many(DsaOpcode.MEMMOVE, source=numbers, size=64)
    assert mapped.dsa.queues[0].page.c.walk == at


def test_arguments_of_submit_many_are_python_s(mapped: Mapped) -> None:
    """The compiled call stands in the method's place: keywords, their order and errors are as ever."""
    wq, numbers = mapped.wq, array("Q", range(COUNT))
    compiled, method = (
        signature(one).parameters.values() for one in (wq.submit_many, partial(DsaQueue.submit_many, wq))
    )
    assert [(one.name, one.default, one.kind) for one in compiled] == [
        (one.name, one.default, one.kind) for one in method
    ]
    for arguments, keywords, why in (
        ((), {"source": numbers}, "missing 1 required positional argument: 'opcode'"),
        ((3, numbers), {}, "takes 2 positional arguments but 3 were given"),
        ((3, numbers, numbers, 64, 0, b"", ""), {}, "takes 2 positional arguments but 8 were given"),
        ((3,), {"sorce": numbers}, "unexpected keyword argument 'sorce'"),
    ):
        with pytest.raises(TypeError, match=why):
            wq.submit_many(*arguments, **keywords)  # type: ignore[arg-type]
    spelled = {"".join(letters): value for letters, value in (("source", numbers), (("si", "ze"), 64))}
    for submit in (wq.submit_many, wq.submit.submit_many, partial(DsaQueue.submit_many, wq)):
        for _ in range(2):
            at = int(mapped.dsa.queues[0].page.c.walk)
            many = submit(opcode=3, destination=7, **spelled)  # type: ignore[arg-type]
            assert mapped.stored(at) == (3, 0, 7)
            mapped.complete(many)
            assert many.wait() == b"\1" * COUNT
            many.close()


def test_a_sessions_own_submit_many_is_called(dsa: Dsa) -> None:
    class Own(DsaQueue):
        def submit_many(self, opcode: int, **columns: Any) -> Any:
            return "own", super().submit_many(opcode, **columns)

    with Own(dsa.resources, dsa.queues[0], "poll", 10.0) as wq:
        own, many = wq.submit_many(DsaOpcode.NOP, size=array("I", [0] * 4))
        assert own == "own"
        assert many.wait() == b"\1" * 4


def test_ctrl_c_in_the_middle_of_many(mapped: Mapped) -> None:
    """What was stored is waited for when the session closes; the queue's entries and the records come back."""
    queue, numbers = mapped.dsa.queues[0], array("Q", range(COUNT))

    def act() -> None:
        for _ in range(2):
            many = mapped.wq.submit_many(DsaOpcode.MEMMOVE, source=numbers, destination=7, size=64)
            mapped.complete(many)
            many.wait()
            many.close()

    def check() -> None:
        for rows in mapped.dsa.in_flight.many(0):
            fill(rows.records, 1, rows.step * rows.count)
        in_time = threading.Thread(target=act)
        in_time.start()
        in_time.join(10)
        assert not in_time.is_alive(), "a lock was kept"
        assert not [work for work in mapped.dsa.in_flight.of_session(mapped.wq) if not work.ended]  # type: ignore[attr-defined]
        assert queue.page.c.rows == 0
        assert len(mapped.dsa.lists._buffers) < 20

    assert sweep(act, check)


@pytest.mark.parametrize("others", [False, True])
def test_ctrl_c_at_any_instruction(mapped: Mapped, others: bool) -> None:
    """What was stored is in flight and can be waited for; what was not can be submitted; addresses are not mixed."""
    plan = mapped.plan()
    given = array("Q", range(1000, 1000 + COUNT))
    queue = mapped.dsa.queues[0]

    def act() -> None:
        for _ in range(3):
            if others:
                plan.submit(source=given)
                mapped.complete(plan)
                plan.wait()
                plan.submit(source=given, destination=8)
                mapped.complete(plan)
                plan.wait()
            plan.submit()
            mapped.complete(plan)
            plan.wait()

    def check() -> None:
        if plan.in_flight:
            assert queue.in_flight == COUNT
            mapped.complete(plan)
            assert plan.wait() == b"\1" * COUNT
        assert queue.in_flight == 0
        assert queue.page.c.rows == 0
        at = int(queue.page.c.walk)
        done: list[object] = []
        thread = threading.Thread(target=lambda: done.append(plan.submit()))
        thread.start()
        thread.join(10)
        assert done == [plan], "a lock was kept"
        assert mapped.stored(at) == (3, 0, 7)
        mapped.complete(plan)
        assert plan.wait() == b"\1" * COUNT

    assert sweep(act, check)
