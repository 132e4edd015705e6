# SPDX-License-Identifier: Apache-2.0
"""The bare device: everything VFIO offers of it, no vendor's knowledge."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from vfio_ims.device.aer import ErrorReport, clear_errors, read_errors
from vfio_ims.device.bar import Bar
from vfio_ims.device.config import Config
from vfio_ims.device.msi_registers import HostMsiRegisters
from vfio_ims.device.msix_table import BarMsixTable
from vfio_ims.device.power import LowPower, read_power_state, write_power_state
from vfio_ims.dma import AddressSpace, PasidSpace, Share, free_unmapped
from vfio_ims.errors import UnsupportedError, UsageError, VfioImsError
from vfio_ims.interrupts import Interrupts
from vfio_ims.lifetime import Owner, close_at_exit
from vfio_ims.locks import made, made_once, make_rlock
from vfio_ims.pci.capabilities import (
    MSIX_ENTRY_SIZE,
    AdvancedErrorReporting,
    Capabilities,
    ModelMark,
    PowerState,
    is_model,
)
from vfio_ims.ports.values import AffectedFunction, Area, DeviceFlags, DeviceInfo, RegionIndex, ResetMethod

if TYPE_CHECKING:
    from vfio_ims.ports.device import DevicePort

__all__ = ["Device"]


class Device(Owner):
    """One open PCI function. Close it, or use it in a ``with`` block: vectors, mappings and memory go with it.

    Opening through VFIO has reset the function where it could and left bus mastering off. ``port`` is what answers.
    """

    def __init__(
        self, port: DevicePort, *, host_config: Callable[[int, int], bytes] | None = None, donors: str = "auto"
    ) -> None:
        """``host_config``: a reader of config space as the host has it, by offset and size, where that is at hand.

        ``donors``: which vectors slots copy: "msix", "msi", or "auto", which is MSI where the function has no MSI-X.
        """
        self.port, self.name, self.mount = port, port.name, port.mount
        self._host_config, self._donor_kind = host_config, donors
        self._lock = make_rlock()
        self._bars: dict[int, Bar] = {}
        self._after_reset: list[Callable[[], None]] = []
        self.info: DeviceInfo = port.device_info()
        self.config = Config(port)
        self.loss: VfioImsError | None = None
        """Why the device is gone, where the mount has noticed."""
        super().__init__(port.name)
        close_at_exit(self)
        on_loss = weakref.WeakMethod(self._lost)  # a device that is forgotten is not kept by its port
        port.on_lost(lambda reason: method(reason) if (method := on_loss()) is not None else None)

    def _lost(self, reason: VfioImsError) -> None:
        """No interrupt will come any more: every wait, under way or to come, raises ``reason``."""
        self.loss = reason
        interrupts: Interrupts | None = made(self, "interrupts")
        if interrupts is not None:
            interrupts.fail(reason)

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
                self._bars[number] = Bar(self.port, self, number, self.port.window(number, guard), pieces=pieces)
            return self._bars[number]

    @property
    def open_bars(self) -> dict[int, Bar]:
        """The BARs that have been opened, by number."""
        with self._lock:
            return dict(self._bars)

    @made_once
    def interrupts(self) -> Interrupts:
        """The standard interrupts: INTx, MSI, MSI-X, ERR, REQ."""
        self.check_open("use interrupts")
        return Interrupts(
            self.port,
            self,
            msix_table=self._msix_entries,
            msi_registers=self._msi_registers,
            loss=lambda: self.loss,
            donors=self._donor_kind,
        )

    def _msi_registers(self) -> HostMsiRegisters | None:
        msi = self.capabilities.msi
        return None if msi is None else HostMsiRegisters(self.name, msi, self._host_config)

    def _msix_entries(self) -> BarMsixTable | None:
        return None if self.msix_table is None else BarMsixTable(self.bar(self.msix_table[0]), self.msix_table[1])

    @made_once
    def _share(self) -> Share:
        self.check_open("use DMA")
        return Share(self.port.space, self.name, self)

    @property
    def dma(self) -> AddressSpace:
        """The I/O address space of the device's requests: memory that it may reach."""
        self.check_open("use DMA")
        return self._share.space

    def attach_pasid(self, pasid: int, space: AddressSpace | None = None) -> PasidSpace:
        """Let requests tagged ``pasid`` go through ``space``, or through a new one; detached when that is closed.

        UnsupportedError where kernel, IOMMU or function cannot: a plain attach would succeed there and do nothing.
        """
        self.check_open(f"attach PASID {pasid}")
        return PasidSpace(self.port, self, pasid, space)

    @property
    def can_reset(self) -> bool:
        """Whether the kernel or the mount knows a reset of this function (VFIO_DEVICE_FLAGS_RESET), for ``reset``."""
        return bool(self.info.flags & DeviceFlags.RESET)

    def reset_methods(self) -> tuple[ResetMethod, ...]:
        """The ways to reset the function that kernel and function have, least disturbing first.

        A hot reset among them may still be refused because of others on the bus: ``hot_reset_scope`` names them.
        """
        self.check_open("read the ways to reset")
        found = [ResetMethod.FUNCTION] if self.can_reset else []
        power = self.capabilities.pm
        if power is not None and not power.no_soft_reset:
            found.append(ResetMethod.D3)
        try:
            self.port.hot_reset_scope()
        except UnsupportedError:
            return tuple(found)
        return (*found, ResetMethod.HOT)

    def hot_reset_scope(self) -> tuple[AffectedFunction, ...]:
        """The functions that ``reset(ResetMethod.HOT)`` resets, this one among them.

        UnsupportedError where neither the slot nor the bus can be reset, as on a root bus.
        """
        self.check_open("read what a hot reset takes along")
        return self.port.hot_reset_scope()

    def reset(self, method: ResetMethod = ResetMethod.FUNCTION) -> None:
        """Reset the function, then call what was registered by ``after_reset``. A driver's slots: see ``Driver.reset``.

        Vectors keep their messages and config space is as before, whichever the method; the device's own registers and
        slots are gone. A hot reset resets every function of ``hot_reset_scope``, whose owners are not notified.
        UnsupportedError where the function has no such reset, DeviceBusy where a hot reset would reach functions that
        are not the caller's: they are named.
        """
        self.check_open("reset")
        match method:
            case ResetMethod.FUNCTION:
                if not self.can_reset:
                    raise UnsupportedError("reset", device=self.name, why="the function has no reset method")
                self.port.reset()
            case ResetMethod.D3:
                self._power_cycle()
            case ResetMethod.HOT:
                self.port.hot_reset()
        for notify in list(self._after_reset):
            notify()

    def _power_cycle(self) -> None:
        power = self.capabilities.pm
        if power is None or power.no_soft_reset:
            why = "it keeps its state over D3hot (No_Soft_Reset)" if power else "it has no power management capability"
            raise UnsupportedError("reset through D3hot", device=self.name, why=why)
        self.power_state = PowerState.D3HOT
        self.power_state = PowerState.D0

    @property
    def power_state(self) -> PowerState:
        """The function's power state, as its PM capability says; D0 where it has none.

        Set it to ``PowerState.D3HOT`` and back to ``D0``. In D3hot BARs do not answer and nothing is sent; a function
        without No_Soft_Reset comes back reset, with config space restored (``reset(ResetMethod.D3)``).
        """
        self.check_open("read the power state")
        return read_power_state(self.config, self.capabilities.pm)

    @power_state.setter
    def power_state(self, state: PowerState) -> None:
        self.check_open("set the power state")
        write_power_state(self.config, self.capabilities.pm, state, self.name)

    def low_power(self, *, wakeup: bool = False) -> LowPower:
        """Let the device sleep until the result is closed, or (``wakeup``) until it is woken.

        UnsupportedError where kernel or mount has no such feature; UsageError where it is in low power already.
        """
        self.check_open("enter low power")
        return LowPower(self.port, self, wakeup=wakeup)

    def read_errors(self) -> ErrorReport | None:
        """The errors that Advanced Error Reporting has recorded, read now; None without that capability.

        The status bits stay set until ``clear_errors``, or until the kernel has handled the error.
        """
        self.check_open("read recorded errors")
        return read_errors(self.config, self.capabilities.find(AdvancedErrorReporting), self.port.error_counts())

    def clear_errors(self) -> None:
        """Clear the recorded errors. UnsupportedError without the AER capability."""
        self.check_open("clear recorded errors")
        errors = self.capabilities.find(AdvancedErrorReporting)
        if errors is None:
            raise UnsupportedError("clear recorded errors", device=self.name, why="the function has no AER capability")
        clear_errors(self.config, errors)

    def after_reset(self, notify: Callable[[], None]) -> None:
        """Call ``notify`` after each reset made through this object."""
        self._after_reset.append(notify)

    def _release(self) -> None:
        try:
            if self.info.flags & DeviceFlags.PCI and self.port.region_info(RegionIndex.CONFIG).size:
                self.config.bus_master = False
        finally:
            self._bars.clear()
            try:
                self.port.close()
            finally:
                free_unmapped()

    def __repr__(self) -> str:
        return f"<Device {self.name} ({self.mount}{', closed' if self.closed else ''})>"
