# SPDX-License-Identifier: Apache-2.0
"""Elements of a load balancer: 1024 enqueued by one call, and 1024 dequeued, against a C loop and against ``struct``.

The port's page and the consumer queue are plain memory: only our own time is seen.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import ExitStack, closing
from struct import Struct
from typing import Any, NamedTuple

import pytest

from vfio_ims.drivers.intel_dlb.driver import DirectedPort, Dlb, Kind, Queue
from vfio_ims.drivers.intel_dlb.driver.consumer import Consumer
from vfio_ims.drivers.intel_dlb.driver.credits import Credits
from vfio_ims.drivers.intel_dlb.driver.producer import Producer
from vfio_ims.drivers.intel_dlb.hardware.elements import Element
from vfio_ims.native.lib import native
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.window import MappedWindow, Piece

COUNT = 1024
C_LOOP = "C loop on the same memory"
PYTHON = "struct and memoryview"
_PAGE, _AT = 4096, 0x200_0000


class Stage(NamedTuple):
    """A port whose page is ``page``, and whose consumer queue, full, is ``ring``."""

    port: DirectedPort
    queue: Queue
    page: SharedMemory
    ring: Any
    data: array[int]
    flows: array[int]

    def refill(self) -> None:
        """As if the device had written a lap of entries."""
        native().lib.entry_ring_restart(self.port.consumer.c)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with ExitStack() as stack:
        dlb = stack.enter_context(Dlb.open("mock:intel-dlb"))
        page = stack.enter_context(SharedMemory(_PAGE))
        window = stack.enter_context(MappedWindow(_AT + _PAGE, [Piece(page.fd, 0, _AT, _PAGE)]))
        bar = dlb.device.bar(0)
        plain = type(bar)(bar.port, bar.owner, 0, window, pieces=True)
        ring = dlb.device.dma.allocate(16 * COUNT)
        element = Struct("<QHBBHBB")
        for number in range(COUNT):
            element.pack_into(ring.view, 16 * number, number, 0, number & 0xFF, 0, 0, 0, 1)  # a directed entry
        registers: Any = None
        consumer = stack.enter_context(closing(Consumer(ring, COUNT)))
        pool = Credits("it", 1 << 60)
        producer = Producer(plain, 0, ldb=False)
        queue = Queue(5, Kind.DIRECTED)
        port = DirectedPort("it", 0, registers, producer, consumer, (pool, pool), None, queue)
        data, flows = array("Q", range(COUNT)), array("H", [n & 0xFF for n in range(COUNT)])
        yield Stage(port, queue, page, ring, data, flows)


def test_1024_elements_are_enqueued(race: Any, rival: Any, stage: Stage) -> None:
    ffi, lib = rival.ffi, rival.lib
    data, flows = ffi.from_buffer("uint64_t[]", stage.data), ffi.from_buffer("uint16_t[]", stage.flows)
    address, pack = stage.page.address, Struct("<QHBBHBB").pack_into

    def ours() -> None:
        stage.port.enqueue_many(stage.queue, stage.data, stage.flows)

    def in_c() -> None:
        lib.rival_enqueue(address, data, flows, 5, COUNT)

    what = f"{COUNT} elements enqueued"
    with stage.page.view as view:

        def in_python() -> None:
            at = 0
            for number, flow in zip(stage.data, stage.flows, strict=True):
                pack(view, at, number, 0, 5, 3, flow, 0, 8)
                at = (at + 16) % 64

        race(what, ours, in_python, against=PYTHON, at_least_faster=8)
    race(what, ours, in_c, against=C_LOOP, at_most=1.5)


def test_1024_elements_are_dequeued(race: Any, rival: Any, stage: Stage) -> None:
    ffi, lib = rival.ffi, rival.lib
    address, unpack = stage.page.address, Struct("<QHBBHBB").unpack_from
    out = ffi.new("uint8_t[]", 16 * COUNT)

    def ours() -> None:
        assert len(stage.port.dequeue_many(COUNT)) == COUNT

    def in_c() -> None:
        assert lib.rival_dequeue(stage.ring.address, 1, COUNT, out, address) == COUNT

    what = f"{COUNT} elements dequeued"
    with stage.ring.view as view:

        def in_python() -> None:
            found = []
            for at in range(0, 16 * COUNT, 16):
                one = unpack(view, at)
                if not one[6] & 1:
                    break
                found.append(one)

        race(what, ours, in_python, against=PYTHON, at_least_faster=8, prepare=stage.refill)
    race(what, ours, in_c, against=C_LOOP, at_most=1.5, prepare=stage.refill)


def test_the_elements_are_what_the_c_loops_make_and_find(rival: Any, stage: Stage) -> None:
    stage.port.enqueue_many(stage.queue, stage.data[:7], stage.flows[:7])
    with stage.page.view as view:
        ours = bytearray(view[:64])
    ffi = rival.ffi
    data, flows = ffi.from_buffer("uint64_t[]", stage.data), ffi.from_buffer("uint16_t[]", stage.flows)
    rival.lib.rival_enqueue(stage.page.address, data, flows, 5, 7)
    with stage.page.view as view:
        theirs = bytearray(view[:64])
    for at in range(11, 48, 16):
        ours[at] &= ~3  # the kind is not 0 with us
    assert ours == theirs
    found = stage.port.dequeue_many(COUNT)
    assert list(found.data) == list(range(COUNT))
    assert found[3] == Element(3, 0, 5, Kind.DIRECTED, 0, 3)
