# SPDX-License-Identifier: Apache-2.0
"""Raising a slot on request: one element through a port that is kept for that; on DLB 2.0 through its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..hardware.elements import ELEMENT_SIZE
from ..hardware.places import DOMAINS, LDB_PORTS, LDB_QUEUES
from ..hardware.ports import CqIsr
from .consumer import Consumer
from .source import DEPTH, Source

if TYPE_CHECKING:
    from vfio_ims.device import Device

    from ..hardware.places import Version
    from ..hardware.registers import Bar2
    from .resources import Resources

__all__ = ["Firing"]


class Firing:
    """The last domain and the last directed port, which no user is given. Under the driver's lock.

    With DLB 2.0 a slot belongs to a consumer queue: its port is set up for the fire, and put back, with the last
    load-balanced queue.
    """

    def __init__(self, device: Device, regs: Bar2, version: Version, resources: Resources) -> None:
        self._device, self._regs, self._version, self._resources = device, regs, version, resources
        self._domain = resources.domains.take(DOMAINS - 1)
        self._port = resources.directed.take(version.directed - 1)
        self._rings = [Consumer(device.dma.allocate(ELEMENT_SIZE * DEPTH), DEPTH) for _ in range(2)]
        self.kept = Source(device, regs, self._rings[0], self._domain, self._port)
        """The port that is kept."""
        if version.combined:
            resources.credits.take(DEPTH)
        else:
            resources.ldb_queues.take(LDB_QUEUES - 1)
            resources.history.take(DEPTH)  # the first of all: from 0 on
            resources.credits.take(DEPTH)
            resources.directed_credits.take(DEPTH)

    def start(self) -> None:
        """Set the kept port up; the device was reset, or its domain is empty."""
        row = self._regs.DOMAIN[self._domain]
        for register in row.registers:
            getattr(row, register).write(count=DEPTH)
        self.kept.set_up()

    def fire(self, slot: int) -> None:
        """Raise ``slot`` once. DeviceBusy where it is another's: of a port of DLB 2.0 that is in use."""
        if self._version.combined:
            self.kept.raise_by(CqIsr.IMS, slot)
            return
        if slot == LDB_PORTS + self._port:
            self.kept.raise_by(CqIsr.IMS, 0)
            return
        ldb = slot < LDB_PORTS
        numbers, number = (self._resources.ldb_ports, slot) if ldb else (self._resources.directed, slot - LDB_PORTS)
        numbers.take(number)
        try:
            queue = LDB_QUEUES - 1 if ldb else None
            source = Source(self._device, self._regs, self._rings[1], self._domain, number, queue)
            source.set_up()
            try:
                source.raise_by(CqIsr.IMS, 0)
            finally:
                source.take_down()
        finally:
            numbers.give(number)

    def close(self) -> None:
        for ring in self._rings:
            ring.close()
