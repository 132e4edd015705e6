# SPDX-License-Identifier: Apache-2.0
"""Ports as their users have them: enqueue, dequeue what was scheduled, and say when it is done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from vfio_ims.errors import ClosedError, DeviceTimeout, UsageError
from vfio_ims.interruption import uninterrupted
from vfio_ims.locks import make_lock

from ..hardware.elements import ELEMENT_SIZE, Command, Element, pack
from .elements import Elements, lines
from .queues import Queue

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from ..hardware.ports import DirectedPort as DirectedRegisters
    from ..hardware.ports import LdbPort as LdbRegisters
    from .consumer import Consumer
    from .credits import Credits
    from .producer import Producer

__all__ = ["DirectedPort", "Port", "Waker"]

_POLL = 0.0005  # seconds between looks of a task that has no interrupt to wait for
_SPIN = 0.00002
_NOTHING = Elements(b"")


class Waker(Protocol):
    """What wakes who waits for elements: an IMS interrupt, or an MSI-X vector."""

    def wait(self, timeout: float | None = None) -> bool: ...
    def __await__(self) -> Generator[Any, None, Any]: ...


class Port:
    """``number``: the device's. ``interrupt`` wakes who waits; None: it looks again and again.

    Made by a domain, which closes it. One thread at a time dequeues; enqueueing may come from several.
    """

    load_balanced = False

    def __init__(
        self,
        device: str,
        number: int,
        registers: LdbRegisters | DirectedRegisters,
        producer: Producer,
        consumer: Consumer,
        pools: tuple[Credits, Credits],
        interrupt: Waker | None,
    ) -> None:
        self._device, self.number, self.registers = device, number, registers
        self.producer, self.consumer, self.interrupt = producer, consumer, interrupt
        self._pools = pools
        self._lock = make_lock()
        self.closed_because = ""
        self.owner: object = None
        """Its domain, which lives as long as any of its ports is held."""
        self._only: int | None = None
        """The queue of a directed port, which its entries do not tell."""

    @property
    def label(self) -> str:
        return f"{'load-balanced' if self.load_balanced else 'directed'} port {self.number}"

    def _open(self, operation: str) -> None:
        if self.closed_because:
            raise ClosedError(operation, device=self._device, why=f"{self.label}: {self.closed_because}")

    # --- enqueue ------------------------------------------------------------------------------------------------------

    def enqueue(self, queue: Queue, data: int, *, flow: int = 0, priority: int = 0, opaque: int = 0) -> None:
        """Enqueue a new element: 64 bits of ``data``. ``flow``: which atomic ones stay together. ``priority``: 0 first.

        DeviceBusy where the domain has no credit left.
        """
        self._send(Command.NEW, queue, data, flow, priority, opaque)

    def _send(self, command: Command, queue: Queue, data: int, flow: int, priority: int, opaque: int) -> None:
        self._open("enqueue an element")
        if not 0 <= data < 1 << 64 or not 0 <= flow < 1 << 16 or not 0 <= priority < 8 or not 0 <= opaque < 1 << 16:
            why = f"data has 64 bits, flow and opaque 16, priority 3: not {data}, {flow}, {opaque}, {priority}"
            raise UsageError("enqueue an element", device=self._device, why=why)
        self._pools[queue.directed].take(1)
        one = pack(command, data, queue.number, queue.kind, priority=priority, flow=flow, opaque=opaque)
        self.producer.send(one)

    def enqueue_many(
        self,
        queue: Queue,
        data: Sequence[int] | ReadableBuffer,
        flows: Sequence[int] | ReadableBuffer | int = 0,
        *,
        priority: int = 0,
    ) -> None:
        """Enqueue as many new elements as there are ``data``, four in a store.

        ``data`` is numbers or a buffer of 64-bit ones, ``flows`` one for all or as many of 16 bits. All or none:
        DeviceBusy where the domain has not so many credits.
        """
        self._send_many(Command.NEW, queue, data, flows, priority)

    def _send_many(
        self,
        command: Command,
        queue: Queue,
        data: Sequence[int] | ReadableBuffer,
        flows: Sequence[int] | ReadableBuffer | int,
        priority: int,
    ) -> None:
        self._open("enqueue elements")
        count, made = lines(command, queue.number, queue.kind, data, flows, priority)
        self._pools[queue.directed].take(count)
        self.producer.send_lines(made)

    # --- dequeue ------------------------------------------------------------------------------------------------------

    def dequeue_many(self, limit: int = 1024) -> Elements:
        """What has been scheduled to the port, up to ``limit`` elements. Tokens and credits go back. Never waits."""
        self._open("dequeue elements")
        if self.consumer.empty:
            return _NOTHING
        with uninterrupted(), self._lock:  # what is taken is given to the caller, and its tokens to the device
            raw = self.consumer.take(limit)
            count = len(raw) // ELEMENT_SIZE
            if count:
                self._taken(count)
        return Elements(raw, self._only)

    def _taken(self, count: int) -> None:
        self.producer.pop(count)
        self._pools[not self.load_balanced].give(count)

    def dequeue_wait(self, timeout: float = 5.0) -> Element:
        """Dequeue one element, once there is one. DeviceTimeout after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        while True:
            found = self.dequeue_many(1) or self._armed()
            if found:
                return found[0]
            left = deadline - time.monotonic()
            if left <= 0:
                why = f"nothing was scheduled to {self.label} in {timeout:g} s"
                raise DeviceTimeout("dequeue an element", device=self._device, why=why)
            if self.interrupt is None:
                time.sleep(min(left, _SPIN))
            else:
                self.interrupt.wait(left)

    async def dequeue(self) -> Element:
        """Dequeue one element, once there is one."""
        while True:
            found = self.dequeue_many(1) or self._armed()
            if found:
                return found[0]
            if self.interrupt is None:
                await asyncio.sleep(_POLL)
            else:
                await self.interrupt

    def _armed(self) -> Elements:
        """Arm the interrupt, then look once more: what came before that raises no interrupt."""
        if self.interrupt is None:
            return _NOTHING
        self.producer.arm()
        return self.dequeue_many(1)

    def interrupt_at(self, count: int, timer: int = 0) -> None:
        """Interrupt once ``count`` elements have come, not at the first, or once one waited ``timer`` samples.

        Without a timer who waits for one element is woken by the ``count``-th.
        """
        self._open("set when it interrupts")
        if not 1 <= count <= self.consumer.entries or not 0 <= timer < 1 << 14:
            why = f"count must be 1 to {self.consumer.entries}, timer below {1 << 14}, not {count} and {timer}"
            raise UsageError("set when it interrupts", device=self._device, why=why)
        self.registers.CQ_INT_DEPTH_THRSH.write(threshold=count - 1)
        self.registers.CQ_TMR_THRSH.write(threshold=timer)
        self.registers.CQ_INT_ENB.write(depth=1, timer=bool(timer))

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number} of {self._device}>"


class DirectedPort(Port):
    """Takes from ``queue``, its own directed queue."""

    def __init__(
        self,
        device: str,
        number: int,
        registers: DirectedRegisters,
        producer: Producer,
        consumer: Consumer,
        pools: tuple[Credits, Credits],
        interrupt: Waker | None,
        queue: Queue,
    ) -> None:
        super().__init__(device, number, registers, producer, consumer, pools, interrupt)
        self.queue, self._only = queue, queue.number
