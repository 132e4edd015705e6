# SPDX-License-Identifier: Apache-2.0
"""One device without a kernel: a link to a model or server on one side, the software platform in the kernel's part.

What opening, closing and resetting do follows the kernel's drivers/vfio/pci/vfio_pci_core.c (vfio_pci_core_enable,
vfio_pci_core_disable, vfio_pci_ioctl_reset).
"""

from __future__ import annotations

import errno
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from vfio_ims.backends.software.affinity import VectorCpus
from vfio_ims.backends.software.msix import MsixShadow
from vfio_ims.backends.software.pasids import PasidSpaces
from vfio_ims.backends.software.power import LowPower
from vfio_ims.backends.software.regions import RegionAccess
from vfio_ims.backends.software.space import SoftwareAddressSpace
from vfio_ims.backends.software.state import FunctionState, intx_asserted
from vfio_ims.backends.software.topology import Topology, notify, probe
from vfio_ims.errors import UnsupportedError, UsageError, VfioImsError
from vfio_ims.lifetime import Owner
from vfio_ims.pci import Command, PciAddress
from vfio_ims.platform.irqs import Irqs
from vfio_ims.ports.values import (
    AffectedFunction,
    Affinity,
    DeviceFlags,
    DeviceInfo,
    Evidence,
    IrqInfo,
    RegionIndex,
    RegionInfo,
)

