# SPDX-License-Identifier: Apache-2.0
"""A PCI function on the platform: its requester id, its address spaces, its interrupts. It is the model's bus."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.errors import BusFault
from vfio_ims.messages import Message
from vfio_ims.platform.faults import Fault, FaultKind
from vfio_ims.platform.iommu import IoAddressSpace
from vfio_ims.ports.values import IrqIndex

if TYPE_CHECKING:
    from vfio_ims.platform.irqs import Irqs
    from vfio_ims.platform.platform import Platform

__all__ = ["Function"]


class Function:
    """Made by ``Platform.add``. It is the ``Bus`` of a device model.

    ``space``: where plain requests go, ``pasids`` where tagged ones go. ``bus_master``: nothing leaves the function
    while it is off.
    """

    def __init__(self, platform: Platform, requester: int) -> None:
        self.platform, self.requester = platform, requester
        self.space: IoAddressSpace | None = None
        self.pasids: dict[int, IoAddressSpace] = {}
        self.irqs: Irqs | None = None
        self.bus_master = False
        window = platform.controller.window
        self._low, self._high = window.start, window.stop
        self.on_bus_reset: Callable[[], None] | None = None
        """What a reset of its bus does to the function; set by the device that is open on it."""

    def write(self, iova: int, data: bytes, pasid: int | None = None) -> None:
        """A memory write of ``data`` to ``iova``; ``pasid``: the tag of the request.

        4 bytes without PASID to the platform's window are a message; refused ones are logged. Tagged or of another size
        they are refused (VT-d: only untagged dword writes are interrupts). Elsewhere DMA: raises BusFault where it
        cannot go.
        """
        if self._low <= iova < self._high:
            if len(data) != 4 or pasid is not None or iova & 3:
                why = "a message is 4 aligned bytes" if pasid is None else self.platform.controller.with_pasid
                self._log(FaultKind.MESSAGE, iova, len(data), why, pasid)
            elif not self.bus_master:
                self._log(FaultKind.MESSAGE, iova, 4, "bus mastering is off", None)
            else:
                self.platform.deliver(self.requester, iova, int.from_bytes(data, "little"))
            return
        try:
            space = self.space if pasid is None and self.bus_master else None
            if space is None:
                space = self._space(iova, len(data), True, pasid)
            space.write(iova, data)
        except BusFault as fault:
            self._log(FaultKind.DMA_WRITE, iova, len(data), fault.why, pasid)
            raise

    def read(self, iova: int, size: int, pasid: int | None = None) -> bytes:
        """A memory read of ``size`` bytes at ``iova``, in the space of ``pasid``.

        Raises BusFault, which the fault log has too.
        """
        try:
            return self._space(iova, size, False, pasid).read(iova, size)
        except BusFault as fault:
            self._log(FaultKind.DMA_READ, iova, size, fault.why, pasid)
            raise

    def views(self, iova: int, size: int, *, write: bool, pasid: int | None = None) -> list[memoryview]:
        """The ``size`` bytes at ``iova`` themselves, in pieces; not to be used after ``act`` has returned.

        ``write``: whether they will be written; ``pasid``: in which space. Raises BusFault, which the fault log has
        too.
        """
        try:
            return self._space(iova, size, write, pasid).views(iova, size, write=write)
        except BusFault as fault:
            self._log(FaultKind.DMA_WRITE if write else FaultKind.DMA_READ, iova, size, fault.why, pasid)
            raise

    def allows(self, iova: int, size: int, *, write: bool, pasid: int | None = None) -> bool:
        """Whether a request for ``size`` bytes at ``iova`` would go through.

        Nothing is touched, but a refusal is in the fault log.

        ``write``: a write, not a read; ``pasid``: in which space.
        """
        try:
            self.views(iova, size, write=write, pasid=pasid)
        except BusFault:
            return False
        return True

    def interrupt(self, index: int, vector: int) -> None:
        """The device raises a standard interrupt. MSI and MSI-X send the kernel's message, so remapping applies."""
        irqs = self.irqs
        if irqs is None:
            return
        if index == IrqIndex.MSIX:
            if irqs.msix.enabled and 0 <= vector < irqs.table.count and self.bus_master:
                with self.platform.lock:
                    raised = irqs.table.raised(vector)
                if raised is not None:
                    self.platform.deliver(self.requester, *raised)
        elif index == IrqIndex.MSI:
            message = irqs.msi.message(vector)
            if message is not None and self.bus_master:
                self.platform.deliver(self.requester, message.address, message.data)
        elif index == IrqIndex.INTX:
            irqs.intx.deliver()
        else:
            irqs.singles[IrqIndex(index)].deliver()

    def move(self, vector: int, cpu: int, *, settle: bool = True) -> Message | None:
        """Move an attached ``vector`` to ``cpu``, as irqbalance does. Returns the message that raises it now.

        ``settle`` as for ``Platform.set_affinity``. None where no vector is attached.
        """
        irqs = self.irqs
        if irqs is None:
            return None
        return (irqs.msi if irqs.msi.enabled else irqs.msix).move(vector, cpu, settle=settle)

    def _space(self, iova: int, size: int, write: bool, pasid: int | None) -> IoAddressSpace:
        if not self.bus_master:
            raise BusFault(iova, size, write=write, why="bus mastering is off")
        space = self.space if pasid is None else self.pasids.get(pasid)
        if space is None:
            why = "no address space attached" if pasid is None else f"PASID {pasid} is not attached"
            raise BusFault(iova, size, write=write, why=why)
        return space

    def _log(self, kind: FaultKind, iova: int, size: int, why: str, pasid: int | None) -> None:
        self.platform.faults.record(Fault(kind, self.requester, iova, size, why, pasid=pasid))
