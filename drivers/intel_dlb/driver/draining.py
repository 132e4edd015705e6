# SPDX-License-Identifier: Apache-2.0
"""Emptying a domain before its registers are reset: the device forgets nothing by itself (DPDK: dlb2_reset_domain)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceError, DeviceTimeout

from ..hardware.elements import Command, pack
from ..hardware.ports import LdbPort as LdbRegisters
from .setup import map_queue, set_enabled

if TYPE_CHECKING:
    from vfio_ims.registers import BoundRegister

    from ..hardware.registers import Bar2
    from .ldb_port import LdbPort
    from .ports import Port
    from .queues import Queue

__all__ = ["Draining"]

_TIMEOUT = 2.0  # seconds that a domain may take to get empty


class Draining:
    """``initial``: by port, tokens that it was set up with, of a consumer queue under 8 entries."""

    def __init__(
        self,
        device: str,
        regs: Bar2,
        ports: Sequence[LdbPort],
        directed: Sequence[Port],
        queues: Sequence[Queue],
        mapped: set[int],
        initial: dict[Port, int],
    ) -> None:
        self._device, self._regs, self._ports, self._directed = device, regs, ports, directed
        self._queues, self._mapped, self._initial = queues, mapped, initial
        self._deadline = 0.0

    def run(self) -> None:
        """Drop all that is in the domain. Nothing may enter it any more. DeviceTimeout where it does not get empty."""
        self._deadline = time.monotonic() + _TIMEOUT
        for port in self._ports:
            set_enabled(self._regs, port.registers, False)
        for port in self._ports:
            self._drain(port)
            self._until_zero(self._regs.LDB[port.number].CQ_INFL_CNT, f"{port.label} has elements under way")
        for port in self._ports:
            set_enabled(self._regs, port.registers, True)
        self._until_empty(
            [queue for queue in self._queues if not queue.directed and queue.number in self._mapped], self._ports
        )
        for queue in self._queues:
            if not queue.directed and queue.number not in self._mapped and self._ports and self._depth(queue):
                self._take_over(queue)
        for port in self._ports:
            set_enabled(self._regs, port.registers, False)
            self._drain(port)
        self._until_empty([queue for queue in self._queues if queue.directed], self._directed)
        for one in self._directed:
            set_enabled(self._regs, one.registers, False)
            self._drain(one)

    def _take_over(self, queue: Queue) -> None:
        """No port takes from ``queue``, and it is not empty: the first port does, whose own queues are empty by now."""
        port = self._ports[0]
        map_queue(self._regs, self._regs.LDB[port.number], port.number, 0, queue.number, 0)
        self._until_empty([queue], [port])

    def _read(self, register: BoundRegister) -> int:
        value = register.read()
        if value == 0xFFFF_FFFF:
            why = f"{register.register.name} reads as all ones: no device answers"
            raise DeviceError("reset a domain", device=self._device, why=why)
        return value

    def _depth(self, queue: Queue) -> int:
        if queue.directed:
            return self._read(self._regs.DIR_QUEUE[queue.number].QID_ENQUEUE_CNT)
        row = self._regs.LDB_QUEUE[queue.number]
        return sum(self._read(one) for one in (row.QID_AQED_ACTIVE_CNT, row.QID_LDB_ENQUEUE_CNT, row.QID_ATM_ACTIVE))

    def _drain(self, port: Port) -> None:
        """Return every token, and complete every element that is under way."""
        registers, producer = port.registers, port.producer
        tokens = self._read(registers.CQ_TKN_CNT) - self._initial[port]
        under_way = self._read(registers.CQ_INFL_CNT) if isinstance(registers, LdbRegisters) else 0
        if tokens > 0:
            producer.pop(tokens)
        for _ in range(under_way):
            producer.send(pack(Command.COMPLETE))

    def _until_zero(self, register: BoundRegister, what: str) -> None:
        while self._read(register):
            self._check_time(what)

    def _until_empty(self, queues: Sequence[Queue], ports: Sequence[Port]) -> None:
        while True:
            for port in ports:
                self._drain(port)
            full = next((queue for queue in queues if self._depth(queue)), None)
            if full is None:
                return
            self._check_time(f"{full} is not empty")

    def _check_time(self, what: str) -> None:
        if time.monotonic() > self._deadline:
            why = f"{what} {_TIMEOUT:g} s later"
            raise DeviceTimeout("reset a domain", device=self._device, why=why, hint="reset the device")
