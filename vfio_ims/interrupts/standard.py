# SPDX-License-Identifier: Apache-2.0
"""The function's standard interrupts: which there are, and opening one to wait for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from vfio_ims.errors import UnsupportedError, UsageError
from vfio_ims.interrupts.hub import EventHub
from vfio_ims.interrupts.msix import MsixVectors
from vfio_ims.interrupts.vector import VectorInterrupt
from vfio_ims.locks import made_once
from vfio_ims.native.events import EventFd
from vfio_ims.verbs import IrqIndex, IrqInfo, IrqSet

if TYPE_CHECKING:
    from vfio_ims.device import Device

__all__ = ["Interrupts"]

_ATTACH = IrqSet.DATA_EVENTFD | IrqSet.ACTION_TRIGGER


class Interrupts:
    """INTx, MSI, MSI-X, ERR (the device reported an error) and REQ (the host wants the device back)."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._msi: dict[int, EventFd] = {}

    @made_once
    def hub(self) -> EventHub:
        """Where the device's event descriptors are drained."""
        return EventHub(self._device)

    @made_once
    def msix(self) -> MsixVectors:
        return MsixVectors(self._device)

    def info(self, index: int) -> IrqInfo:
        """What VFIO says of this kind; ``count`` 0 where the function has none."""
        return self._device.port.irq_info(index)

    def open_msix(self, vector: int) -> VectorInterrupt:
        """Attach MSI-X ``vector`` and wait for it."""
        event = EventFd()
        try:
            self.msix.attach(vector, event)
        except BaseException:
            event.close()
            raise
        return self._interrupt(IrqIndex.MSIX, vector, event, lambda: self.msix.detach(vector))

    def open_msi(self, count: int = 1) -> list[VectorInterrupt]:
        """Enable ``count`` MSI vectors (VFIO: all at once) and wait for each."""
        available = self.info(IrqIndex.MSI).count
        if not 1 <= count <= available:
            why = f"count must be 1 to {available}, not {count}" if available else "the function has no MSI"
            raise UsageError("enable MSI", device=self._device.name, why=why)
        events = [EventFd() for _ in range(count)]
        try:
            self._device.port.set_irqs(IrqIndex.MSI, _ATTACH, 0, count, [event.fileno() for event in events])
        except BaseException:
            for event in events:
                event.close()
            raise
        self._msi = dict(enumerate(events))
        return [
            self._interrupt(IrqIndex.MSI, vector, event, partial(self._detach_msi, vector))
            for vector, event in enumerate(events)
        ]

    def _detach_msi(self, vector: int) -> None:
        self._msi.pop(vector, None)
        if self._msi:
            self._device.port.set_irqs(IrqIndex.MSI, _ATTACH, vector, 1, [-1])
        else:
            self._disable(IrqIndex.MSI)

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
        if self.info(index).count == 0:
            raise UnsupportedError(f"open {index.name}", device=self._device.name, why="the function has none")
        event = EventFd()
        try:
            self._device.port.set_irqs(index, _ATTACH, 0, 1, [event.fileno()])
        except BaseException:
            event.close()
            raise
        return self._interrupt(index, 0, event, lambda: self._disable(index))

    def _disable(self, index: int) -> None:
        self._device.port.set_irqs(index, IrqSet.DATA_NONE | IrqSet.ACTION_TRIGGER, 0, 0)

    def _interrupt(self, index: int, vector: int, event: EventFd, detach: Callable[[], None]) -> VectorInterrupt:
        return VectorInterrupt(self._device, index, vector, self.hub, event, detach)
