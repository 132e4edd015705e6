# SPDX-License-Identifier: Apache-2.0
"""Raising a slot on request: one element through a directed port that is kept for that, whose interrupt is the slot."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceTimeout

from ..hardware.elements import ELEMENT_SIZE, Command, Kind, pack
from ..hardware.places import DOMAINS
from ..hardware.ports import CqIsr
from .consumer import Consumer
from .power import flush
from .producer import Producer
from .queues import configure_directed_queue
from .setup import configure_port, interrupt_by

if TYPE_CHECKING:
    from vfio_ims.device import Device

    from ..hardware.registers import Bar2

__all__ = ["Firing"]

_DEPTH, _TIMEOUT = 8, 1.0


class Firing:
    """The last domain and the last directed port, which ``Resources`` gives to nobody else. Under the driver's lock."""

    def __init__(self, device: Device, regs: Bar2, port: int) -> None:
        self._device, self._regs, self._port = device, regs, port
        self.domain = DOMAINS - 1
        self._registers = regs.DIR[port]
        self._consumer = Consumer(device.dma.allocate(ELEMENT_SIZE * _DEPTH), _DEPTH)
        self._producer = Producer(device.bar(0), port, ldb=False)
        self.slot: int | None = None
        """The slot that the port refers to now."""

    def start(self) -> None:
        """Set the port up; the device was reset, or its domain is empty."""
        regs = self._regs
        self._consumer.restart()
        configure_directed_queue(regs, self._port)
        configure_port(regs, self._registers, self.domain, self._consumer.iova, _DEPTH)
        regs.DOMAIN[self.domain].CFG_VAS_CRD.write(count=_DEPTH)
        regs.DIR_VALID[self.domain * len(regs.DIR) + self._port].VASQID_V.write(valid=1)
        flush(regs)

    def raise_by(self, mode: CqIsr, vector: int) -> None:
        """One interrupt by ``mode`` and ``vector``. On return the device has written its element, and sent it.

        DeviceTimeout where the element does not come, or the port stays armed.
        """
        interrupt_by(self._regs, self._registers, mode, vector)
        try:
            self._producer.arm()
            self._producer.send(pack(Command.NEW, 0, self._port, Kind.DIRECTED))
            deadline = time.monotonic() + _TIMEOUT
            while self._consumer.empty:
                self._check(deadline, "the element that was to raise it did not come")
            while self._armed:
                self._check(deadline, "the port is still armed")
        finally:
            interrupt_by(self._regs, self._registers, CqIsr.OFF)
            self._producer.pop(len(self._consumer.take(_DEPTH)) // ELEMENT_SIZE)

    @property
    def _armed(self) -> bool:
        """Whether its interrupt is still to be sent: that ARMED reads back so is inferred."""
        registers = [self._regs.DIR_ARMED_0, self._regs.DIR_ARMED_1, self._regs.DIR_ARMED_2]
        return bool(registers[self._port // 32].read() >> self._port % 32 & 1)

    def _check(self, deadline: float, why: str) -> None:
        if time.monotonic() > deadline:
            flush(self._regs)
            hint = "reset the device"
            raise DeviceTimeout(
                "raise an interrupt", device=self._device.name, why=f"{why} in {_TIMEOUT:g} s", hint=hint
            )

    def illegal(self) -> None:
        """An illegal command: the alarm vector interrupts."""
        self._producer.send(pack(15))
        flush(self._regs)

    def close(self) -> None:
        self._consumer.close()
