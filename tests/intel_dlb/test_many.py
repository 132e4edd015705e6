# SPDX-License-Identifier: Apache-2.0
"""Many elements by one call: what it takes as columns, and that it does all or nothing, mapped or not."""

from __future__ import annotations

import ctypes
import gc
from array import array
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest

from tests.native.window.below import Other
from vfio_ims.drivers.intel_dlb.driver import DirectedPort, Dlb, Domain, Kind, LdbPort, Queue
from vfio_ims.drivers.intel_dlb.driver.consumer import Consumer
from vfio_ims.drivers.intel_dlb.driver.credits import Credits
from vfio_ims.drivers.intel_dlb.driver.producer import Producer
from vfio_ims.drivers.intel_dlb.hardware.elements import PER_STORE, Command, Element, pack
from vfio_ims.errors import ClosedError, DeviceBusy, UsageError
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.window import MappedWindow, Piece

PAGE, AT, ENTRIES = 4096, 0x200_0000, 128


class Mapped:
    """A directed port whose page is mapped memory, and whose consumer queue the test fills."""

    def __init__(self, dlb: Dlb, stack: ExitStack) -> None:
        self.page = stack.enter_context(SharedMemory(PAGE))
        self.window = stack.enter_context(MappedWindow(AT + PAGE, [Piece(self.page.fd, 0, AT, PAGE)]))
        bar = dlb.device.bar(0)
        plain = type(bar)(bar.port, bar.owner, 0, self.window, pieces=True)
        self.ring = dlb.device.dma.allocate(16 * ENTRIES)
        consumer = stack.enter_context(closing(Consumer(self.ring, ENTRIES)))
        self.pool, self.queue = Credits("it", 1000), Queue(5, Kind.DIRECTED)
        registers: Any = None
        self.port = DirectedPort(
            "it", 0, registers, Producer(plain, 0, ldb=False), consumer, (self.pool, self.pool), None, self.queue
        )
        self.written = 0

    def write(self, count: int) -> None:
        """As the device: ``count`` elements, whose data is their number."""
        with self.ring.view as view:
            for number in range(self.written, self.written + count):
                at = 16 * (number % ENTRIES)
                view[at : at + 15] = pack(0, number, number & 0xFF)[:15]
                view[at + 15] = number // ENTRIES % 2 == 0
        self.written += count

    @property
    def line(self) -> bytes:
        """What the last store has left at the port's page; nothing else was stored."""
        with self.page.view as view:
            assert not any(view[64:PAGE])
            return bytes(view[:64])


@pytest.fixture
def mapped(dlb: Dlb) -> Iterator[Mapped]:
    with ExitStack() as stack:
        yield Mapped(dlb, stack)


@pytest.fixture(params=["mapped", "trapped", "diverted"])
def port_of(request: pytest.FixtureRequest, dlb: Dlb) -> Iterator[tuple[DirectedPort, Callable[[], bytes]]]:
    """A port and the last 64 bytes that were stored through it: however its page is reached."""
    with ExitStack() as stack:
        mapped = Mapped(dlb, stack)
        if request.param == "mapped":
            yield mapped.port, lambda: mapped.line
            return
        taker: Any = _Taker()  # it answers to every verb of a window
        if request.param == "diverted":
            mapped.window.divert(taker)
            yield mapped.port, lambda: taker.last
            mapped.window.divert(None)
            return
        window = stack.enter_context(MappedWindow(AT + PAGE, trap=taker))
        bar = dlb.device.bar(0)
        plain = type(bar)(bar.port, bar.owner, 0, window, pieces=True)
        producer, registers = Producer(plain, 0, ldb=False), mapped.port.registers
        pools = (mapped.pool, mapped.pool)
        yield (
            DirectedPort("it", 0, registers, producer, mapped.port.consumer, pools, None, mapped.queue),
            lambda: taker.last,
        )


class _Taker(Other):
    """What a window's accesses go to otherwise."""

    last = bytes(64)

    def store64(self, offset: int, data: bytes, *, pieces: bool = False) -> None:
        self.last = bytes(data)

    def store64_many(self, offset: int, data: bytes, count: int, **_: object) -> None:
        self.last = bytes(data)[-64:] if count else self.last


def made(elements: list[tuple[int, int]], command: Command = Command.NEW, priority: int = 0) -> bytes:
    """The last store of these, each its data and flow."""
    start = (len(elements) - 1) // PER_STORE * PER_STORE
    some = [pack(command, data, 5, Kind.DIRECTED, priority=priority, flow=flow) for data, flow in elements[start:]]
    return b"".join(some).ljust(64, b"\0")


Reached = tuple[DirectedPort, Callable[[], bytes]]


