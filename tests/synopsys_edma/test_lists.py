# SPDX-License-Identifier: Apache-2.0
"""Lists in mapped memory: what the compiled call stores is what single accesses store, wherever the list wraps."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import ExitStack
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from vfio_ims.drivers.synopsys_edma.driver.ring import Ring
from vfio_ims.drivers.synopsys_edma.hardware.elements import ELEMENT_SIZE, LOCAL, REMOTE, Elements
from vfio_ims.errors import ClosedError, UsageError
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.window import MappedWindow, Piece

SIZE, ADDRESS = 0x1000, 0x8000_0000


class Taker:
    """Takes every access of a diverted window, and makes it."""

    def __init__(self, window: MappedWindow) -> None:
        self._inner, self.seen = window.undiverted(), list[str]()

    def __getattr__(self, name: str) -> Any:
        self.seen.append(name)
        return getattr(self._inner, name)


class Place:
    """A ring in mapped memory."""

    def __init__(self, stack: ExitStack, guard: tuple[int, int] | None = None) -> None:
        self.memory = stack.enter_context(SharedMemory(2 * SIZE))
        piece = Piece(self.memory.fd, 0, 0, 2 * SIZE)
        self.window = stack.enter_context(MappedWindow(2 * SIZE, [piece], guard=guard, label="it"))
        window = self.window
        bar: Any = SimpleNamespace(
            window=window, write_block=window.write_block, write64=window.write64, read32=window.read32
        )
        self.ring = Ring(bar, SIZE, SIZE, ADDRESS)

    def bytes(self) -> bytes:
        with self.memory.view as view:
            return bytes(view)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def some(random: Random, count: int, *, alike: bool) -> Elements:
    addresses = [[random.getrandbits(64) for _ in range(count)] for _ in range(2)]
    sizes = random.getrandbits(32) | 1 if alike else array("I", [random.getrandbits(32) | 1 for _ in range(count)])
    return Elements(*addresses, sizes)


@pytest.mark.parametrize("diverted", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_one_call_stores_what_single_accesses_do(stack: ExitStack, seed: int, diverted: bool) -> None:
    random, one, other = Random(seed), Place(stack), Place(stack)
    other.ring._store_list = None
    taker = Taker(one.window)
    if diverted:
        one.window.divert(taker)  # type: ignore[arg-type]
    for turn in range(60):
        elements = some(random, random.choice([1, 2, 3, 63, 64, 65, 129, 200]), alike=bool(turn % 2))
        given = 0
        while given < elements.count:
            room = one.ring.room
            if room < 1:
                step = random.randint(1, one.ring.produced - one.ring.consumed)
                one.ring.consumed += step
                other.ring.consumed += step
                continue
            count = random.randint(1, min(room, elements.count - given))
            bits = random.choice([0, LOCAL, LOCAL | REMOTE])
            for place in (one, other):
                place.ring.put(elements, given, count, bits)
            given += count
            assert one.bytes() == other.bytes()
    assert bool(taker.seen) is diverted
    assert one.ring.produced > 3 * one.ring.capacity


def test_what_was_prepared_stays_as_it_was(stack: ExitStack) -> None:
    place, sources, targets, sizes = Place(stack), array("Q", [1, 2]), array("Q", [3, 4]), array("I", [5, 6])
    elements = Elements(sources, targets, sizes)
    sources[0] = targets[0] = 0xFFFF
    sizes.append(7)
    place.ring.put(elements, 0, 2, 0)
    with place.memory.view as view:
        words = view[SIZE : SIZE + 2 * ELEMENT_SIZE].cast("I").tolist()
    assert words == [1, 5, 1, 0, 3, 0, 1, 6, 2, 0, 4, 0]


def test_sizes_of_nothing_are_refused(stack: ExitStack) -> None:
    for sizes in (array("I", [1, 0, 1]), [1, 1, 0], 0):
        with pytest.raises(UsageError, match="a size must be 1 byte or more"):
            Elements([1, 2, 3], [4, 5, 6], sizes)
    with pytest.raises(UsageError, match="not 3 sources, 2 targets, 1 sizes"):
        Elements([1, 2, 3], [4, 5], [6])
    with pytest.raises(UsageError, match="not 2 sources, 1 targets, 2 sizes"):
        Elements([1, 2], [4], 6)


def test_a_list_that_cannot_be_stored_says_why(stack: ExitStack) -> None:
    elements = some(Random(1), 4, alike=False)
    guarded = Place(stack, guard=(SIZE + 32, SIZE + 36))
    with pytest.raises(UsageError):
        guarded.ring.put(elements, 0, 4, 0)
    assert guarded.bytes() == bytes(2 * SIZE)
    assert guarded.ring.produced == 0
    closed = Place(stack)
    closed.window.close()
    with pytest.raises(ClosedError):
        closed.ring.put(elements, 0, 4, 0)
