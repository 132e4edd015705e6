# SPDX-License-Identifier: Apache-2.0
"""A load-balanced port: what it dequeues is under way until it is released, forwarded, or replaced by fragments."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.errors import UsageError
from vfio_ims.interruption import uninterrupted

from ..hardware.elements import Command, second_word
from .elements import column
from .ports import Port
from .queues import Queue

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["LdbPort"]

_FORWARD = second_word(Command.FORWARD)


class LdbPort(Port):
    """Takes from the load-balanced queues that it was given. What it dequeues is to be released or forwarded, in order.

    Until then it counts as under way: the port is given no more than its history allows.
    """

    load_balanced = True
    _completed = 0

    @property
    def under_way(self) -> int:
        """Elements that were dequeued and neither released nor forwarded."""
        return self.consumer.taken - self._completed

    def _done(self, count: int, operation: str) -> int:
        try:
            number = index(count)
        except TypeError:
            number = -1
        if not 0 <= number <= self.under_way:
            have = counted(self.under_way, "element")
            why = f"{self.label} has {have} that are dequeued and not done, not {count!r}"
            raise UsageError(operation, device=self._device, why=why)
        self._completed += number
        return number

    def release(self, count: int = 1) -> None:
        """Say that the oldest ``count`` dequeued elements are done."""
        self._open("release elements")
        with self._using("release elements"):
            self.producer.complete(self._done(count, "release elements"))

    def fragment(self, queue: Queue, data: int, *, flow: int = 0, priority: int = 0, opaque: int = 0) -> None:
        """Enqueue one of several elements in place of the oldest dequeued one, which is ordered and not done.

        ``queue``, ``data``, ``flow``, ``priority`` and ``opaque`` are as for ``enqueue``. UsageError where nothing is
        under way.
        """
        if not self.under_way:
            why = f"{self.label} has nothing that is dequeued and not done"
            raise UsageError("enqueue a fragment", device=self._device, why=why)
        self._send(Command.FRAGMENT, queue, data, flow, priority, opaque)

    def forward(self, queue: Queue, data: int, *, flow: int = 0, priority: int = 0, opaque: int = 0) -> None:
        """Enqueue an element in place of the oldest dequeued one, which is done.

        What came from an ordered queue leaves in that queue's order. ``data``, ``flow``, ``priority`` and ``opaque``
        are as for ``enqueue``; they may differ from what was dequeued.
        """
        with uninterrupted():
            self._done(1, "forward an element")
            try:
                self._send(Command.FORWARD, queue, data, flow, priority, opaque)
            except BaseException:
                self._completed -= 1
                raise

    def forward_many(
        self,
        queue: Queue,
        data: Sequence[int] | ReadableBuffer,
        flows: Sequence[int] | ReadableBuffer | int = 0,
        *,
        priority: int = 0,
    ) -> None:
        """Enqueue ``data`` to ``queue`` in place of as many of the oldest dequeued elements; they are done.

        ``flows`` and ``priority`` are as for ``enqueue_many``. UsageError where fewer are under way.
        """
        elements = column("data", "Q", data)
        held = self._hold(elements)  # so that they stay as many
        count = len(elements)
        with uninterrupted():
            self._done(count, "forward elements")
            try:
                self._send_many(_FORWARD, queue, elements, flows, priority)
            except BaseException:
                self._completed -= count
                raise
        del held
