# SPDX-License-Identifier: Apache-2.0
"""A port that is set up to send itself one element after another, so that its consumer queue interrupts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceTimeout

from ..hardware.elements import Command, Kind, pack
from ..hardware.places import LDB_QUEUES
from ..hardware.ports import CqIsr
from .power import flush
from .producer import Producer
from .queues import Queue, configure_directed_queue, configure_queue, reset_queue
from .setup import configure_port, interrupt_by, map_queue, reset_port

if TYPE_CHECKING:
    from vfio_ims.device import Device

    from ..hardware.registers import Bar2
    from .consumer import Consumer

__all__ = ["DEPTH", "Source"]

DEPTH, _TIMEOUT = 8, 1.0


class Source:
    """Port ``number`` of ``domain``, directed or, with ``queue``, load-balanced on that queue. ``consumer``: its ring.

    Under the driver's lock.
    """

    def __init__(
        self, device: Device, regs: Bar2, consumer: Consumer, domain: int, number: int, queue: int | None = None
    ) -> None:
        self._device, self._regs, self._consumer, self._domain = device, regs, consumer, domain
        self._number, self._ldb = number, queue is not None
        self._registers = regs.LDB[number] if self._ldb else regs.DIR[number]
        self._queue = Queue(number, Kind.DIRECTED) if queue is None else Queue(queue, Kind.UNORDERED)
        self._producer = Producer(device.bar(0), number, ldb=self._ldb)

    def set_up(self) -> None:
        """The port and its queue are as after a reset."""
        regs, queue = self._regs, self._queue
        self._consumer.restart()
        if queue.directed:
            configure_directed_queue(regs, queue.number)
            regs.DIR_VALID[self._domain * len(regs.DIR) + queue.number].VASQID_V.write(valid=1)
        else:
            configure_queue(regs, queue)
            regs.LDB_VALID[self._domain * LDB_QUEUES + queue.number].VASQID_V.write(valid=1)
        configure_port(regs, self._registers, self._domain, self._consumer.iova, DEPTH, (0, DEPTH))
        if self._ldb:
            map_queue(regs, regs.LDB[self._number], self._number, 0, queue.number, 0)
        flush(regs)

    def take_down(self) -> None:
        """The port and its queue are as after a reset again; nothing is in them."""
        regs, queue = self._regs, self._queue
        if queue.directed:
            regs.DIR_VALID[self._domain * len(regs.DIR) + queue.number].VASQID_V.write(0)
        else:
            regs.LDB_VALID[self._domain * LDB_QUEUES + queue.number].VASQID_V.write(0)
        reset_port(regs, self._registers)
        reset_queue(regs, queue)
        flush(regs)

    def raise_by(self, mode: CqIsr, vector: int) -> None:
        """One interrupt by ``mode`` and ``vector``. On return the device has written its element, and sent it.

        DeviceTimeout where the element does not come, or the port stays armed.
        """
        interrupt_by(self._regs, self._registers, mode, vector)
        try:
            self._producer.arm()
            self._producer.send(pack(Command.NEW, 0, self._queue.number, self._queue.kind))
            deadline = time.monotonic() + _TIMEOUT
            while self._consumer.empty:
                self._check(deadline, "the element that was to raise it did not come")
            while self._armed:
                self._check(deadline, "the port is still armed")
        finally:
            interrupt_by(self._regs, self._registers, CqIsr.OFF)
            found = self._consumer.drop()
            self._producer.pop(found)
            if self._ldb and found:
                self._producer.complete(found)

    @property
    def _armed(self) -> bool:
        """Whether its interrupt is still to be sent: that ARMED reads back so is inferred."""
        regs = self._regs
        if self._ldb:
            registers = [regs.LDB_ARMED_0, regs.LDB_ARMED_1]
        else:
            registers = [regs.DIR_ARMED_0, regs.DIR_ARMED_1, regs.DIR_ARMED_2]
        return bool(registers[self._number // 32].read() >> self._number % 32 & 1)

    def _check(self, deadline: float, why: str) -> None:
        if time.monotonic() > deadline:
            why, hint = f"{why} in {_TIMEOUT:g} s", "reset the device"
            raise DeviceTimeout("raise an interrupt", device=self._device.name, why=why, hint=hint)

    def illegal(self) -> None:
        """An illegal command: the alarm vector interrupts."""
        self._producer.send(pack(15))
        flush(self._regs)
