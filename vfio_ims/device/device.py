# SPDX-License-Identifier: Apache-2.0
"""The bare device: everything VFIO offers of it, no vendor's knowledge."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from vfio_ims.device.bar import Bar
from vfio_ims.device.config import Config
from vfio_ims.errors import UnsupportedError, UsageError, VfioImsError
from vfio_ims.lifetime import Owner, close_at_exit
from vfio_ims.locks import made_once, make_rlock
from vfio_ims.pci.capabilities import MSIX_ENTRY_SIZE, Capabilities, ModelMark, is_model
from vfio_ims.verbs import Area, DeviceFlags, DeviceInfo, RegionIndex

if TYPE_CHECKING:
    from vfio_ims.backends.ports import DevicePort
    from vfio_ims.dma import AddressSpace, PasidSpace, Share
    from vfio_ims.interrupts import Interrupts

__all__ = ["Device"]


class Device(Owner):
    """One open PCI function. Close it, or use it in a ``with`` block: vectors, mappings and memory go with it.

    Opening through VFIO has reset the function where it could and left bus mastering off. ``port`` is what answers.
    """

    def __init__(self, port: DevicePort) -> None:
        self.port, self.name, self.mount = port, port.name, port.mount
        self._lock = make_rlock()
        self._bars: dict[int, Bar] = {}
        self._after_reset: list[Callable[[], None]] = []
        self.info: DeviceInfo = port.device_info()
        self.config = Config(port)
        self.loss: VfioImsError | None = None
        """Why the device is gone, where the mount has noticed."""
        super().__init__(port.name)
        close_at_exit(self)
        told = weakref.WeakMethod(self._lost)  # a device that is forgotten is not kept by its port
        port.on_lost(lambda reason: method(reason) if (method := told()) is not None else None)

    def _lost(self, reason: VfioImsError) -> None:
        """No interrupt will come any more: every wait, under way or to come, raises ``reason``."""
        self.loss = reason
        interrupts = self.__dict__.get("interrupts")
        hub = None if interrupts is None else interrupts.__dict__.get("hub")
        if hub is not None:
            hub.fail(reason)

    @cached_property
    def capabilities(self) -> Capabilities:
        """The capabilities that this mount shows, decoded once."""
        self.check_open("read capabilities")
        return self.config.capabilities()

    @cached_property
    def mark(self) -> ModelMark | None:
        """What a software model of ours says of itself; None for hardware."""
        return is_model(self.capabilities)

    @cached_property
    def msix_table(self) -> tuple[int, Area] | None:
        """The BAR with the MSI-X table, and where in it; None without MSI-X."""
        msix = self.capabilities.msix
        if msix is None:
            return None
        bar, offset = msix.table
        return bar, Area(offset, msix.vectors * MSIX_ENTRY_SIZE)

    def bar(self, number: int) -> Bar:
        """BAR ``number``, mapped where the mount allows it. Writes to the MSI-X table in it are refused."""
        self.check_open(f"open BAR {number}")
        with self._lock:
            if number not in self._bars:
                if number not in range(6):
                    raise UsageError(f"open BAR {number}", device=self.name, why=f"a BAR must be 0 to 5, not {number}")
                info = self.port.region_info(number)
                if info.size == 0:
                    present = [str(index) for index in range(6) if self.port.region_info(index).size]
                    raise UsageError(
                        f"open BAR {number}",
                        device=self.name,
                        why=f"the function has no such BAR; it has {', '.join(present) or 'none'}",
                    )
                guard = None
                if self.msix_table is not None and self.msix_table[0] == number:
                    guard = self.msix_table[1].offset, self.msix_table[1].end
                pieces = self.mark is not None and bool(self.mark.store_in_pieces)
                self._bars[number] = Bar(self, number, self.port.window(number, guard), pieces=pieces)
            return self._bars[number]

    @made_once
    def interrupts(self) -> Interrupts:
        """The standard interrupts: INTx, MSI, MSI-X, ERR, REQ."""
        from vfio_ims.interrupts import Interrupts

        self.check_open("use interrupts")
        return Interrupts(self)

    @made_once
    def _share(self) -> Share:
        from vfio_ims.dma import Share

        self.check_open("use DMA")
        return Share(self)

    @property
    def dma(self) -> AddressSpace:
        """The I/O address space of the device's requests: memory that it may reach."""
        self.check_open("use DMA")
        return self._share.space

    def attach_pasid(self, pasid: int, space: AddressSpace | None = None) -> PasidSpace:
        """Let requests tagged ``pasid`` go through ``space``, or through a new one; detached when that is closed.

        UnsupportedError where kernel, IOMMU or function cannot: a plain attach would succeed there and do nothing.
        """
        from vfio_ims.dma import PasidSpace

        self.check_open(f"attach PASID {pasid}")
        return PasidSpace(self, pasid, space)

    @property
    def can_reset(self) -> bool:
        return bool(self.info.flags & DeviceFlags.RESET)

    def reset(self) -> None:
        """Function reset (VFIO_DEVICE_RESET). Vectors keep their messages; the device's own registers and slots are

        gone. Whoever asked by ``after_reset`` is told. UnsupportedError where the function has no reset.
        """
        self.check_open("reset")
        if not self.can_reset:
            raise UnsupportedError("reset", device=self.name, why="the function has no reset method")
        self.port.reset()
        for tell in list(self._after_reset):
            tell()

    def after_reset(self, tell: Callable[[], None]) -> None:
        """Call ``tell`` after each function reset made through this object."""
        self._after_reset.append(tell)

    def _release(self) -> None:
        try:
            if self.info.flags & DeviceFlags.PCI and self.port.region_info(RegionIndex.CONFIG).size:
                self.config.bus_master = False
        finally:
            self._bars.clear()
            self.port.close()

    def __repr__(self) -> str:
        return f"<Device {self.name} ({self.mount}{', closed' if self.closed else ''})>"
