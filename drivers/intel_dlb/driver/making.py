# SPDX-License-Identifier: Apache-2.0
"""Making a domain's queues and ports: numbers and shares taken, registers set up; all of it or nothing."""

from __future__ import annotations

import contextlib
from contextlib import ExitStack
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceBusy, UsageError, VfioImsError
from vfio_ims.ims import ImsInterrupt

from ..hardware.elements import ELEMENT_SIZE, Kind
from ..hardware.places import LDB_PORTS
from ..hardware.ports import CqIsr
from .consumer import Consumer
from .ldb_port import LdbPort
from .ports import DirectedPort
from .producer import Producer
from .queues import Queue, configure_directed_queue, configure_queue, take_sequences
from .setup import configure_port, interrupt_by, reset_port

if TYPE_CHECKING:
    from vfio_ims.interrupts.vector import VectorInterrupt

    from ..hardware.ports import DirectedPort as DirectedRegisters
    from ..hardware.ports import LdbPort as LdbRegisters
    from .credits import Credits
    from .parts import Parts

__all__ = ["DEPTHS", "SEQUENCES", "Maker"]

DEPTHS = tuple(1 << shift for shift in range(11))
SEQUENCES = (64, 128, 256, 512, 1024)
_SMALLEST = 8  # entries of a ring


class Maker:
    """For domain ``number``. What a thing was given is put on ``kept``, to be given back. Under the driver's lock."""

    def __init__(self, parts: Parts, label: str, number: int, pools: tuple[Credits, Credits]) -> None:
        self._parts, self._label, self._number, self._pools = parts, label, number, pools

    def queue(self, kind: Kind, storage: int, sequences: int, kept: ExitStack) -> Queue:
        """A load-balanced queue that the domain may not enqueue to yet."""
        resources = self._parts.resources
        number = resources.ldb_queues.take()
        kept.callback(resources.ldb_queues.give, number)
        taken, share = None, 0
        if kind is Kind.ORDERED:
            taken = take_sequences(resources, sequences)
            if taken is None:
                why = f"no group has a slot of {sequences} sequence numbers free"
                raise DeviceBusy("make a queue", device=self._label, why=why, hint="as many as other queues have")
            kept.callback(resources.sequences[taken[0]].give, taken[1])
        elif kind is Kind.ATOMIC:
            share = resources.storage.take(storage)
            kept.callback(resources.storage.give, share)
        made = Queue(number, kind, sequences if taken else 0, taken, share)
        configure_queue(self._parts.regs, made)
        return made

    def directed(
        self, depth: int, interrupt: str | ImsInterrupt | VectorInterrupt, kept: ExitStack
    ) -> tuple[DirectedPort, Queue]:
        """A directed port, whose queue the domain may not enqueue to yet."""
        parts = self._parts
        number = parts.resources.directed.take()
        kept.callback(parts.resources.directed.give, number)
        registers, queue = parts.regs.DIR[number], Queue(number, Kind.DIRECTED)
        consumer = self._ring(depth, kept)
        producer = Producer(parts.device.bar(0), number, ldb=False)
        waker, mode, vector = self._interrupt(interrupt, LDB_PORTS + number, kept)
        port = DirectedPort(parts.device.name, number, registers, producer, consumer, self._pools, waker, queue)
        configure_directed_queue(parts.regs, number)
        self._configure(registers, consumer.iova, depth, (0, 0), (mode, vector))
        return port, queue

    def balanced(
        self, depth: int, history: int, interrupt: str | ImsInterrupt | VectorInterrupt, kept: ExitStack
    ) -> LdbPort:
        """A load-balanced port that takes from no queue yet."""
        parts = self._parts
        number = parts.resources.ldb_ports.take()
        kept.callback(parts.resources.ldb_ports.give, number)
        first = parts.resources.history.take(history)
        kept.callback(parts.resources.history.give, first)
        registers, consumer = parts.regs.LDB[number], self._ring(depth, kept)
        producer = Producer(parts.device.bar(0), number, ldb=True)
        waker, mode, vector = self._interrupt(interrupt, number, kept)
        port = LdbPort(parts.device.name, number, registers, producer, consumer, self._pools, waker)
        self._configure(registers, consumer.iova, depth, (first, history), (mode, vector))
        return port

    def _configure(
        self,
        registers: LdbRegisters | DirectedRegisters,
        iova: int,
        depth: int,
        history: tuple[int, int],
        interrupt: tuple[CqIsr, int],
    ) -> None:
        try:
            configure_port(self._parts.regs, registers, self._number, iova, depth, history)
            interrupt_by(self._parts.regs, registers, *interrupt)
        except BaseException:
            with contextlib.suppress(VfioImsError):  # it may be lost: then it writes nowhere
                reset_port(self._parts.regs, registers)
            raise

    def _ring(self, depth: int, kept: ExitStack) -> Consumer:
        entries = max(depth, _SMALLEST)
        ring = Consumer(self._parts.device.dma.allocate(ELEMENT_SIZE * entries), entries)
        kept.callback(ring.close)
        return ring

    def _interrupt(
        self, interrupt: str | ImsInterrupt | VectorInterrupt, own: int, kept: ExitStack
    ) -> tuple[ImsInterrupt | VectorInterrupt | None, CqIsr, int]:
        """What wakes who waits, and how the port is to interrupt. ``own``: the one slot that DLB 2.0 lets it raise."""
        bound = not self._parts.version.combined
        if interrupt == "poll":
            return None, CqIsr.OFF, 0
        if interrupt == "ims":
            interrupt = self._parts.ims.allocate(slot=own if bound else None, cookie=self)
            kept.callback(interrupt.close)
        if isinstance(interrupt, ImsInterrupt):
            if bound and interrupt.slot != own:
                why = f"this port raises slot {own} and no other, not slot {interrupt.slot}"
                raise UsageError("make a port", device=self._label, why=why)
            return interrupt, CqIsr.IMS, 0 if bound else interrupt.slot
        if isinstance(interrupt, str) or interrupt.vector < 1:
            why = f'interrupt must be "ims", "poll", a slot\'s interrupt or that of vector 1 to 64, not {interrupt!r}'
            raise UsageError("make a port", device=self._label, why=why)
        return interrupt, CqIsr.MSIX, interrupt.vector - 1
