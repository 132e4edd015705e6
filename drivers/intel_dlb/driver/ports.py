# SPDX-License-Identifier: Apache-2.0
"""Ports as their users have them: enqueue, dequeue what was scheduled, and say when it is done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from operator import index
from typing import TYPE_CHECKING, Any, Protocol

from vfio_ims.errors import DeviceTimeout, UsageError

from ..hardware.elements import Command, Element, pack
from .elements import NOTHING, Elements
from .many import ManyElements
from .queues import Queue

if TYPE_CHECKING:
    from ..hardware.ports import DirectedPort as DirectedRegisters
    from ..hardware.ports import LdbPort as LdbRegisters
    from .consumer import Consumer
    from .credits import Credits
    from .producer import Producer

__all__ = ["DirectedPort", "Port", "Waker"]

_POLL = 0.0005  # seconds between looks of a task that has no interrupt to wait for
_SPIN = 0.00002


class Waker(Protocol):
    """What wakes who waits for elements: an IMS interrupt, or an MSI-X vector."""

    def wait(self, timeout: float | None = None) -> bool: ...
    def __await__(self) -> Generator[Any, None, Any]: ...


class Port(ManyElements):
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
        super().__init__(device, producer, consumer, pools, pools[not self.load_balanced])
        self.number, self.registers, self.interrupt = number, registers, interrupt
        self.owner: object = None
        """Its domain, which lives as long as any of its ports is held."""

    @property
    def label(self) -> str:
        """What errors call it: "load-balanced port 3"."""
        return f"{'load-balanced' if self.load_balanced else 'directed'} port {self.number}"

    # --- enqueue ------------------------------------------------------------------------------------------------------

    def enqueue(self, queue: Queue, data: int, *, flow: int = 0, priority: int = 0, opaque: int = 0) -> None:
        """Enqueue a new element. DeviceBusy where the domain has no credit left.

        Args:
            queue: of this port's domain.
            data: 64 bits.
            flow: which elements of an atomic queue stay together and in order, 16 bits.
            priority: 0 is served first, 7 last.
            opaque: 16 bits that travel along.
        """
        self._send(Command.NEW, queue, data, flow, priority, opaque)

    def _send(self, command: Command, queue: Queue, data: int, flow: int, priority: int, opaque: int) -> None:
        self._open("enqueue an element")
        try:
            fits = 0 <= data < 1 << 64 and 0 <= flow < 1 << 16 and 0 <= priority < 8 and 0 <= opaque < 1 << 16
            data, flow, priority, opaque = index(data), index(flow), index(priority), index(opaque)
        except TypeError:
            fits = False
        if not fits:
            why = f"data has 64 bits, flow and opaque 16, priority 3: not {data!r}, {flow!r}, {opaque!r}, {priority!r}"
            raise UsageError("enqueue an element", device=self._device, why=why)
        one = pack(command, data, queue.number, queue.kind, priority=priority, flow=flow, opaque=opaque)
        self._send_one(self._pools[queue.directed], one)

    # --- dequeue ------------------------------------------------------------------------------------------------------

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
            return NOTHING
        with self._using("arm the interrupt"):
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
