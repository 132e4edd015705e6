# SPDX-License-Identifier: Apache-2.0
"""Descriptors by the thousand: prepared, stored and harvested by compiled calls; the model's copy against memcpy.

The portal is plain memory, so that a store costs nothing and only our own time is seen. Of silicon's portals each store
takes tens of nanoseconds, and the share of what is measured here gets smaller.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from struct import Struct
from typing import Any, NamedTuple

import pytest

import vfio_ims
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.columns import Column
from vfio_ims.drivers.intel_idxd.driver.many import ManyOperations
from vfio_ims.drivers.intel_idxd.driver.plan import Plan
from vfio_ims.drivers.intel_idxd.hardware.descriptors import DESCRIPTOR, DsaOpcode, Flag
from vfio_ims.native.access import collect, fill
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.rows import RowColumns
from vfio_ims.native.window import MappedWindow, Piece

COUNT, RECORD, PORTALS = 1024, 32, 0x20000
WHAT = DsaOpcode.MEMMOVE << 24 | Flag.RECORD_VALID | Flag.RECORD_ALWAYS
COPY = 64 << 20
ARGUMENTS = "sixteen arguments are taken from Python objects; a prepared plan has them in its own structure"
C_LOOP = "C loop on the same memory"
LIMITS = [(128, 2.0), (COUNT, 1.5)]
"""How many descriptors, and how many times the C loop's time the whole call may take."""


class Stage(NamedTuple):
    """A portal of plain memory, records, and what is to be copied."""

    dsa: Dsa
    portals: SharedMemory
    window: MappedWindow
    records: SharedMemory
    destinations: array[int]
    sources: array[int]
    sizes: array[int]

    def of(self, count: int) -> Stage:
        """The same with less to copy."""
        return self._replace(
            destinations=self.destinations[:count], sources=self.sources[:count], sizes=self.sizes[:count]
        )


@pytest.fixture
def stage() -> Iterator[Stage]:
    with ExitStack() as stack:
        dsa = stack.enter_context(vfio_ims.open_driver("mock:intel-dsa,slots=256"))
        assert isinstance(dsa, Dsa)
        portals, records = (stack.enter_context(SharedMemory(size)) for size in (PORTALS, COUNT * RECORD))
        window = stack.enter_context(MappedWindow(PORTALS, [Piece(portals.fd, 0, 0, PORTALS)]))
        bar, queue = dsa.device.bar(2), dsa.queues[0]
        queue._portals, queue.size = type(bar)(bar.port, bar.owner, 2, window, pieces=True), 2 * COUNT
        numbers = array("Q", range(COUNT)), array("Q", range(COUNT)), array("I", [64] * COUNT)
        yield Stage(dsa, portals, window, records, *numbers)


def in_c(stage: Stage, rival: Any) -> Any:
    ffi, lib = rival.ffi, rival.lib
    arrays = (
        ffi.from_buffer("uint64_t[]", stage.destinations),
        ffi.from_buffer("uint64_t[]", stage.sources),
        ffi.from_buffer("uint32_t[]", stage.sizes),
    )
    return lambda: lib.rival_descriptors(
        stage.portals.address, *arrays, stage.records.address, 0x1000, len(stage.sizes)
    )


def in_python(stage: Stage, view: memoryview) -> Any:
    pack, address, size = Struct(DESCRIPTOR.format).pack_into, stage.records.address, COUNT * RECORD

    def run() -> None:
        fill(address, 0, size)
        at, record = 0, 0x1000
        for destination, source, length in zip(stage.destinations, stage.sources, stage.sizes, strict=True):
            pack(view, at, 0, WHAT, record, source, destination, length, 0, 0, b"")
            at, record = (at + 64) % 4096, record + RECORD

    return run


def test_rows_are_stored_at_a_c_loops_speed(race: Any, rival: Any, stage: Stage) -> None:
    pattern = DESCRIPTOR.pack(0, WHAT, 0, 0, 0, 0, 0, 0, b"")
    columns = RowColumns([(16, 8), (24, 8), (32, 4)], [(8, 8)])
    columns.fill(COUNT, [stage.sources, stage.destinations, stage.sizes])
    columns.count_up(0, 0x1000, RECORD)

    def ours() -> None:
        stage.window.store_rows(0, pattern, COUNT, columns, stage.records.address, RECORD, pieces=True)

    race(
        f"store_rows of {COUNT} descriptors",
        ours,
        in_c(stage, rival),
        against=C_LOOP,
        at_most=1.5,
        missed=ARGUMENTS,
    )


def test_descriptors_are_what_the_c_loop_stores(rival: Any, stage: Stage) -> None:
    rows = 4096 // 64  # the page once
    pattern = DESCRIPTOR.pack(0, WHAT, 0, 0, 0, 0, 0, 0, b"")
    columns = RowColumns([(16, 8), (24, 8), (32, 4)], [(8, 8)])
    columns.fill(rows, [column[-rows:] for column in (stage.sources, stage.destinations, stage.sizes)])
    columns.count_up(0, 0x1000 + RECORD * (COUNT - rows), RECORD)
    with stage.portals.view as view:
        in_c(stage, rival)()
        expected = bytes(view[:4096])
        view[:4096] = bytes(4096)
        stage.window.store_rows(0, pattern, rows, columns, pieces=True)
        assert bytes(view[:4096]) == expected


