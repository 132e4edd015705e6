# SPDX-License-Identifier: Apache-2.0
"""The parts of the model together: what the registers say to each of them, and what they say to the registers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..hardware.places import LDB_QUEUES, Version
from ..hardware.registers import Bar2
from .alarms import Alarms
from .intake import Intake
from .interrupts import Interrupts
from .items import Item
from .ports import LdbState, PortState
from .queues import DirectedQueueState, LdbQueueState
from .scheduler import Scheduler
from .settings import Settings

if TYPE_CHECKING:
    from vfio_ims.models.register_file import RegisterFile
    from vfio_ims.ports.model import Bus
    from vfio_ims.registers import Block, Repeat

__all__ = ["Core"]

_LOW = 0xFFFF_FFFF


class Core:
    """``block``: BAR 2's, of the version. ``fire``: the slot of a port's consumer queue. All under the model's lock."""

    def __init__(
        self,
        registers: RegisterFile,
        block: type[Bar2],
        version: Version,
        bus: Callable[[], Bus | None],
        raise_vector: Callable[[int], None],
        fire: Callable[[PortState], None],
        lock: threading.RLock,
        defect: str = "none",
    ) -> None:
        self._registers, self._block, self._version = registers, block, version
        self._bus, self._defect = bus, defect
        self.settings = Settings(registers, block, version)
        self.interrupts = Interrupts(registers, raise_vector, fire, self.settings.period, lock)
        self.alarms = Alarms(registers, self.interrupts.alarm)
        row = registers.row
        self.ports = [LdbState(n, row(block.LDB, n), block.LDB.block) for n in range(block.LDB.count)]
        self.directed = [PortState(n, row(block.DIR, n), block.DIR.block, 0x1FFF) for n in range(block.DIR.count)]
        self._empty()

    def _empty(self) -> None:
        self.queues = [LdbQueueState(n) for n in range(LDB_QUEUES)]
        self.directed_queues = [DirectedQueueState(n) for n in range(self._version.directed)]
        self.credits: dict[tuple[int, bool], int] = {}
        """By domain, and whether of directed elements: DLB 2.5 has one pool, False."""
        self.scheduler = Scheduler(
            self._registers, self.ports, self.directed, self.queues, self.directed_queues, self.interrupts, self._bus,
            self.settings.serves, self._give_back,
        )  # fmt: skip
        self.intake = Intake(
            self.scheduler,
            self.interrupts,
            self.alarms,
            self.settings.refusal,
            self._charge,
            self._give_back,
            self._defect,
        )
        self.settings.forget_maps()

    def reset(self) -> None:
        """As after power-on; the registers are reset already."""
        for port in (*self.ports, *self.directed):
            port.reset()
        self.interrupts.reset()
        self._empty()

    # --- what the registers say ---------------------------------------------------------------------------------------

    def decode(self, port: PortState) -> None:
        port.decode()
        if isinstance(port, LdbState):
            self.scheduler.refresh(port)
            for _, _, number in port.slots:
                if number < LDB_QUEUES:
                    self.settings.decode_queue(self.queues[number])

    # --- what they say to the registers -------------------------------------------------------------------------------

    def _show(self, repeat: Repeat[Block], row: int, **values: int) -> None:
        view, registers = self._registers.row(repeat, row), repeat.block.registers
        for name, value in values.items():
            view.set(registers[name], value)

    def show_queue(self, number: int) -> None:
        queue = self.queues[number]
        self._show(
            self._block.LDB_QUEUE,
            number,
            QID_AQED_ACTIVE_CNT=queue.flows.count,
            QID_ATM_ACTIVE=queue.unstored.count,
            QID_LDB_ENQUEUE_CNT=queue.plain.count,
            QID_LDB_INFL_CNT=queue.under_way,
            QID_ATM_TOT_ENQ_CNTL=queue.entered_atomic & _LOW,
            QID_ATM_TOT_ENQ_CNTH=queue.entered_atomic >> 32,
            QID_NALDB_TOT_ENQ_CNTL=queue.entered & _LOW,
            QID_NALDB_TOT_ENQ_CNTH=queue.entered >> 32,
            QID_NALDB_MAX_DEPTH=queue.deepest,
        )

    def show_directed_queue(self, number: int) -> None:
        queue = self.directed_queues[number]
        self._show(
            self._block.DIR_QUEUE,
            number,
            QID_ENQUEUE_CNT=queue.count,
            QID_TOT_ENQ_CNTL=queue.entered & _LOW,
            QID_TOT_ENQ_CNTH=queue.entered >> 32,
            QID_MAX_DEPTH=queue.deepest,
        )

    # --- credits ------------------------------------------------------------------------------------------------------

    def _pool(self, item: Item) -> tuple[int, bool]:
        return item.domain, item.directed and not self._version.combined

    def _charge(self, item: Item) -> bool:
        pool = self._pool(item)
        left = self.credits.get(pool, 0)
        if left:
            self.credits[pool] = left - 1
        return bool(left)

    def _give_back(self, item: Item) -> None:
        pool = self._pool(item)
        self.credits[pool] = self.credits.get(pool, 0) + 1

    @property
    def combined(self) -> bool:
        """Whether a domain has one pool of credits."""
        return self._version.combined

    # --- accesses -----------------------------------------------------------------------------------------------------

    def store(self, port: PortState, line: bytes) -> None:
        """64 bytes were stored to the port's page."""
        if port.stale:
            self.decode(port)
        if port.valid:
            self.intake.take(port, line)
            self.settle()

    def settle(self) -> None:
        """Schedule what can be scheduled now."""
        if not self.scheduler.waiting:
            return
        for ports in (self.ports, self.directed):
            for port in ports:
                if port.stale:
                    self.decode(port)
        self.scheduler.run()

    def arm(self, port: PortState) -> None:
        """The driver set the port's bit in an ARMED register."""
        if port.stale:
            self.decode(port)
        port.armed = True
        self.interrupts.check(port)
