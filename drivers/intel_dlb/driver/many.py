# SPDX-License-Identifier: Apache-2.0
"""Many elements through a port: enqueued by one compiled call, and dequeued by one.

The call checks that all can be done, does it and keeps the book of it (credits, tokens): Ctrl-C comes before or after.
Where the port's page is not mapped, or another window takes its accesses, the window's own accesses do it.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import index
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.errors import ClosedError, UnsupportedError, UsageError
from vfio_ims.interruption import uninterrupted
from vfio_ims.native.lib import CData, native

from ..hardware.elements import ELEMENT_SIZE, FLOW_BIT, PRIORITY_BIT, Command, second_word
from .elements import NOTHING, Elements, column, lines

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from .consumer import Consumer
    from .credits import Credits
    from .producer import Producer
    from .queues import Queue

__all__ = ["ManyElements"]

_NEW = second_word(Command.NEW)
_made: Callable[[type[Elements]], Elements] = object.__new__
_FEW = 64  # elements that are copied: they do not keep room for a whole consumer queue


class ManyElements:
    """A port's way in and out for many elements. ``own``: of its ``pools``, that of what it dequeues."""

    if TYPE_CHECKING:

        @property
        def label(self) -> str: ...

    def __init__(
        self, device: str, producer: Producer, consumer: Consumer, pools: tuple[Credits, Credits], own: Credits
    ) -> None:
        self._device, self.producer, self.consumer = device, producer, consumer
        self._pools, self._own_pool, self._portal = pools, own, producer.portal
        self._portal.give_to(own)
        self.closed_because = ""
        self._only: int | None = None
        """The queue of a directed port, which its entries do not tell."""
        # At hand: to look these up in each call costs as much as to store a hundred elements.
        ffi = native().ffi
        self._hold, self._null, self._unpack = ffi.from_buffer, ffi.NULL, ffi.unpack
        self._stores, self._store, self._take = self._portal.c, self._portal.store, self._portal.take
        self._ring, self._room = consumer.c, consumer.room
        self._spare: list[CData] = []
        """Rooms for what is dequeued that were not given away."""

    def _open(self, operation: str) -> None:
        if self.closed_because:
            raise ClosedError(operation, device=self._device, why=f"{self.label}: {self.closed_because}")

    @contextmanager
    def _using(self, operation: str) -> Iterator[None]:
        """What goes through the page without a compiled call: a close waits for it."""
        with uninterrupted():
            if not self._portal.enter():
                self._open(operation)
            try:
                yield
            finally:
                self._portal.leave()

    def close(self, why: str) -> None:
        """Refuse what is asked of it from now on, and say ``why``; return once other threads' calls are over."""
        self.closed_because = why
        self._portal.close()

    def enqueue_many(
        self,
        queue: Queue,
        data: Sequence[int] | ReadableBuffer,
        flows: Sequence[int] | ReadableBuffer | int = 0,
        *,
        priority: int = 0,
    ) -> None:
        """Enqueue as many new elements to ``queue`` as there are ``data``, four in a store.

        ``data`` is numbers or a buffer of 64-bit ones, ``flows`` one for all or as many of 16 bits, ``priority`` that
        of all. All or none: DeviceBusy where the domain has not so many credits.
        """
        self._send_many(_NEW, queue, data, flows, priority)

    def _send_many(
        self,
        word: int,
        queue: Queue,
        data: Sequence[int] | ReadableBuffer,
        flows: Sequence[int] | ReadableBuffer | int,
        priority: int,
    ) -> None:
        if self.closed_because:
            self._open("enqueue elements")
        if type(data) is not array or data.typecode != "Q":
            data = column("data", "Q", data)
        word |= queue.word
        if priority != 0:
            word |= self._checked(priority, 3, "priority") << PRIORITY_BIT
        hold, many = self._hold, None
        numbers = hold(data)  # which cannot grow or shrink from now on
        count = len(data)
        if isinstance(flows, int):
            if flows:
                word |= self._checked(flows, 16, "one flow") << FLOW_BIT
            held = self._null
        else:
            many = flows if type(flows) is array and flows.typecode == "H" else column("flows", "H", flows)
            held = hold(many)
            if len(many) != count:
                why = f"flows must be one for each of {counted(count, 'element')}, not {len(many)}"
                raise UsageError("enqueue elements", device=self._device, why=why)
        pool = self._pools[queue.directed]
        status = self._store(self._stores, pool.c, word, numbers, held, count)
        if status:
            self._send_otherwise(status, pool, word, data, many)

    def _send_one(self, pool: Credits, element: bytes) -> None:
        """One element, with its credit by one compiled call, as many are: Ctrl-C comes before or after it."""
        word = int.from_bytes(element[8:], "little")
        status = self._store(self._stores, pool.c, word, self._hold(element), self._null, 1)
        if status:
            self._send_otherwise(status, pool, word, array("Q", element[:8]), None)

    def _checked(self, number: int, bits: int, name: str) -> int:
        try:
            value = index(number)
        except TypeError:
            value = -1
        if not 0 <= value < 1 << bits:
            why = f"{name} must have {bits} bits, not {number!r}"
            raise UsageError("enqueue elements", device=self._device, why=why)
        return value

    def _send_otherwise(
        self,
        status: int,
        pool: Credits,
        word: int,
        data: array[int] | memoryview,
        flows: array[int] | memoryview | None,
    ) -> None:
        """Where the compiled call did not: through the window, or with the error that it is."""
        self._open("enqueue elements")
        self._portal.check(status, "enqueue elements")
        count, made = len(data), lines(word, data, flows)
        with self._using("enqueue elements"):
            pool.claim(count)
            try:
                self.producer.send_lines(made)
            except (ClosedError, UnsupportedError, UsageError):  # refused before the first store
                pool.give(count)
                raise

    def dequeue_many(self, limit: int = 1024) -> Elements:
        """What has been scheduled to the port, up to ``limit`` elements. Tokens and credits go back. Never waits."""
        if self.closed_because:
            self._open("dequeue elements")
        spare = self._spare
        try:
            room = spare.pop() if spare else self._room()
            count = self._take(self._stores, self._ring, limit, room)
        except (IndexError, OverflowError, TypeError):  # another thread was quicker, or more than any queue has
            limit, room = self._limited(limit), self._room()
            count = self._take(self._stores, self._ring, limit, room)
        if count < 0:
            count = self._take_otherwise(count, limit, room)
        if count >= _FEW:
            found = _made(Elements)  # without __init__, half the time
            found.memory, found.length, found.directed = room, count, self._only
            return found
        few = Elements(self._unpack(room, ELEMENT_SIZE * count), count, self._only) if count else NOTHING
        spare.append(room)
        return few

    def _limited(self, limit: int) -> int:
        try:
            return max(0, min(index(limit), self.consumer.entries))
        except TypeError:
            why = f"limit must be a number, not {limit!r}"
            raise UsageError("dequeue elements", device=self._device, why=why) from None

    def _take_otherwise(self, status: int, limit: int, room: CData) -> int:
        """Where the compiled call did not: through the window, or with the error that it is."""
        self._open("dequeue elements")
        self._portal.check(status, "dequeue elements")
        with self._using("dequeue elements"):
            return self.consumer.take(limit, room, self._acknowledge)

    def _acknowledge(self, count: int) -> None:
        self.producer.pop(count)
        self._own_pool.give(count)
