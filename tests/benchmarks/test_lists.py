# SPDX-License-Identifier: Apache-2.0
"""Lists of a DMA engine: made from columns, stored into the engine's memory and started, against a C loop.

The list is plain memory, and so is the doorbell: only our own time is seen. Behind a bus each store takes longer, and
the share of what is measured here gets smaller.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from struct import Struct
from typing import Any, NamedTuple

import pytest

from vfio_ims.drivers.synopsys_edma.driver import Channel, Edma
from vfio_ims.drivers.synopsys_edma.driver.ring import Ring
from vfio_ims.drivers.synopsys_edma.driver.work import Work
from vfio_ims.drivers.synopsys_edma.hardware.elements import Elements
from vfio_ims.drivers.synopsys_edma.hardware.registers import State
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.window import MappedWindow, Piece

COUNT, SIZE = 1024, 0x10000
CALL = (
    "5.4 and 3.9 of 1.5: of 3 us 1.3 are the section that Ctrl-C does not break off and the lock, the rest a Transfer, "
    "the ring's place and the engine's registers; another 1.5 us are the columns' copies and checks"
)
C_LOOP = "C loop on the same memory"


class Doorbell:
    """An engine's registers that are one word of memory; it is never seen to run."""

    interrupts_by_element, label = True, "write channel 0"

    def __init__(self, window: MappedWindow) -> None:
        self._window = window

    def begin(self, address: int) -> None: ...
    def state(self) -> State:
        return State.IDLE

    def position(self) -> int:
        return 0  # where the list begins

    def ring(self) -> None:
        self._window.write32(SIZE, 0)


class Stage(NamedTuple):
    """A channel whose list and doorbell are ``memory``, and what is to be moved."""

    work: Work
    channel: Channel
    memory: SharedMemory
    sources: array[int]
    targets: array[int]
    sizes: array[int]

    def room(self) -> None:
        """As if everything had been done."""
        ring = self.work.ring
        assert ring is not None
        self.work._waiting.clear()
        ring.produced = ring.consumed = 0


@pytest.fixture
def stage() -> Iterator[Stage]:
    with ExitStack() as stack:
        edma = stack.enter_context(Edma.open("mock:synopsys-edma"))
        memory = stack.enter_context(SharedMemory(2 * SIZE))
        window = stack.enter_context(MappedWindow(2 * SIZE, [Piece(memory.fd, 0, 0, 2 * SIZE)]))
        bar = edma.device.bar(2)
        plain = type(bar)(bar.port, bar.owner, 2, window, pieces=True)
        registers: Any = Doorbell(window)
        work = Work("it", registers, Ring(plain, 0, SIZE, 0x1000), lambda: None)
        numbers = array("Q", range(COUNT)), array("Q", range(COUNT)), array("I", [64] * COUNT)
        yield Stage(work, Channel("it", 0, work), memory, *numbers)


def in_c(stage: Stage, rival: Any) -> Any:
    ffi, lib = rival.ffi, rival.lib
    arrays = [
        ffi.from_buffer(f"uint{8 * one.itemsize}_t[]", one) for one in (stage.sources, stage.targets, stage.sizes)
    ]
    address = stage.memory.address
    return lambda: lib.rival_list(address, *arrays, COUNT, address + SIZE)


def in_python(stage: Stage, view: memoryview) -> Any:
    pack = Struct("<IIQQ").pack_into

    def run() -> None:
        at = 0
        for source, target, size in zip(stage.sources, stage.targets, stage.sizes, strict=True):
            pack(view, at, 1, size, source, target)
            at += 24

    return run


def test_a_list_is_prepared_and_started(race: Any, rival: Any, stage: Stage) -> None:
    def ours() -> None:
        stage.channel.start(stage.sources, stage.targets, stage.sizes)

    what = f"list of {COUNT} elements prepared and started"
    with stage.memory.view as view:
        rivals = in_python(stage, view)
        race(what, ours, rivals, against="struct and memoryview", at_least_faster=4, prepare=stage.room)
    race(what, ours, in_c(stage, rival), against=C_LOOP, at_most=1.5, prepare=stage.room, missed=CALL)


def test_a_prepared_list_is_started(race: Any, rival: Any, stage: Stage) -> None:
    elements = Elements(stage.sources, stage.targets, stage.sizes)

    def ours() -> None:
        stage.channel.submit(elements)

    what = f"prepared list of {COUNT} elements started"
    race(what, ours, in_c(stage, rival), against=C_LOOP, at_most=1.5, prepare=stage.room, missed=CALL)


def test_the_list_is_what_the_c_loop_stores(rival: Any, stage: Stage) -> None:
    stage.channel.start(stage.sources, stage.targets, stage.sizes)
    with stage.memory.view as view:
        ours = bytes(view[: 24 * COUNT])
        view[: 24 * COUNT] = bytes(24 * COUNT)
        in_c(stage, rival)()
        expected = bytearray(view[: 24 * COUNT])
    expected[-24] = 1  # without a slot no interrupt is asked for
    assert ours == expected