@pytest.mark.parametrize("count", [1, 3, 4, 5, 64, 257])
def test_any_columns_are_laid_out_alike(port_of: Reached, count: int) -> None:
    port, last = port_of
    numbers, flows = (
        [n * 0x0123_4567_89AB % (1 << 64) for n in range(count)],
        [n * 251 % (1 << 16) for n in range(count)],
    )
    data = array("Q", numbers)
    strided = memoryview(array("Q", [n for number in numbers for n in (number, 0)]))[::2]
    same: list[Any] = [
        numbers,
        tuple(numbers),
        data,
        data.tobytes(),
        memoryview(data),
        memoryview(data).cast("B"),
        strided,
    ]
    for given in same:
        port.enqueue_many(port.queue, given, flows, priority=6)
        assert last() == made(list(zip(numbers, flows, strict=True)), priority=6)
        port.enqueue_many(port.queue, given, 0xFFFF)
        assert last() == made([(number, 0xFFFF) for number in numbers])
        port._pools[1].give(2 * count)
    wide = memoryview(array("H", [n for flow in flows for n in (flow, 7)]))[::2]
    for more in (array("H", flows), array("H", flows).tobytes(), wide):
        port.enqueue_many(port.queue, data, more)
        assert last() == made(list(zip(numbers, flows, strict=True)))
        port._pools[1].give(count)
    assert port._pools[1].left == 1000


WRONG: list[tuple[Any, Any, int, str]] = [
    ([1, -1], 0, 0, "data must be numbers of 64 bits"),
    ([1, 1 << 64], 0, 0, "data must be numbers of 64 bits"),
    ([1, "x"], 0, 0, "data must be numbers of 64 bits"),
    (5, 0, 0, "data must be numbers of 64 bits"),
    (array("d", [1.0]), 0, 0, "data must be numbers of 64 bits"),
    (array("I", [1, 2]), 0, 0, "data must be numbers of 64 bits"),
    (bytes(12), 0, 0, "data must be numbers of 64 bits"),
    ((ctypes.py_object * 2)(1, 2), 0, 0, "data must be numbers of 64 bits, .*: not one of 8 bytes each, format '<O'"),
    ((ctypes.c_uint64.__ctype_be__ * 2)(1, 2), 0, 0, "data must be numbers of 64 bits, .*: not .*, format '>Q'"),
    ([1], (ctypes.c_uint16.__ctype_be__ * 1)(1), 0, "flows must be numbers of 16 bits, .*: not .*, format '>H'"),
    ([1, 2], [1], 0, "flows must be one for each of 2 elements, not 1"),
    ([1], array("H", [1, 2]), 0, "flows must be one for each of 1 element, not 2"),
    ([1], [1 << 16], 0, "flows must be numbers of 16 bits"),
    ([1], array("I", [1]), 0, "flows must be numbers of 16 bits"),
    ([1], 1 << 16, 0, "one flow must have 16 bits, not 65536"),
    ([1], -1, 0, "one flow must have 16 bits, not -1"),
    ([1], 0, 8, "priority must have 3 bits, not 8"),
    ([1], 0, -1, "priority must have 3 bits, not -1"),
]


@pytest.mark.parametrize(("data", "flows", "priority", "words"), WRONG)
def test_one_wrong_value_stores_nothing(port_of: Reached, data: Any, flows: Any, priority: int, words: str) -> None:
    port, last = port_of
    with pytest.raises(UsageError, match=words):
        port.enqueue_many(port.queue, data, flows, priority=priority)
    assert last() == bytes(64)
    assert port._pools[1].left == 1000


class _Shrinking:
    """A number that cuts an array when it is looked at."""

    def __init__(self, numbers: array[int]) -> None:
        self.numbers = numbers

    def __index__(self) -> int:
        del self.numbers[:]
        return 1


def test_an_array_that_is_cut_meanwhile_is_not_read_beyond_its_end(port_of: Reached) -> None:
    port, last = port_of
    numbers = array("Q", range(1, 1000))
    flows: list[Any] = [_Shrinking(numbers), *range(998)]
    with pytest.raises((UsageError, BufferError)):
        port.enqueue_many(port.queue, numbers, flows)
    assert last() == bytes(64)
    assert port._pools[1].left == 1000


@pytest.mark.parametrize("priority", ["2", 2.0, None])
def test_a_priority_is_a_number(port_of: Reached, priority: Any) -> None:
    port, last = port_of
    with pytest.raises(UsageError, match="priority must have 3 bits, not"):
        port.enqueue_many(port.queue, [1, 2], priority=priority)
    assert last() == bytes(64)
    assert port._pools[1].left == 1000


