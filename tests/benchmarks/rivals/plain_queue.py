# SPDX-License-Identifier: Apache-2.0
"""A DSA driver whose queue stores into plain memory: a store costs nothing, and only a driver's own time is seen."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import vfio_ims
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.driver.many import ManyOperations
from vfio_ims.drivers.intel_idxd.driver.plan import Plan
from vfio_ims.drivers.intel_idxd.hardware.descriptors import DsaOpcode
from vfio_ims.native.access import fill
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.window import MappedWindow, Piece

__all__ = ["RECORD", "SINGLES", "PlainQueue", "plain_queue"]

RECORD, PORTALS, PAGE, SINGLES = 32, 0x20000, 4096, 64


@dataclass
class PlainQueue:
    """A queue with room for ``count`` copies, a plan of these, their addresses and sizes; ``records`` are rivals'."""

    wq: Any
    plan: Plan
    count: int
    portals: SharedMemory
    records: SharedMemory
    sources: array[int]
    destinations: array[int]
    sizes: array[int]
    _many: list[ManyOperations] = field(default_factory=list)
    _singles: list[Any] = field(default_factory=list)

    def submit_many(self) -> None:
        """All copies, by one call of ours."""
        submitted = self.wq.submit_many(
            DsaOpcode.MEMMOVE, source=self.sources, destination=self.destinations, size=self.sizes
        )
        self._many.append(submitted)

    def submit_singly(self) -> None:
        """``SINGLES`` copies, by a call of ours each."""
        submit, keep = self.wq.submit.memmove, self._singles.append
        for number in range(SINGLES):
            keep(submit(number, number, 64))

    def wait(self) -> None:
        """For what ``submit_many`` submitted."""
        self._many[0].wait()

    def complete(self) -> None:
        """As the device would: every record has its status, ours and the rivals'."""
        fill(self.records.address, 1, self.count * RECORD)
        for one in (*self._many, self.plan):
            fill(one._work.rows.records, 1, self.count * RECORD)
        for one in self._singles:
            fill(one.record.address, 1, RECORD)

    def give_back(self) -> None:
        """Everything completes, and is taken."""
        self.complete()
        if self.plan.in_flight:
            self.plan.wait()
        for many in self._many:
            many.wait()
            many.close()
        for one in self._singles:
            one.wait()
        self._many.clear()
        self._singles.clear()


@contextmanager
def plain_queue(count: int) -> Iterator[PlainQueue]:
    """A queue with twice as many entries as there are copies."""
    with ExitStack() as stack:
        dsa = stack.enter_context(vfio_ims.open_driver("mock:intel-dsa,slots=256"))
        assert isinstance(dsa, Dsa)
        portals, records = (stack.enter_context(SharedMemory(size)) for size in (PORTALS, count * RECORD + PAGE))
        window = stack.enter_context(MappedWindow(PORTALS, [Piece(portals.fd, 0, 0, PORTALS)]))
        bar, queue = dsa.device.bar(2), dsa.queues[0]
        queue._portals, queue.size = type(bar)(bar.port, bar.owner, 2, window, pieces=True), 2 * count
        wq = stack.enter_context(dsa.wq(0))
        numbers = array("Q", range(count)), array("Q", range(count)), array("I", [64] * count)
        columns = dict(zip(("source", "destination", "size"), numbers, strict=True))
        plan = stack.enter_context(wq.plan(DsaOpcode.MEMMOVE, **columns))
        plain = PlainQueue(wq, plan, count, portals, records, *numbers)
        stack.callback(plain.give_back)
        yield plain
