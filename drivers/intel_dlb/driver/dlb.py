# SPDX-License-Identifier: Apache-2.0
"""The driver: domains to schedule elements with, and a slot of the message store for any consumer queue."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import ExitStack

from vfio_ims.counted import counted
from vfio_ims.driver import Driver, FireReport
from vfio_ims.errors import DeviceBusy, DeviceError, DeviceTimeout, UnsupportedError, UsageError, check_index
from vfio_ims.ims import FireStatus, ImsTable, JoinedTable, SlotArray
from vfio_ims.interruption import uninterrupted
from vfio_ims.locks import made, made_once

from ..hardware.places import DIRECTED_SLOTS_20, LDB_SLOTS_20, SLOTS, VECTORS, Version
from ..hardware.ports import CqIsr
from ..hardware.registers import ALARMS, Bar2
from .alarms import Alarm, peek, take
from .domain import Domain
from .firing import Firing
from .parts import Parts
from .power import bind, power_up, prepare, version_of
from .resources import Resources
from .setup import interrupt_by

__all__ = ["Dlb"]


class Dlb(Driver):
    """The physical function of a DLB 2.5 or 2.0. The last domain and the last directed port are kept for ``fire``.

    With DLB 2.5 a slot is no queue's own: which one a consumer queue interrupts by is said in the queue's registers.
    With DLB 2.0 slot n is that of load-balanced port n, slot 64 + n that of directed port n.
    """

    reserved_vectors = (0,)  # alarms

    @made_once
    def version(self) -> Version:
        """What differs between DLB 2.5 and 2.0: numbers of ports and queues, credits, where registers are."""
        return version_of(self.device)

    @made_once
    def regs(self) -> Bar2:
        """The registers of BAR 2."""
        return bind(self.device)

    @made_once
    def resources(self) -> Resources:
        """What of the device is free."""
        return Resources(self.label, self.version)

    @made_once
    def _firing(self) -> Firing:
        return Firing(self.device, self.regs, self.version, self.resources)

    # --- domains ------------------------------------------------------------------------------------------------------

    def domain(self, credits: int = 1024, directed_credits: int = 512) -> Domain:  # noqa: A002 - the device's own word
        """A scheduling domain: ``credits`` bound what it has in its queues; ``directed_credits``: DLB 2.0's other pool.

        DeviceBusy where the device has not so many left, or no domain.
        """
        self.check_open("make a domain")
        resources = self.resources
        with uninterrupted(), self.lock, ExitStack() as undo:
            number = resources.domains.take()
            undo.callback(resources.domains.give, number)
            undo.callback(resources.credits.give, resources.credits.take(credits))
            if not self.version.combined:
                undo.callback(resources.directed_credits.give, resources.directed_credits.take(directed_credits))
            parts = Parts(self.device, self.regs, self.version, self.resources, self.ims, self.lock)
            parts.set_credits(number, credits, directed_credits)
            made = Domain(parts, self, number, credits, directed_credits)
            undo.pop_all()
        return made

    # --- alarms -------------------------------------------------------------------------------------------------------

    def take_alarm(self) -> Alarm | None:
        """What software did wrong since this was last asked; None: nothing. The next one is recorded and interrupts.

        Its interrupt is that of MSI-X vector 0: ``device.interrupts.open_msix(0)``.
        """
        self.check_open("read the alarm")
        with self.lock:
            return take(self.regs)

    # --- the contract of a driver -------------------------------------------------------------------------------------

    def start(self) -> None:
        power_up(self.regs)
        self._abandon("the device was started anew")
        self._quieten()
        prepare(self.regs)
        take(self.regs)
        self._firing.start()

    @property
    def device_domains(self) -> list[Domain]:
        """Its open domains."""
        return self.open_children(Domain)

    def _abandon(self, why: str) -> None:
        """Empty every domain: without a function reset its elements would be the next one's."""
        for domain in self.device_domains:
            with contextlib.suppress(DeviceError, DeviceTimeout):  # one that does not get empty is reset, or gone
                domain.abandon(why)

    def _quieten(self) -> None:
        """Disable every port, an earlier user's too: nothing is taken in, scheduled or sent any more."""
        for port in (*self.regs.LDB, *self.regs.DIR):
            port.PP_V.write(0)
            port.CQ_DSBL.write(1)
            port.CQ_ISR.write(0)
        self.regs.TOTAL_VAS.read()

    def stop(self) -> None:
        self._abandon("the device was stopped")
        self._quieten()

    def ims_table(self) -> ImsTable:
        power_up(bind(self.device))  # before the first access of all
        if self.version.combined:
            return SlotArray(self.device, SLOTS)
        return JoinedTable([SlotArray(self.device, part) for part in (LDB_SLOTS_20, DIRECTED_SLOTS_20)])

    def fire(self, slot: int, *, pasid: int | None = None) -> FireReport:
        """Send one element through a port that is kept for this, and let its interrupt be the slot.

        With DLB 2.0 through the slot's own port; the fire is refused while that port is in use.
        """
        self.check_open("fire a slot")
        if pasid is not None:
            why = "its elements carry no PASID"
            raise UnsupportedError(f"fire slot {slot} for PASID {pasid}", device=self.label, why=why)
        check_index(slot, self.ims.table.size, "slot", "fire a slot", self.label)
        with self.lock:
            try:
                self._firing.fire(slot)
            except DeviceBusy as busy:
                return FireReport(FireStatus.REFUSED, str(busy))
            pending = self.ims.table.pending(slot)
        return FireReport(FireStatus.PENDING if pending else FireStatus.SENT)

    def fire_vector(self, vector: int) -> None:
        if not 0 <= vector < VECTORS:
            raise UsageError("fire a vector", device=self.label, why=f"vector must be below {VECTORS}, not {vector}")
        with self.lock:
            if vector == 0:
                self._firing.kept.illegal()
                take(self.regs)
            else:
                self._firing.kept.raise_by(CqIsr.MSIX, vector - 1)

    def quiesce(self, slot: int) -> None:
        for domain in self.device_domains:
            for port in domain.refers_to(slot):
                interrupt_by(self.regs, port.registers, CqIsr.OFF)

    def status(self) -> str:
        alarm = peek(self.regs)
        return "" if alarm is None else str(alarm)

    def firmware(self) -> str:
        return self.version.name

    def fault(self) -> str:
        return "" if self.regs.INGRESS_ALARM_ENBL.read() == ALARMS else "it was reset: its alarms are off"

    def _release(self) -> None:
        try:
            super()._release()
        finally:
            firing = made(self, "_firing")
            if firing is not None:
                firing.close()

    def details(self) -> Sequence[tuple[str, str]]:
        domains = self.device_domains
        found = [("device", f"{self.version.name}, {self.version.directed} directed and 64 load-balanced ports")]
        for domain in domains:
            ports = f"{len(domain.ports)} load-balanced and {len(domain.directed_ports)} directed ports"
            pool = f"{domain.credits.left} of {domain.credits.total} credits left"
            found.append((f"domain {domain.number}", f"{counted(len(domain.queues), 'queue')}, {ports}, {pool}"))
        return found
