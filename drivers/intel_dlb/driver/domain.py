# SPDX-License-Identifier: Apache-2.0
"""A scheduling domain: queues, ports and credits that belong together, and are given back together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceBusy, UsageError
from vfio_ims.ims import ImsInterrupt
from vfio_ims.lifetime import Owner

from ..hardware.elements import ELEMENT_SIZE, Kind
from ..hardware.places import LDB_PORTS, LDB_QUEUES
from ..hardware.ports import CqIsr
from .consumer import Consumer
from .credits import Credits
from .draining import Draining
from .ldb_port import LdbPort
from .ports import DirectedPort, Port
from .power import flush
from .producer import Producer
from .queues import Queue, configure_directed_queue, configure_queue, reset_queue, take_sequences
from .setup import configure_port, interrupt_by, map_queue, reset_port

if TYPE_CHECKING:
    from vfio_ims.interrupts.vector import VectorInterrupt

    from ..hardware.registers import Bar2
    from .parts import Parts

__all__ = ["Domain"]

_DEPTHS = tuple(1 << shift for shift in range(11))
_SEQUENCES = (64, 128, 256, 512, 1024)


class Domain(Owner):
    """``number``: the device's. Made by ``Dlb.domain``; closing it drops what is in its queues and gives all back."""

    def __init__(self, parts: Parts, parent: Owner, number: int, total: int, directed: int) -> None:
        self._parts, self.number, label = parts, number, parts.device.name
        self.credits = Credits(label, total)
        self.directed_credits = self.credits if parts.version.combined else Credits(label, directed)
        """DLB 2.5: the same as ``credits``."""
        self.queues: list[Queue] = []
        self.ports: list[LdbPort] = []
        self.directed_ports: list[DirectedPort] = []
        self._initial: dict[Port, int] = {}
        self._history: dict[int, int] = {}
        self._mapped: set[int] = set()
        self._owned: list[ImsInterrupt] = []
        super().__init__(f"{label} domain {number}", parent)

    @property
    def _regs(self) -> Bar2:
        return self._parts.regs

    # --- queues -------------------------------------------------------------------------------------------------------

    def queue(self, kind: Kind = Kind.UNORDERED, *, storage: int = 64, sequences: int = 64) -> Queue:
        """A load-balanced queue. ``storage``: of an atomic one, elements within the scheduler's reach.

        ``sequences``: of an ordered one, how many elements may be under way: 64, 128, 256, 512 or 1024.
        """
        self.check_open("make a queue")
        if kind is Kind.DIRECTED or sequences not in _SEQUENCES:
            why = f"sequences must be one of {_SEQUENCES}" if kind is not Kind.DIRECTED else "a directed port has one"
            raise UsageError("make a queue", device=self.label, why=why)
        resources = self._parts.resources
        with self._parts.lock:
            number = resources.ldb_queues.take()
            taken = None
            if kind is Kind.ORDERED:
                taken = take_sequences(resources, sequences)
                if taken is None:
                    resources.ldb_queues.give(number)
                    why = f"no group has a slot of {sequences} sequence numbers free"
                    raise DeviceBusy("make a queue", device=self.label, why=why, hint="as many as other queues have")
            share = resources.storage.take(storage) if kind is Kind.ATOMIC else 0
            queue = Queue(number, kind, sequences if taken else 0, taken, share)
            configure_queue(self._regs, queue)
            self._regs.LDB_VALID[self.number * LDB_QUEUES + number].VASQID_V.write(valid=1)
            flush(self._regs)
            self.queues.append(queue)
        return queue

    # --- ports --------------------------------------------------------------------------------------------------------

    def directed_port(self, depth: int = 8, *, interrupt: str | ImsInterrupt | VectorInterrupt = "ims") -> DirectedPort:
        """A directed port with its queue. ``depth``: entries of its consumer queue, a power of two up to 1024.

        ``interrupt``: "ims", a slot of its own; "poll"; or the interrupt of a slot or an MSI-X vector.
        """
        self._check_depth(depth)
        parts = self._parts
        with parts.lock:
            number = parts.resources.directed.take()
            registers = self._regs.DIR[number]
            consumer = self._consumer(depth)
            producer = Producer(parts.device.bar(0), number, ldb=False)
            queue = Queue(number, Kind.DIRECTED)
            waker, mode, vector = self._waker(interrupt, LDB_PORTS + number)
            pools = self.credits, self.directed_credits
            port = DirectedPort(parts.device.name, number, registers, producer, consumer, pools, waker, queue)
            configure_directed_queue(self._regs, number)
            configure_port(self._regs, registers, self.number, consumer.iova, depth)
            interrupt_by(self._regs, registers, mode, vector)
            self._regs.DIR_VALID[self.number * parts.version.directed + number].VASQID_V.write(valid=1)
            flush(self._regs)
            self.queues.append(queue)
            self._keep(port, depth)
            self.directed_ports.append(port)
        return port

    def port(
        self,
        queues: Iterable[Queue] = (),
        depth: int = 8,
        *,
        history: int = 0,
        interrupt: str | ImsInterrupt | VectorInterrupt = "ims",
    ) -> LdbPort:
        """A load-balanced port that takes from ``queues``, the first ones first; at most 8.

        ``depth`` and ``interrupt`` as of ``directed_port``. ``history``: how many elements may be under way; 0: as many
        as ``depth``.
        """
        self._check_depth(depth)
        parts, chosen = self._parts, list(queues)
        with parts.lock:
            number = parts.resources.ldb_ports.take()
            first = parts.resources.history.take(history or depth)
            registers = self._regs.LDB[number]
            consumer = self._consumer(depth)
            producer = Producer(parts.device.bar(0), number, ldb=True)
            waker, mode, vector = self._waker(interrupt, number)
            pools = self.credits, self.directed_credits
            port = LdbPort(parts.device.name, number, registers, producer, consumer, pools, waker)
            configure_port(self._regs, registers, self.number, consumer.iova, depth, (first, history or depth))
            interrupt_by(self._regs, registers, mode, vector)
            self._history[number] = first
            self._keep(port, depth)
            self.ports.append(port)
            for slot, queue in enumerate(chosen):
                self._map(port, slot, queue)
        return port

    def _map(self, port: LdbPort, slot: int, queue: Queue) -> None:
        if queue.directed or queue not in self.queues or slot > 7:
            why = f"a port takes from up to 8 load-balanced queues of its own domain, not from {queue}"
            raise UsageError("make a port", device=self.label, why=why)
        registers = self._regs.LDB[port.number]
        map_queue(self._regs, registers, port.number, slot, queue.number, slot)
        self._mapped.add(queue.number)

    def _check_depth(self, depth: int) -> None:
        self.check_open("make a port")
        if depth not in _DEPTHS:
            why = f"depth must be a power of two from 1 to {_DEPTHS[-1]}, not {depth!r}"
            raise UsageError("make a port", device=self.label, why=why)

    def _consumer(self, depth: int) -> Consumer:
        entries = max(depth, 8)
        return Consumer(self._parts.device.dma.allocate(ELEMENT_SIZE * entries), entries)

    def _waker(
        self, interrupt: str | ImsInterrupt | VectorInterrupt, own: int
    ) -> tuple[ImsInterrupt | VectorInterrupt | None, CqIsr, int]:
        """What wakes who waits, and how the port is to interrupt. ``own``: the one slot that DLB 2.0 lets it raise."""
        if interrupt == "poll":
            return None, CqIsr.OFF, 0
        if interrupt == "ims":
            slot = None if self._parts.version.combined else own
            interrupt = self._parts.ims.allocate(slot=slot, cookie=self)
            self._owned.append(interrupt)
        if isinstance(interrupt, ImsInterrupt):
            if not self._parts.version.combined and interrupt.slot != own:
                why = f"this port raises slot {own} and no other, not slot {interrupt.slot}"
                raise UsageError("make a port", device=self.label, why=why)
            return interrupt, CqIsr.IMS, interrupt.slot if self._parts.version.combined else 0
        if isinstance(interrupt, str) or interrupt.vector < 1:
            why = f'interrupt must be "ims", "poll", a slot\'s interrupt or that of vector 1 to 64, not {interrupt!r}'
            raise UsageError("make a port", device=self.label, why=why)
        return interrupt, CqIsr.MSIX, interrupt.vector - 1

    def _keep(self, port: Port, depth: int) -> None:
        self._initial[port] = max(0, 8 - depth)

    # --- the end ------------------------------------------------------------------------------------------------------

    def lost(self, why: str) -> None:
        """The device forgot it: its ports say so from now on. Its registers are not touched."""
        for port in (*self.ports, *self.directed_ports):
            port.closed_because = why
        self._mapped.clear()
        self._gone = True

    _gone = False

    def refers_to(self, slot: int) -> list[Port]:
        """Its ports that interrupt through ``slot``."""
        ports: list[Port] = [*self.ports, *self.directed_ports]
        return [one for one in ports if isinstance(one.interrupt, ImsInterrupt) and one.interrupt.slot == slot]

    def _release(self) -> None:
        parts = self._parts
        with contextlib.ExitStack() as stack:
            stack.callback(self._give_back)
            with parts.lock:
                if not self._gone:
                    self._reset()

    def _reset(self) -> None:
        """Drop what is in it, and put its registers back."""
        regs, ports = self._regs, [*self.ports, *self.directed_ports]
        for port in ports:
            port.closed_because = f"domain {self.number} was closed"
            interrupt_by(regs, port.registers, CqIsr.OFF)
        for queue in self.queues:
            if queue.directed:
                regs.DIR_VALID[self.number * self._parts.version.directed + queue.number].VASQID_V.write(0)
            else:
                regs.LDB_VALID[self.number * LDB_QUEUES + queue.number].VASQID_V.write(0)
        flush(regs)
        draining = Draining(self.label, regs, self.ports, self.directed_ports, self.queues, self._mapped, self._initial)
        draining.run()
        for port in ports:
            reset_port(regs, port.registers)
        for queue in self.queues:
            reset_queue(regs, queue)
        self._parts.set_credits(self.number, 0, 0)

    def _give_back(self) -> None:
        resources = self._parts.resources
        for balanced in self.ports:
            resources.ldb_ports.give(balanced.number)
            resources.history.give(self._history[balanced.number])
        for one in self.directed_ports:
            resources.directed.give(one.number)
        for queue in self.queues:
            if not queue.directed:
                resources.ldb_queues.give(queue.number)
                resources.storage.give(queue.storage)
            if queue.sequences is not None:
                resources.sequences[queue.sequences[0]].give(queue.sequences[1])
        resources.credits.give(self.credits.total)
        if not self._parts.version.combined:
            resources.directed_credits.give(self.directed_credits.total)
        resources.domains.give(self.number)
        for port in (*self.ports, *self.directed_ports):
            port.consumer.close()
        for interrupt in self._owned:
            interrupt.close()