@pytest.mark.parametrize(("count", "most"), LIMITS)
def test_submit_many(race: Any, rival: Any, stage: Stage, count: int, most: float) -> None:
    stage = stage.of(count)
    arrays = {"source": stage.sources, "destination": stage.destinations, "size": stage.sizes}
    with stage.dsa.wq(0) as wq, stage.portals.view as view:
        many: list[ManyOperations] = []

        def ours() -> None:
            many.append(wq.submit_many(DsaOpcode.MEMMOVE, **arrays))

        def give_back() -> None:
            """As if they had completed."""
            for one in many:
                complete(one)
                one.wait()
                one.close()
            many.clear()

        what, against = f"submit_many of {count}", "struct and memoryview"
        if count == COUNT:
            python = in_python(stage, view)
            race(what, ours, python, against=against, at_least_faster=10, prepare=give_back)
        race(what, ours, in_c(stage, rival), against=C_LOOP, at_most=most, prepare=give_back)


def complete(operations: ManyOperations | Plan) -> None:
    """As if the device had done them."""
    rows = operations._work.rows
    fill(rows.records, 1, rows.count * rows.step)


@pytest.mark.parametrize(("count", "most"), LIMITS)
def test_wait_for_many(race: Any, rival: Any, stage: Stage, count: int, most: float) -> None:
    stage = stage.of(count)
    out = rival.ffi.new("uint8_t[]", count)
    with stage.dsa.wq(0) as wq:
        many: list[ManyOperations] = []

        def completed() -> None:
            for one in many:
                one.wait()
                one.close()
            many[:] = [wq.submit_many(DsaOpcode.NOP, size=stage.sizes)]
            complete(many[0])

        completed()
        records = many[0]._work.rows.records
        race(
            f"wait for {count} that have completed",
            lambda: many[0].wait(),
            lambda: rival.lib.rival_collect(records, count, out),
            against=C_LOOP,
            prepare=completed,
            at_most=most,
        )
        assert many[0]._work.rows.records == records


@pytest.mark.parametrize(("count", "most"), LIMITS)
def test_a_plan_is_submitted_again(race: Any, rival: Any, stage: Stage, count: int, most: float) -> None:
    stage = stage.of(count)
    columns: dict[str, Column] = {"source": stage.sources, "destination": stage.destinations, "size": stage.sizes}
    others: dict[str, Column] = {"source": stage.destinations, "destination": stage.sources}
    with stage.dsa.wq(0) as wq, wq.plan(DsaOpcode.MEMMOVE, **columns) as plan:

        def give_back() -> None:
            if plan.in_flight:
                complete(plan)
                plan.wait()

        loop, what = in_c(stage, rival), f"plan of {count} submitted"
        race(f"{what} again", plan.submit, loop, against=C_LOOP, at_most=most, prepare=give_back)
        give_back()
        race(
            f"{what} with others",
            lambda: plan.submit(**others),
            loop,
            against=C_LOOP,
            at_most=most,
            prepare=give_back,
        )
        give_back()


@pytest.mark.parametrize(("count", "most"), LIMITS)
def test_a_plan_is_waited_for(race: Any, rival: Any, stage: Stage, count: int, most: float) -> None:
    stage = stage.of(count)
    out = rival.ffi.new("uint8_t[]", count)
    with stage.dsa.wq(0) as wq, wq.plan(DsaOpcode.NOP, size=stage.sizes) as plan:

        def completed() -> None:
            if plan.in_flight:
                plan.wait()
            plan.submit()
            complete(plan)

        records = plan._work.rows.records
        in_c = lambda: rival.lib.rival_collect(records, count, out)  # noqa: E731
        race(f"wait for a plan of {count}", plan.wait, in_c, against=C_LOOP, prepare=completed, at_most=most)


def test_harvest(race: Any, rival: Any, stage: Stage) -> None:
    fill(stage.records.address, 1, COUNT * RECORD)
    ffi, lib = rival.ffi, rival.lib
    out = ffi.new("uint8_t[]", COUNT)

    def ours() -> None:
        collect(stage.records.address, RECORD, COUNT, 1)

    def in_c() -> None:
        lib.rival_collect(stage.records.address, COUNT, out)

    with stage.records.view as view:

        def singly() -> list[int]:
            return [view[at] for at in range(0, COUNT * RECORD, RECORD)]

        race(f"harvest of {COUNT}", ours, in_c, against=C_LOOP, at_most=1.5)
        race(f"harvest of {COUNT}", ours, singly, against="memoryview", at_least_faster=10)


def test_the_models_copy(race: Any, rival: Any) -> None:
    with vfio_ims.open_driver("mock:intel-dsa,slots=256") as dsa:
        assert isinstance(dsa, Dsa)
        to, source = dsa.device.dma.allocate(COPY), dsa.device.dma.allocate(COPY)
        fill(source.address, 0x5A, COPY)
        with dsa.wq(0, "ims") as wq:
            race(
                "the model's copy of 64 MiB",
                lambda: wq.memmove(to, source, COPY),
                lambda: rival.lib.rival_copy(to.address, source.address, COPY),
                against="memcpy",
                at_most=2.0,
            )


def test_a_fire_on_the_mock(race: Any) -> None:
    with vfio_ims.open_driver("mock:intel-dsa,slots=256") as dsa, vfio_ims.open_driver("mock:minimal") as minimal:
        one, other = dsa.ims.allocate(), minimal.ims.allocate()
        race(
            "a fire of the DSA model",
            lambda: dsa.fire(one.slot),  # type: ignore[attr-defined]
            lambda: minimal.fire(other.slot),  # type: ignore[attr-defined]
            against="the example device's",
        )