class _Number:
    """As numpy's, and others'."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def test_numbers_of_other_libraries_are_numbers(port_of: Reached) -> None:
    port, last = port_of
    two: Any = _Number(2)
    port.enqueue_many(port.queue, [1], priority=two)
    assert last() == made([(1, 0)], priority=2)
    assert not port.dequeue_many(two)


@pytest.mark.parametrize("limit", ["2", 2.5, None])
def test_a_limit_is_a_number(mapped: Mapped, limit: Any) -> None:
    mapped.write(3)
    with pytest.raises(UsageError, match="limit must be a number, not"):
        mapped.port.dequeue_many(limit)
    assert len(mapped.port.dequeue_many()) == 3


def test_all_or_none_for_the_credits(port_of: Reached) -> None:
    port, last = port_of
    with pytest.raises(DeviceBusy, match="1000 credits of 1000 are left"):
        port.enqueue_many(port.queue, range(1001))
    assert last() == bytes(64)
    port.enqueue_many(port.queue, range(1000))
    assert port._pools[1].left == 0
    with pytest.raises(DeviceBusy, match="enqueue 1 element"):
        port.enqueue_many(port.queue, [1])
    port.enqueue_many(port.queue, [])


def test_a_closed_window_keeps_credits_and_entries(mapped: Mapped) -> None:
    mapped.write(3)
    mapped.window.close()
    with pytest.raises(ClosedError):
        mapped.port.enqueue_many(mapped.queue, range(10))
    with pytest.raises(ClosedError):
        mapped.port.dequeue_many()
    assert mapped.pool.left == 1000
    assert mapped.port.consumer.taken == 0


def test_a_queue_of_no_device_is_refused() -> None:
    for number in (-1, 256):
        with pytest.raises(UsageError, match="8 bits"):
            Queue(number, Kind.DIRECTED)


def popped(count: int) -> bytes:
    return pack(Command.POP, flow=count - 1).ljust(64, b"\0")


@pytest.mark.parametrize("how", ["mapped", "diverted"])
def test_dequeued_in_turn_round_the_end_and_few_or_many(mapped: Mapped, how: str) -> None:
    taker: Any = _Taker()
    if how == "diverted":
        mapped.window.divert(taker)
    taken = 0
    for count in (1, 63, 64, 128, 100, 5, 128, 0, 77):
        mapped.write(count)
        found = mapped.port.dequeue_many()
        assert list(found.data) == list(range(taken, taken + count))
        taken += count
        if count:
            assert (taker.last if how == "diverted" else mapped.line) == popped(count)
        assert mapped.pool.left == 1000 + taken
    mapped.write(100)
    for limit, expected in ((0, 0), (-3, 0), (7, 7), (1 << 70, 93), (1 << 70, 0), (-(1 << 70), 0)):
        assert len(mapped.port.dequeue_many(limit)) == expected
    mapped.window.divert(None)


def test_what_was_dequeued_stays_as_it_was(mapped: Mapped) -> None:
    mapped.write(128)
    many = mapped.port.dequeue_many()
    mapped.write(100)
    few, rest = mapped.port.dequeue_many(10), mapped.port.dequeue_many()
    mapped.write(128)
    mapped.port.dequeue_many()
    assert [list(found.data) for found in (many, few, rest)] == [
        list(range(128)),
        list(range(128, 138)),
        list(range(138, 228)),
    ]
    column, raw = many.data, many.raw
    assert many[5] == Element(5, 0, 5, Kind.DIRECTED, 0, 5)
    assert [one.data for one in many] == list(range(128))
    assert column.readonly
    del many
    gc.collect()
    mapped.write(28)
    mapped.port.dequeue_many()
    assert list(column) == list(range(128)), "a column keeps what it is of"
    assert len(raw) == 16 * 128


def test_what_was_dequeued_is_forwarded_as_a_column(dlb: Dlb) -> None:
    with dlb.domain() as domain:
        worker, target, queue = _stages(domain)
        worker.enqueue_many(queue, range(6), flows=range(10, 16))
        found = worker.dequeue_many()
        assert worker.under_way == 6
        with pytest.raises(UsageError, match="priority"):
            worker.forward_many(target.queue, found.data, found.flows, priority=9)
        assert worker.under_way == 6
        worker.forward_many(target.queue, found.data, found.flows)
        assert worker.under_way == 0
        came = target.dequeue_many()
        assert (list(came.data), list(came.flows)) == (list(range(6)), list(range(10, 16)))
        assert dlb.take_alarm() is None


HOW: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "array": lambda raw: array("Q", raw),
    "every second": lambda raw: memoryview(raw[:8] + bytes(8) + raw[8:] + bytes(8)).cast("Q")[::2],
}


@pytest.mark.parametrize("make", HOW.values(), ids=HOW)
def test_as_many_are_done_as_are_forwarded(dlb: Dlb, make: Callable[[bytes], Any]) -> None:
    """However the numbers are given: plain bytes are not one element each."""
    with dlb.domain() as domain:
        worker, target, queue = _stages(domain)
        worker.enqueue_many(queue, range(4))
        worker.dequeue_many()
        worker.forward_many(target.queue, make(array("Q", [7, 7]).tobytes()))
        assert worker.under_way == 2
        assert list(target.dequeue_many().data) == [7, 7]


def _stages(domain: Domain) -> tuple[LdbPort, DirectedPort, Queue]:
    queue = domain.queue(Kind.UNORDERED)
    return domain.port([queue], interrupt="poll"), domain.directed_port(interrupt="poll"), queue
