# SPDX-License-Identifier: Apache-2.0
"""One device without a kernel: a link to a model or server on one side, the software platform in the kernel's part.

What opening, closing and resetting do follows the kernel's drivers/vfio/pci/vfio_pci_core.c (vfio_pci_core_enable,
vfio_pci_core_disable, vfio_pci_ioctl_reset).
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from vfio_ims.backends.software_config import SoftwareConfig
from vfio_ims.backends.software_msix import MsixShadow
from vfio_ims.backends.software_regions import RegionAccess
from vfio_ims.backends.software_space import SoftwareAddressSpace
from vfio_ims.errors import DeviceBusy, UnsupportedError, UsageError, VfioImsError
from vfio_ims.lifetime import Owner
from vfio_ims.pci import Command
from vfio_ims.platform import MsixPlace
from vfio_ims.platform.irqs import Irqs
from vfio_ims.verbs import DeviceFlags, DeviceInfo, Evidence, IrqIndex, IrqInfo, RegionFlags, RegionIndex, RegionInfo

if TYPE_CHECKING:
    from vfio_ims.backends.link import Link
    from vfio_ims.backends.ports import AddressSpacePort, Window
    from vfio_ims.platform import Platform

__all__ = ["SoftwareDevice"]


class SoftwareDevice(Owner):
    """``DevicePort`` over ``link``. ``space``: share that one, which stays open; else the device has its own.

    ``requester``: the function's bus/device/function number in 16 bits; the next free one by default.
    """

    def __init__(
        self,
        link: Link,
        platform: Platform,
        name: str | None = None,
        space: SoftwareAddressSpace | None = None,
        *,
        requester: int | None = None,
    ) -> None:
        self.function = platform.add(requester)
        super().__init__(name or link.name)
        self.link, self.platform = link, platform
        self._state = threading.RLock()  # config space, reset, and what they change here
        self._pasid_spaces: dict[int, SoftwareAddressSpace] = {}
        try:
            self._open(space)
        except BaseException:
            self.close()
            raise

    def _open(self, space: SoftwareAddressSpace | None) -> None:
        link = self.link
        link.connect(self.function)
        self._info = link.device_info()
        if self._info.flags & DeviceFlags.RESET:
            link.reset()
        self._regions = {index: link.region_info(index) for index in range(self._info.regions)}
        counts = {index: link.irq_info(index).count for index in range(self._info.irqs)}
        sizes = [self._regions[index].size if index in self._regions else 0 for index in range(7)]
        config_size = self._regions[RegionIndex.CONFIG].size
        self.config = SoftwareConfig(link, config_size, sizes, pin=bool(counts.get(IrqIndex.INTX)))
        msix, msi = self.config.raw.msix, self.config.raw.msi
        counts[IrqIndex.MSIX] = min(counts.get(IrqIndex.MSIX, 0), msix.vectors if msix else 0)
        counts[IrqIndex.MSI] = min(counts.get(IrqIndex.MSI, 0), msi.vectors if msi else 0)
        counts[IrqIndex.ERR], counts[IrqIndex.REQ] = int(self.config.raw.express is not None), 1
        self.irqs = self.function.irqs = Irqs(
            self.label,
            self.function.requester,
            counts,
            self.platform.controller,
            self.platform.lock,
            self.platform.signal,
            dynamic=self.platform.dynamic_msix,
            level=self._intx_asserted,
            changed=link.set_vectors,
        )
        self.shadow: MsixShadow | None = None
        if msix is not None and counts[IrqIndex.MSIX]:
            place = MsixPlace(counts[IrqIndex.MSIX], *msix.table, *msix.pba)
            self.shadow = MsixShadow(place, self.function, self.irqs, mappable=self.platform.msix_mappable)
            bar = self._regions[place.table_bar]
            if self.platform.msix_mappable:
                flags = bar.flags | RegionFlags.MMAP | RegionFlags.CAPS
                self._regions[place.table_bar] = replace(bar, flags=flags, msix_mappable=True)
        self._access = RegionAccess(self)
        self._set_command(self.config.command() & ~Command.BUS_MASTER | Command.MEMORY)
        self._space = space or SoftwareAddressSpace(self.platform, f"{self.label} address space", parent=self)
        self._space.attach(self.function, link)

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def name(self) -> str:
        return self.label

    @property
    def mount(self) -> str:
        return self.link.mount

    @property
    def settle(self) -> float:
        return self.link.settle

    @property
    def space(self) -> AddressSpacePort:
        return self._space

    def device_info(self) -> DeviceInfo:
        self.check_open("ask for device info")
        return self._info

    def region_info(self, index: int) -> RegionInfo:
        self.check_open("ask for region info")
        if index not in self._regions:
            why = f"region must be 0 to {len(self._regions) - 1}, not {index!r}"
            raise UsageError("ask for region info", device=self.label, why=why, errno=errno.EINVAL)
        return self._regions[index]

    def irq_info(self, index: int) -> IrqInfo:
        self.check_open("ask for interrupt info")
        if not 0 <= index < self._info.irqs:
            why = f"index must be 0 to {self._info.irqs - 1}, not {index!r}"
            raise UsageError("ask for interrupt info", device=self.label, why=why, errno=errno.EINVAL)
        return self.irqs.info(index)

    def interrupt_remapping(self) -> Evidence:
        return self.platform.interrupt_remapping()

    # --- access -------------------------------------------------------------------------------------------------------

    def window(self, index: int, guard: tuple[int, int] | None = None) -> Window:
        info = self.region_info(index)
        return self._access.window(info, guard)

    def read_region(self, index: int, offset: int, size: int) -> bytes:
        info = self.region_info(index)
        return self._access.read(info, offset, size)

    def write_region(self, index: int, offset: int, data: bytes) -> None:
        info = self.region_info(index)
        self._access.write(info, offset, data)

    def read_config(self, offset: int, size: int) -> bytes:
        """One aligned access of 1, 2 or 4 bytes to the user's view of config space."""
        with self._state:
            return self.config.read(offset, size)

    def write_config(self, offset: int, data: bytes) -> None:
        """One aligned access of 1, 2 or 4 bytes to config space, with what the kernel does on the way."""
        with self._state:
            self.config.write(offset, data)
            if offset < 0x08:
                self._follow_command()
            if self._asks_reset(offset, data) and self._info.flags & DeviceFlags.RESET:
                self._reset()

    def _asks_reset(self, offset: int, data: bytes) -> bool:
        express = self.config.raw.express
        if express is None or not express.flr:
            return False
        high = express.offset + 9 - offset
        return 0 <= high < len(data) and bool(data[high] & 0x80)

    def _set_command(self, command: int) -> None:
        with self._state:
            self.config.set_command(command)
            self._follow_command()

    def _follow_command(self) -> None:
        command = self.config.command()
        self.function.bus_master = bool(command & Command.BUS_MASTER)
        self._access.decode(bool(command & Command.MEMORY))
        self.irqs.intx.disable(self.config.intx_disable)

    def _intx_asserted(self) -> bool:
        return bool(self.link.read(RegionIndex.CONFIG, 0x06, 2)[0] & 0x08)

    # --- interrupts, reset, PASIDs ------------------------------------------------------------------------------------

    def set_irqs(self, index: int, flags: int, start: int, count: int, data: Sequence[int] = ()) -> None:
        self.check_open("set interrupts")
        try:
            self.irqs.set(index, flags, start, count, data)
        finally:
            for capability, kind in ((self.config.raw.msix, self.irqs.msix), (self.config.raw.msi, self.irqs.msi)):
                if capability is not None:
                    bit = 0x8000 if kind is self.irqs.msix else 0x0001
                    with self._state:
                        self.config.show(capability.offset + 2, bit * kind.enabled, bit, 2)

    def reset(self) -> None:
        self.check_open("reset")
        if not self._info.flags & DeviceFlags.RESET:
            hint = "use the device's own reset register, if it has one"
            raise UnsupportedError("reset", device=self.label, why="the function has no reset", hint=hint)
        with self._state:
            self._reset()

    def _reset(self) -> None:
        command = self.config.command()
        self.link.reset()
        with self.platform.lock:
            self.irqs.table.forget()
        self._set_command(command)

    def attach_pasid(self, pasid: int, space: AddressSpacePort) -> None:
        self.check_open(f"attach PASID {pasid}")
        bits = self.config.pasid_bits
        why = ""
        if not self.platform.pasids:
            why = "the platform's IOMMU takes no PASIDs"
        elif not getattr(self.link, "carries_pasids", False):
            why = f"a {self.mount} link carries no PASIDs"
        elif not bits:
            why = "the function has no PASID capability"
        if why:
            raise UnsupportedError(f"attach PASID {pasid}", device=self.label, why=why, errno=errno.EOPNOTSUPP)
        if not 1 <= pasid < 1 << bits:
            why = f"PASID must be 1 to {(1 << bits) - 1}, not {pasid!r}"
            raise UsageError(f"attach PASID {pasid}", device=self.label, why=why, errno=errno.EINVAL)
        if not isinstance(space, SoftwareAddressSpace) or space.platform is not self.platform:
            why = "the address space must be of this device's software platform"
            raise UsageError(f"attach PASID {pasid}", device=self.label, why=why, errno=errno.EINVAL)
        with self._state:
            if pasid in self._pasid_spaces:
                why = "it is attached already"
                raise DeviceBusy(f"attach PASID {pasid}", device=self.label, why=why, errno=errno.EBUSY)
            space.attach_pasid(self.function, pasid, self.link)
            self._pasid_spaces[pasid] = space

    def detach_pasid(self, pasid: int) -> None:
        self.check_open(f"detach PASID {pasid}")
        with self._state:
            space = self._pasid_spaces.pop(pasid, None)
        if space is None:
            why = "it is not attached"
            raise UsageError(f"detach PASID {pasid}", device=self.label, why=why, errno=errno.EINVAL)
        space.detach_pasid(self.function, pasid, self.link)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _release(self) -> None:
        """As the kernel on the last close: bus master off, vectors freed, then a reset if the function has one."""
        steps: list[Callable[[], None]] = []
        if hasattr(self, "_access"):
            steps.append(lambda: self._set_command(self.config.command() & ~Command.BUS_MASTER))
        if self.function.irqs is not None:
            steps.append(self.function.irqs.close)
        if hasattr(self, "_access") and self._info.flags & DeviceFlags.RESET:
            steps.append(self.link.reset)
        for pasid, space in self._pasid_spaces.items():
            steps.append(lambda pasid=pasid, space=space: space.detach_pasid(self.function, pasid, self.link))  # type: ignore[misc]
        if hasattr(self, "_space"):
            steps.append(lambda: self._space.detach(self.function, self.link))
        steps += [lambda: self.platform.remove(self.function), self.link.close]
        for step in steps:
            try:
                step()
            except VfioImsError:  # the far side is gone; the rest is given back all the same
                continue
