# SPDX-License-Identifier: Apache-2.0
"""Copy descriptors into a queue of plain memory: many by one call, and one by one."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from struct import Struct
from typing import Any

from tests.benchmarks import in_c
from tests.benchmarks.pairs import Pairs
from tests.benchmarks.rivals import lone, tinygrad
from tests.benchmarks.rivals.plain_queue import RECORD, SINGLES, PlainQueue, plain_queue
from tests.benchmarks.rivals.rows import Contest, Group, Row, run
from vfio_ims.drivers.intel_idxd.hardware.descriptors import DESCRIPTOR, DsaOpcode, Flag
from vfio_ims.native.access import fill
from vfio_ims.native.memory import SharedMemory

WHAT = DsaOpcode.MEMMOVE << 24 | Flag.RECORD_VALID | Flag.RECORD_ALWAYS
RECORDS_AT = 0x1000
C_LOOP, FIXED = "the C loop", "the C loop, and Python that does not grow with the count"
OBJECTS = "Python: checks, and an object to wait for"
SINGLE = "each by its own call"

RIVALS = (C_LOOP, "struct and memoryview", "lone's way", "tinygrad's way")
COUNTS = (1024, 128)
ROWS = (
    *(
        Row(f"submit {count} descriptors", rival, FIXED if rival == C_LOOP else C_LOOP)
        for count in COUNTS
        for rival in RIVALS
    ),
    *(Row(f"submit a plan of {count} again", C_LOOP, C_LOOP, "a plan was checked before") for count in COUNTS),
) + tuple(Row(f"submit a descriptor, {SINGLE}", rival, OBJECTS) for rival in ("lone's way", "tinygrad's way"))


class Rivals:
    """The other ways to submit what ``queue`` is to copy, and ``forget``, which gives them room again."""

    def __init__(self, queue: PlainQueue, stack: ExitStack) -> None:
        self._queue = queue
        ring = stack.enter_context(SharedMemory(2 * queue.count * 64))
        pointers = stack.enter_context(SharedMemory(4096))
        self.ring = ring
        self.lone = lone.Device(ring.address, pointers.address + 2048, 2 * queue.count, queue.records.address)
        self._tinygrad = tinygrad.Queue(ring.address, ring.size, pointers.address)
        self._view = stack.enter_context(queue.portals.view)
        self._numbers = list(zip(queue.destinations, queue.sources, queue.sizes, strict=True))
        self._c = in_c.build(Path(stack.enter_context(tempfile.TemporaryDirectory())))

    def forget(self) -> None:
        """As if everything had been done."""
        self.lone.forget()
        self._tinygrad.forget()

    def in_c(self) -> Callable[[], object]:
        """A loop that stores eight words for each."""
        queue, lib = self._queue, self._c.lib
        given = ((queue.destinations, 64), (queue.sources, 64), (queue.sizes, 32))
        arrays = [self._c.ffi.from_buffer(f"uint{bits}_t[]", one) for one, bits in given]
        portal, records = queue.portals.address, queue.records.address
        return lambda: lib.rival_descriptors(portal, *arrays, records, RECORDS_AT, queue.count)

    def collect_in_c(self) -> Callable[[], object]:
        """A loop that takes the status of each record."""
        queue, lib = self._queue, self._c.lib
        out = self._c.ffi.new("uint8_t[]", queue.count)
        return lambda: lib.rival_collect(queue.records.address, queue.count, out)

    def in_python(self) -> None:
        """``struct`` packs each into the portal."""
        queue, pack, view = self._queue, Struct(DESCRIPTOR.format).pack_into, self._view
        fill(queue.records.address, 0, queue.count * RECORD)
        at, record = 0, RECORDS_AT
        for destination, source, size in zip(queue.destinations, queue.sources, queue.sizes, strict=True):
            pack(view, at, 0, WHAT, record, source, destination, size, 0, 0, b"")
            at, record = (at + 64) % 4096, record + RECORD

    def by_lone(self, most: int | None = None) -> None:
        """A structure for each, posted."""
        record, post, command = RECORDS_AT, self.lone.post, lone.Command
        for destination, source, size in self._numbers[:most]:
            post(command(WHAT=WHAT, RECORD=record, SOURCE=source, DESTINATION=destination, SIZE=size))
            record += RECORD

    def by_tinygrad(self) -> None:
        """Words for all, submitted once."""
        record, copy = RECORDS_AT, self._tinygrad.copy
        for destination, source, size in self._numbers:
            copy(record, source, destination, size, WHAT)
            record += RECORD
        self._tinygrad.submit()

    def by_tinygrad_singly(self, most: int) -> None:
        """Words for each, submitted at once."""
        record, queue = RECORDS_AT, self._tinygrad
        for destination, source, size in self._numbers[:most]:
            queue.copy(record, source, destination, size, WHAT)
            queue.submit()
            record += RECORD


def contests(count: int, queue: PlainQueue, rivals: Rivals) -> Iterator[Contest]:
    """The rows of this many descriptors."""

    def prepare() -> None:
        queue.give_back()
        rivals.forget()

    ways: dict[str, Callable[[], Any]] = {
        C_LOOP: rivals.in_c(),
        "struct and memoryview": rivals.in_python,
        "lone's way": rivals.by_lone,
        "tinygrad's way": rivals.by_tinygrad,
    }
    singly: dict[str, Callable[[], Any]] = {
        "lone's way": lambda: rivals.by_lone(SINGLES),
        "tinygrad's way": lambda: rivals.by_tinygrad_singly(SINGLES),
    }
    for row in ROWS:
        if row.job == f"submit {count} descriptors":
            yield Contest(row, queue.submit_many, ways[row.rival], prepare)
        elif row.job == f"submit a plan of {count} again":
            yield Contest(row, queue.plan.submit, ways[row.rival], prepare)
        elif SINGLE in row.job and count == 128:
            yield Contest(row, queue.submit_singly, singly[row.rival], prepare, SINGLES)


def measure(rounds: int) -> Iterator[tuple[Row, Pairs]]:
    """Each row's figures."""
    for count in COUNTS:
        with ExitStack() as stack:
            queue = stack.enter_context(plain_queue(count))
            yield from run(contests(count, queue, Rivals(queue, stack)), rounds)


GROUP = Group(
    "Submitting descriptors",
    "The queue is plain memory. Ours clears completion records, keeps to the queue's size, books what is in flight and "
    "checks every value; of the others lone keeps to the queue's size and books, tinygrad keeps to the ring's.",
    ROWS,
    measure,
)
