# SPDX-License-Identifier: Apache-2.0
"""Interrupts of consumer queues, armed once each: by MSI-X, a vector each or one for all, and by slots of the IMS."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..hardware.ports import CqIsr
from ..hardware.registers import Csr
from .timers import Timers

if TYPE_CHECKING:
    from vfio_ims.models.register_file import RegisterFile

    from .ports import PortState

__all__ = ["Interrupts"]

_ALARM, _CQ = 0, 1  # vectors
_DIRECTED = (Csr.DIR_OCC_0, Csr.DIR_OCC_1, Csr.DIR_OCC_2)
_LDB = (Csr.LDB_OCC_0, Csr.LDB_OCC_1)


class Interrupts:
    """``raise_vector``: MSI-X. ``fire``: the slot of a port's consumer queue.

    ``period(port)``: seconds after which one that has anything interrupts; 0: never. ``lock``: the model's.
    """

    def __init__(
        self,
        registers: RegisterFile,
        raise_vector: Callable[[int], None],
        fire: Callable[[PortState], None],
        period: Callable[[PortState], float],
        lock: threading.RLock,
    ) -> None:
        self._registers, self._raise, self._fire, self._period = registers, raise_vector, fire, period
        self._timers = Timers(lock, self._waited)
        self._unacknowledged = 0  # vectors 0 and 1: a bit each
        self._again = 0

    def reset(self) -> None:
        self._unacknowledged = self._again = 0
        self._timers.clear()

    def _waited(self, port: PortState) -> None:
        if port.armed and port.by_timer and port.depth:
            self.send(port)

    def check(self, port: PortState) -> None:
        """Interrupt where ``port`` is armed and has enough: then it is armed no more."""
        if port.armed and port.by_depth and port.depth > port.threshold:
            self.send(port)
        elif port.armed and port.by_timer and port.depth:
            period = self._period(port)
            if period:
                self._timers.start(port, period)

    def send(self, port: PortState) -> None:
        port.armed = False
        if port.mode is CqIsr.IMS:
            self._fire(port)
        elif port.mode is CqIsr.MSIX:
            if self._registers.get(Csr.MSIX_MODE).compressed:
                register = (_LDB if port.ldb else _DIRECTED)[port.number // 32]
                self._registers.set(register, self._registers.get(register) | 1 << port.number % 32)
                self._held(_CQ)
            else:
                self._raise(_CQ + (port.vector & 0x3F))

    def alarm(self) -> None:
        self._held(_ALARM)

    def _held(self, vector: int) -> None:
        """Vectors 0 and, in compressed mode, 1 are sent once until the driver has acknowledged them."""
        if self._unacknowledged >> vector & 1:
            self._again |= 1 << vector
            return
        self._unacknowledged |= 1 << vector
        self._registers.set(Csr.MSIX_ACK, self._unacknowledged)
        self._raise(vector)

    def acknowledged(self, vectors: int) -> None:
        """The driver wrote ``vectors`` to MSIX_ACK. What came meanwhile and is still to be seen interrupts again."""
        again = vectors & self._unacknowledged & self._again
        self._unacknowledged &= ~vectors
        self._again &= ~vectors
        self._registers.set(Csr.MSIX_ACK, self._unacknowledged)
        for vector in (_ALARM, _CQ):
            if again >> vector & 1:
                self._held(vector)