if TYPE_CHECKING:
    from vfio_ims.messages import MessagePlatform
    from vfio_ims.platform import Platform
    from vfio_ims.ports.address_space import AddressSpacePort
    from vfio_ims.ports.link import Link
    from vfio_ims.ports.window import Window

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
        # What closing does, last step first: as far as opening came.
        self._undo: list[Callable[[], None]] = [link.close, lambda: platform.remove(self.function)]
        try:
            self._open(space)
        except BaseException:
            self.close()
            raise

    def _open(self, space: SoftwareAddressSpace | None) -> None:
        link = self.link
        link.connect(self.function)
        self._info = link.device_info()
        resettable = bool(self._info.flags & DeviceFlags.RESET)
        if resettable:
            link.reset()
        platform = self.platform
        found = probe(link, self._info, self.label, msix_mappable=platform.msix_mappable, place_bar=platform.place_bar)
        self._regions = found.regions
        self.irqs = self.function.irqs = self._make_irqs(found)
        self._cpus = VectorCpus(self.label, self.function, self.irqs, self.platform.cpus)
        self.shadow: MsixShadow | None = None
        if found.msix is not None:
            mappable = self.platform.msix_mappable
            self.shadow = MsixShadow(found.msix, self.function, self.irqs, mappable=mappable)
        self._access = RegionAccess(self.label, link, self.shadow, platform.page_size, self)
        self._power = LowPower(self.label, self._access.low_power)
        self._undo.append(self._power.leave)
        self.state = FunctionState(
            link, self.function, found.config, self.irqs, self._access.decode, resettable=resettable
        )
        self._access.config = self.state
        self._pasids = PasidSpaces(self.label, link, self.function, found.config.pasid_bits)
        if resettable:
            self._undo.append(link.reset)
        self._undo.append(self.irqs.close)
        self.state.set_command(on=Command.MEMORY, off=Command.BUS_MASTER)
        self._space = space or SoftwareAddressSpace(self.platform, f"{self.label} address space", private=True)
        self._space.attach(self.function, link)
        self._undo += [self._pasids.close, lambda: self._space.detach(self.function, link)]
        self._undo += [self.state.wake, lambda: self.state.set_command(off=Command.BUS_MASTER)]
        reset = weakref.WeakMethod(self.state.reset)  # the platform keeps the function, and must not keep the device
        self.function.on_bus_reset = lambda: method() if (method := reset()) is not None else None

    def _make_irqs(self, found: Topology) -> Irqs:
        # Nothing in it refers to this object, so that one that was forgotten is found and closed.
        return Irqs(
            self.label,
            self.function.requester,
            found.vectors,
            self.platform.controller,
            self.platform.lock,
            self.platform.signal,
            dynamic=self.platform.dynamic_msix,
            level=partial(intx_asserted, self.link),
            changed=partial(notify, self.link, found.link_vectors),
        )

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

    def host_config(self, offset: int, size: int) -> bytes:
        """Config space as the kernel of this host has it: what a descriptor of sysfs' ``config`` shows to root."""
        self.check_open("read the host's config space")
        return self.link.read(RegionIndex.CONFIG, offset, size)

    def interrupt_remapping(self) -> Evidence:
        return self.platform.interrupt_remapping()

    def message_platform(self) -> MessagePlatform:
        return self.platform.messages

    # --- access -------------------------------------------------------------------------------------------------------

    def window(self, index: int, guard: tuple[int, int] | None = None) -> Window:
        info = self.region_info(index)
        return self._access.window(info, guard)

    def mapping_fd(self, index: int) -> int | None:
        """The file behind the region's areas, if any."""
        return self.link.mapping_fd(index) if self.region_info(index).areas else None

    def read_region(self, index: int, offset: int, size: int) -> bytes:
        info = self.region_info(index)
        self._power.touched()
        return self._access.read(info, offset, size)

    def write_region(self, index: int, offset: int, data: bytes) -> None:
        info = self.region_info(index)
        self._power.touched()
        self._access.write(info, offset, data)

    # --- interrupts, reset, PASIDs ------------------------------------------------------------------------------------

    def set_irqs(self, index: int, flags: int, start: int, count: int, data: Sequence[int] = ()) -> None:
        self.check_open("set interrupts")
        self._power.touched()
        try:
            self.irqs.set(index, flags, start, count, data)
        finally:
            self.state.show_enables()

    def reset(self) -> None:
        self.check_open("reset")
        if not self.state.resettable:
            hint = "use the device's own reset register, if it has one"
            raise UnsupportedError("reset", device=self.label, why="the function has no reset", hint=hint)
        self._power.touched()
        self.state.reset()

    def hot_reset_scope(self) -> tuple[AffectedFunction, ...]:
        """The functions on the same bus of the platform: all are this process's own."""
        self.check_open("read what a hot reset takes along")
        found = self.platform.on_bus_of(self.function)
        if not found:
            raise self._no_bus_reset("read what a hot reset takes along")
        addresses = (str(PciAddress.from_requester_id(one.requester)) for one in found)
        return tuple(sorted(AffectedFunction(address, True) for address in addresses))

    def hot_reset(self) -> None:
        self.check_open("hot reset")
        self._power.touched()
        found = self.platform.on_bus_of(self.function)
        if not found:
            raise self._no_bus_reset("hot reset")
        for function in found:
            if function.on_bus_reset is not None:
                function.on_bus_reset()

    def _no_bus_reset(self, operation: str) -> UnsupportedError:
        why = "it sits on the software platform's root bus, which nothing resets"
        hint = "place it behind a bridge: the option bdf=01:00.0 in its name"
        return UnsupportedError(operation, device=self.label, why=why, hint=hint, errno=errno.ENODEV)

    def feature(self, flags: int, data: bytes = b"") -> bytes:
        self.check_open("use a feature")
        return self._power.feature(flags, data)

    def error_counts(self) -> Mapping[str, int]:
        """The software platform counts no errors."""
        return {}

    def affinity(self, index: int, vector: int) -> Affinity:
        self.check_open("read a vector's CPUs")
        return self._cpus.read(index, vector)

    def set_affinity(self, index: int, vector: int, cpus: Collection[int]) -> None:
        self.check_open("move a vector")
        self._cpus.write(index, vector, cpus)

    def on_lost(self, notify: Callable[[VfioImsError], None]) -> None:
        listen = getattr(self.link, "on_lost", None)
        if listen is not None:
            listen(notify)

    def pasid_bits(self) -> int:
        self.check_open("ask for the width of PASIDs")
        return self._pasids.usable_bits

    def new_space(self) -> SoftwareAddressSpace:
        self.check_open("make a second address space")
        return SoftwareAddressSpace(self.platform, f"second address space of {self.label}")

    def attach_pasid(self, pasid: int, space: AddressSpacePort) -> None:
        self.check_open(f"attach PASID {pasid}")
        self._pasids.attach(pasid, space)

    def detach_pasid(self, pasid: int) -> None:
        self.check_open(f"detach PASID {pasid}")
        self._pasids.detach(pasid)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _release(self) -> None:
        """As the kernel on the last close: bus master off, vectors freed, then a reset if the function has one."""
        failure: Exception | None = None
        for step in reversed(self._undo):
            try:
                step()
            except VfioImsError:  # the far side is gone; the rest is given back all the same
                continue
            except Exception as error:  # noqa: BLE001 - a model's mistake; raised once everything is released
                failure = failure or error
        if failure is not None:
            raise failure
