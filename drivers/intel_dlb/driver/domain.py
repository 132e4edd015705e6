# SPDX-License-Identifier: Apache-2.0
"""A scheduling domain: queues, ports and credits that belong together, and are given back together."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError
from vfio_ims.ims import ImsInterrupt
from vfio_ims.interruption import uninterrupted
from vfio_ims.lifetime import Owner

from ..hardware.elements import Kind
from ..hardware.places import LDB_QUEUES, QUEUES_PER_PORT
from ..hardware.ports import CqIsr
from .credits import Credits
from .draining import Draining
from .ldb_port import LdbPort
from .making import DEPTHS, SEQUENCES, Maker
from .ports import DirectedPort, Port
from .power import flush
from .queues import Queue, reset_queue
from .setup import interrupt_by, map_queue, reset_port

if TYPE_CHECKING:
    from vfio_ims.interrupts.vector import VectorInterrupt

    from ..hardware.registers import Bar2
    from .parts import Parts

__all__ = ["Domain"]


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
        self._mapped: set[int] = set()
        self._kept = ExitStack()
        self._kept.callback(self._give_back, total, directed)
        self._maker = Maker(parts, f"{label} domain {number}", number, (self.credits, self.directed_credits))
        super().__init__(f"{label} domain {number}", parent)

    @property
    def _regs(self) -> Bar2:
        return self._parts.regs

    # --- queues -------------------------------------------------------------------------------------------------------

    def queue(self, kind: Kind = Kind.UNORDERED, *, storage: int = 64, sequences: int = 64) -> Queue:
        """A load-balanced queue, scheduled as ``kind`` says: unordered, ordered or atomic.

        ``storage``: of an atomic one, elements within the scheduler's reach. ``sequences``: of an ordered one, how many
        elements may be under way: 64, 128, 256, 512 or 1024. DeviceBusy where the device has none left.
        """
        self.check_open("make a queue")
        if kind is Kind.DIRECTED or sequences not in SEQUENCES:
            why = f"sequences must be one of {SEQUENCES}" if kind is not Kind.DIRECTED else "a directed port has one"
            raise UsageError("make a queue", device=self.label, why=why)
        with self._making() as kept:
            queue = self._maker.queue(kind, storage, sequences, kept)
            self.queues.append(queue)
            self._allow(queue, True)
        return queue

    @contextlib.contextmanager
    def _making(self) -> Iterator[ExitStack]:
        """What is put on the stack is given back with the domain, or at once where this fails."""
        with uninterrupted(), self._parts.lock, ExitStack() as made:
            yield made
            self._kept.callback(made.pop_all().close)

    def _allow(self, queue: Queue, allowed: bool) -> None:
        """Whether the domain may enqueue to ``queue``."""
        if queue.directed:
            row = self.number * self._parts.version.directed + queue.number
            self._regs.DIR_VALID[row].VASQID_V.write(valid=allowed)
        else:
            self._regs.LDB_VALID[self.number * LDB_QUEUES + queue.number].VASQID_V.write(valid=allowed)
        flush(self._regs)

    # --- ports --------------------------------------------------------------------------------------------------------

    def directed_port(self, depth: int = 8, *, interrupt: str | ImsInterrupt | VectorInterrupt = "ims") -> DirectedPort:
        """A directed port with its queue. ``depth``: entries of its consumer queue, a power of two up to 1024.

        ``interrupt``: "ims", a slot of its own; "poll"; or the interrupt of a slot or an MSI-X vector.
        """
        self._check_depth(depth)
        with self._making() as kept:
            port, queue = self._maker.directed(depth, interrupt, kept)
            self._keep(port, depth)
            self.directed_ports.append(port)
            self.queues.append(queue)
            self._allow(queue, True)
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
        chosen = list(queues)
        wrong = [queue for queue in chosen if queue.directed or queue not in self.queues]
        if wrong or len(chosen) > QUEUES_PER_PORT:
            why = f"a port takes from up to {QUEUES_PER_PORT} load-balanced queues of its own domain, not from "
            raise UsageError("make a port", device=self.label, why=why + ", ".join(map(str, wrong or chosen)))
        with self._making() as kept:
            port = self._maker.balanced(depth, history or depth, interrupt, kept)
            self._keep(port, depth)
            self.ports.append(port)
            for slot, queue in enumerate(chosen):
                map_queue(self._regs, self._regs.LDB[port.number], port.number, slot, queue.number, slot)
                self._mapped.add(queue.number)
        return port

    def _keep(self, port: Port, depth: int) -> None:
        self._initial[port], port.owner = max(0, 8 - depth), self

    def _check_depth(self, depth: int) -> None:
        self.check_open("make a port")
        if depth not in DEPTHS:
            why = f"depth must be a power of two from 1 to {DEPTHS[-1]}, not {depth!r}"
            raise UsageError("make a port", device=self.label, why=why)

    # --- the end ------------------------------------------------------------------------------------------------------

    def abandon(self, why: str) -> None:
        """Drop what is in it, as far as the device answers: its ports say ``why`` from now on."""
        with self._parts.lock:
            if self._gone:
                return
            try:
                self._reset()
            finally:
                self._gone = True
                self._mapped.clear()
                for port in (*self.ports, *self.directed_ports):
                    port.closed_because = why

    _gone = False

    def refers_to(self, slot: int) -> list[Port]:
        """Its ports that interrupt through ``slot``."""
        ports: list[Port] = [*self.ports, *self.directed_ports]
        return [one for one in ports if isinstance(one.interrupt, ImsInterrupt) and one.interrupt.slot == slot]

    def _release(self) -> None:
        with ExitStack() as stack:
            stack.callback(self._kept.close)
            with self._parts.lock:
                if not self._gone:
                    self._reset()

    def _reset(self) -> None:
        """Drop what is in it, and put its registers back."""
        regs, ports = self._regs, [*self.ports, *self.directed_ports]
        for port in ports:
            port.close(f"domain {self.number} was closed")
            interrupt_by(regs, port.registers, CqIsr.OFF)
        for queue in self.queues:
            self._allow(queue, False)
        Draining(self.label, regs, self.ports, self.directed_ports, self.queues, self._mapped, self._initial).run()
        for port in ports:
            reset_port(regs, port.registers)
        for queue in self.queues:
            reset_queue(regs, queue)
        self._parts.set_credits(self.number, 0, 0)

    def _give_back(self, total: int, directed: int) -> None:
        resources = self._parts.resources
        resources.credits.give(total)
        if not self._parts.version.combined:
            resources.directed_credits.give(directed)
        resources.domains.give(self.number)
