# SPDX-License-Identifier: Apache-2.0
"""The function's standard interrupts: which there are, and opening one to wait for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceBusy, UnsupportedError, UsageError
from vfio_ims.interruption import break_off, uninterrupted
from vfio_ims.interrupts.donor_pool import DonorPool, ReservedVectors
from vfio_ims.interrupts.hub import EventHub
from vfio_ims.interrupts.msi import MsiVectors
from vfio_ims.interrupts.msix import MsixVectors
from vfio_ims.interrupts.vector import VectorInterrupt
from vfio_ims.locks import made, made_once
from vfio_ims.native.events import EventFd
from vfio_ims.ports.values import IrqIndex, IrqInfo, IrqSet

if TYPE_CHECKING:
    from vfio_ims.interrupts.msi import MsiRegisters
    from vfio_ims.interrupts.msix import MsixTable
    from vfio_ims.lifetime import Owner
    from vfio_ims.ports.device import DevicePort

__all__ = ["Interrupts"]

_ATTACH = IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER
_ONE_AT_A_TIME = (IrqIndex.INTX, IrqIndex.MSI, IrqIndex.MSIX)


class Interrupts:
    """INTx, MSI, MSI-X, ERR (the device reported an error) and REQ (the host wants the device back)."""

    def __init__(
        self,
        port: DevicePort,
        owner: Owner,
        *,
        msix_table: Callable[[], MsixTable | None],
        msi_registers: Callable[[], MsiRegisters | None],
        loss: Callable[[], Exception | None],
        donors: str = "auto",
    ) -> None:
        self._port, self._owner, self._msix_table, self._loss = port, owner, msix_table, loss
        self._msi_registers, self._donor_kind = msi_registers, donors
        self._opened: Counter[int] = Counter()  # by kind, without MSI-X: how many interrupts are open

    @made_once
    def hub(self) -> EventHub:
        """Where the device's event descriptors are drained."""
        # A device that is lost from now on is reported by fail(), which waits until this is made.
        return EventHub(self._port.name, self._owner, self._loss())

    @made_once
    def msix(self) -> MsixVectors:
        """The MSI-X vectors, opened one at a time, and reserved for the application."""
        return MsixVectors(self._port, self._owner, self._msix_table())

    @made_once
    def donors(self) -> DonorPool:
        """The vectors whose messages IMS slots copy: one pool for every slot table of the device."""
        port, source = self._port, self._donor_source()
        return DonorPool(
            port.name,
            source,
            self.hub,
            lambda: port.message_platform().moves,
            lambda operation: self._check_kinds(source.index, operation, donor=True),
        )

    def _donor_source(self) -> MsixVectors | MsiVectors:
        """MSI-X where the function has it, unless MSI was asked for."""
        msix, msi = self.info(IrqIndex.MSIX).count, self.info(IrqIndex.MSI).count
        wanted = self._donor_kind
        if wanted == "msi" or (wanted == "auto" and not msix and msi):
            return MsiVectors(self._port, self._owner, self._msi_registers())
        return self.msix

    def fail(self, reason: Exception) -> None:
        """The device will not interrupt any more: every wait, under way or to come, raises ``reason``."""
        hub = made(self, "hub")
        if hub is not None:
            hub.fail(reason)

    def info(self, index: int) -> IrqInfo:
        """What VFIO says of this kind; ``count`` 0 where the function has none."""
        return self._port.irq_info(index)

    def descriptors(self) -> dict[int, tuple[int, int]]:
        """The event descriptors of donors and open vectors: kind and number of the vector of each."""
        found = {}
        pool = made(self, "donors")
        if pool is not None:
            found = {one.event.fileno(): (int(pool.source.index), one.vector) for one in list(pool.vectors.values())}
        for one in self._owner.open_children(VectorInterrupt):
            found[one.descriptor] = (one.index, one.vector)
        return found

    def open_msix(self, vector: int) -> VectorInterrupt:
        """Attach MSI-X ``vector`` and wait for it.

        A donor on that vector is given up: slots that share it are moved to other donors and their owners woken once.
        DeviceBusy says which slots hold it where they cannot be moved.
        """
        operation = f"open MSI-X vector {vector}"
        with uninterrupted():
            event = EventFd()
            try:
                with self.donors.lock:
                    self._check_kinds(IrqIndex.MSIX, operation)
                    self.donors.vacate(vector, operation)
                    self.msix.attach(vector, event)
            except BaseException:
                event.close()
                raise
            return self._interrupt(IrqIndex.MSIX, vector, event, lambda: self.msix.detach(vector))

    def reserve_msix(self, *vectors: int) -> ReservedVectors:
        """Keep MSI-X ``vectors`` for the application: they are no donors until what this returns is closed.

        All or none; donors on them are given up as in ``open_msix``.
        """
        return ReservedVectors(f"{self._port.name} reserved vectors", self._owner, self.donors, vectors)

    def open_msi(self, count: int = 1) -> list[VectorInterrupt]:
        """Enable ``count`` MSI vectors (VFIO: all at once) and wait for each. DeviceBusy while some are open."""
        available = self.info(IrqIndex.MSI).count
        given: object = count
        if not isinstance(given, int) or isinstance(given, bool):
            raise UsageError("enable MSI", device=self._port.name, why=f"count must be a number, not {count!r}")
        if not 1 <= count <= available:
            why = f"count must be 1 to {available}, not {count}" if available else "the function has no MSI"
            raise UsageError("enable MSI", device=self._port.name, why=why)
        return self._open(IrqIndex.MSI, count, "enable MSI")

    def open_intx(self) -> VectorInterrupt:
        """The level interrupt: masked by the kernel at each event until ``unmask``."""
        return self._single(IrqIndex.INTX)

    def open_err(self) -> VectorInterrupt:
        """Signalled when the device reported an uncorrected error: ``Device.read_errors`` says which."""
        return self._single(IrqIndex.ERR)

    def open_req(self) -> VectorInterrupt:
        """Signalled when the host wants the device back: close it soon, the remover waits for that."""
        return self._single(IrqIndex.REQ)

    def _single(self, index: IrqIndex) -> VectorInterrupt:
        operation = f"open {index.name}"
        if self.info(index).count == 0:
            raise UnsupportedError(operation, device=self._port.name, why="the function has none")
        return self._open(index, 1, operation)[0]

    def _open(self, index: IrqIndex, count: int, operation: str) -> list[VectorInterrupt]:
        """Give the kind's first ``count`` vectors a descriptor each, in one call."""
        with uninterrupted():
            with self.donors.lock:
                self._check_kinds(index, operation)
                events: list[EventFd] = []
                try:
                    events += [EventFd() for _ in range(count)]
                    self._port.set_irqs(index, _ATTACH, 0, count, [event.fileno() for event in events])
                except BaseException:
                    for event in events:
                        event.close()
                    raise
                self._opened[index] = count
            closers = [self._closer(index, vector) for vector in range(count)]
            return [self._interrupt(index, vector, events[vector], closers[vector]) for vector in range(count)]

    def _check_kinds(self, index: IrqIndex, operation: str, *, donor: bool = False) -> None:
        """Raise DeviceBusy where this kind, or one that excludes it, is open. Idle donors are given up.

        ``donor``: a vector of this kind is to be a donor, so that donors may stay.
        """
        device, hint = self._port.name, "close what is open of it first"
        if self._opened[index]:
            why = f"{index.name} is open already, {self._opened[index]} of it"
            raise DeviceBusy(operation, device=device, why=why, hint=hint)
        if index not in _ONE_AT_A_TIME:
            return
        rule = "and a function uses one of INTx, MSI and MSI-X at a time"
        for other in _ONE_AT_A_TIME:
            if other is not index and self._opened[other]:
                raise DeviceBusy(operation, device=device, why=f"{other.name} is open, {rule}", hint=hint)
        source, attached = self.donors.source, dict[str, tuple[int, ...]]()
        if not donor and (index is not IrqIndex.MSIX or source.index is not IrqIndex.MSIX):
            self.donors.give_up_idle()
        if index is not IrqIndex.MSIX:
            attached["MSI-X"] = self.msix.attached
        if source.index is IrqIndex.MSI and not donor:
            attached["MSI"] = source.attached
        for kind, numbers in attached.items():
            if numbers:
                vectors = ", ".join(map(str, numbers))
                why = f"{kind} is in use (vectors {vectors}), {rule}"
                hint = "close those vectors and IMS interrupts first"
                raise DeviceBusy(operation, device=device, why=why, hint=hint)

    def _closer(self, index: IrqIndex, vector: int) -> Callable[[], None]:
        def close() -> None:
            with self.donors.lock:
                self._opened[index] -= 1
                if self._opened[index]:
                    self._port.set_irqs(index, _ATTACH, vector, 1, [-1])
                else:
                    self._port.set_irqs(index, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, 0, 0)

        return close

    def _interrupt(self, index: int, vector: int, event: EventFd, detach: Callable[[], None]) -> VectorInterrupt:
        made = VectorInterrupt(self._port, self._owner, index, vector, self.hub, event, detach)
        try:
            break_off()  # Ctrl-C: rather now than when the caller does not have it yet
        except BaseException:
            made.close()
            raise
        return made
