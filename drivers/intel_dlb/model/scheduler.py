# SPDX-License-Identifier: Apache-2.0
"""Moves elements from queues to ports while there is room: credits come back, entries and interrupts go out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from vfio_ims.errors import BusFault

from ..hardware.elements import ELEMENT_SIZE
from ..hardware.registers import Csr

if TYPE_CHECKING:
    from vfio_ims.models.register_file import RegisterFile
    from vfio_ims.ports.model import Bus

    from .interrupts import Interrupts
    from .items import Item
    from .ports import LdbState, PortState
    from .queues import DirectedQueueState, LdbQueueState

__all__ = ["Scheduler"]

_WIDE = 64


class Scheduler:
    """``serves(queue, port)``: of which kinds the registers let ``port`` take from ``queue``: plain, atomic.

    ``credit(item)``: gives its credit back.
    """

    def __init__(
        self,
        registers: RegisterFile,
        ports: Sequence[LdbState],
        directed: Sequence[PortState],
        queues: Sequence[LdbQueueState],
        directed_queues: Sequence[DirectedQueueState],
        interrupts: Interrupts,
        bus: Callable[[], Bus | None],
        serves: Callable[[int, int, int], tuple[bool, bool]],
        credit: Callable[[Item], None],
    ) -> None:
        self._registers, self._ports, self._directed = registers, ports, directed
        self._queues, self._directed_queues, self._interrupts = queues, directed_queues, interrupts
        self._bus, self._serves, self._credit = bus, serves, credit
        self.waiting = 0
        """Elements in queues."""
        self._turn = 0
        self.active: list[LdbState] = []
        """The load-balanced ports that may be given something."""

    def enter(self, item: Item) -> None:
        """``item`` enters its queue."""
        queue = self._directed_queues[item.queue] if item.directed else self._queues[item.queue]
        queue.enter(item)
        self.waiting += 1

    def refresh(self, port: LdbState) -> None:
        """``port`` was decoded anew."""
        self.active = [one for one in self._ports if not one.stale and one.enabled and one.slots]

    def run(self) -> None:
        """Schedule what can be scheduled, a port at a time, each in turn."""
        touched: dict[PortState, None] = {}
        more = self.waiting > 0
        while more:
            more = False
            ports, count = self.active, len(self.active)
            for step in range(count):
                port = ports[(self._turn + step) % count]
                if port.has_room and self._serve(port):
                    touched[port] = None
                    more = True
            self._turn += 1
        if self.waiting:
            self._run_directed(touched)
        for one in touched:
            self._interrupts.check(one)

    def _serve(self, port: LdbState) -> bool:
        for slot, number in port.turn():
            if number >= len(self._queues):
                continue
            queue = self._queues[number]
            plain, atomic = self._serves(number, port.number, slot)
            found = queue.take(port.number, plain=plain, atomic=atomic)
            if found is not None:
                port.push(slot, found[1])
                self._deliver(port, found[0])
                return True
        return False

    def _run_directed(self, touched: dict[PortState, None]) -> None:
        for queue, port in zip(self._directed_queues, self._directed, strict=True):
            while queue.count and not port.stale and port.has_room:
                self._deliver(port, queue.take())
                touched[port] = None

    def _deliver(self, port: PortState, item: Item) -> None:
        self.waiting -= 1
        self._credit(item)
        control = self._registers.get(Csr.CHP_CSR_CTRL)
        wide = control.wide_ldb if port.ldb else control.wide_directed
        index, generation = port.place()
        at = port.address + index * (_WIDE if wide else ELEMENT_SIZE)
        bus = self._bus()
        if bus is None:
            return
        try:  # the generation comes last, for a driver that polls meanwhile
            bus.write(at, item.head[:8])
            bus.write(at + 8, item.head[8:] + bytes((0, generation)))
        except BusFault:
            return  # posted: it is in the platform's fault log, and the device does not learn of it
