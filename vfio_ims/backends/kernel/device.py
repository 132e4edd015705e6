# SPDX-License-Identifier: Apache-2.0
"""``DevicePort`` on the descriptor of a function behind VFIO, by group or cdev: native's ioctls, with our errors."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from vfio_ims.backends.kernel.access import access_refused, irqs_refused, pieces_of, retry, translate_errno
from vfio_ims.backends.kernel.affinity import read_affinity, write_affinity
from vfio_ims.backends.kernel.hot_reset import affected_functions, hot_reset_refused
from vfio_ims.backends.kernel.trap import PreadTrap
from vfio_ims.counted import counted
from vfio_ims.errors import DeviceBusy, DeviceError, UnsupportedError, UsageError, VfioImsError
from vfio_ims.lifetime import Owner
from vfio_ims.locks import make_rlock
from vfio_ims.native import hot_reset, vfio
from vfio_ims.native.descriptor import Descriptor
from vfio_ims.native.window import MappedWindow
from vfio_ims.ports.values import (
    AffectedFunction,
    Affinity,
    DeviceFeature,
    DeviceFlags,
    DeviceInfo,
    Evidence,
    IrqFlags,
    IrqInfo,
    RegionFlags,
    RegionInfo,
)
from vfio_ims.sysfs import Function, interrupt_remapping, message_platform

if TYPE_CHECKING:
    from vfio_ims.backends.kernel.claim import Claim
    from vfio_ims.messages import MessagePlatform
    from vfio_ims.ports.address_space import AddressSpacePort

__all__ = ["KernelDevice"]

SETTLE = 0.2
RESET_TIMEOUT = 5.0

T = TypeVar("T")


class KernelDevice(Owner):
    """The port over an open device descriptor, which it owns. A subclass knows how it came to be and how it ends.

    ``mount`` is "group" or "cdev". Safe from several threads.
    """

    mount: str

    def __init__(self, function: Function, device: Descriptor, space: AddressSpacePort) -> None:
        self.function, self.device, self._space = function, device, space
        self.claim: Claim | None = None
        self._lock = make_rlock()
        self._regions: dict[int, RegionInfo] = {}
        self._messages: MessagePlatform | None = None  # once it is known
        name = str(function.address)
        with translate_errno(lambda code: access_refused(code, "read the device's information", name)):
            self._info = vfio.device_info(device.fileno())
        super().__init__(name)

    def close(self) -> None:
        """Give the function back, and after that the lock that says that it is ours."""
        try:
            super().close()
        finally:
            if self.claim is not None:
                self.claim.close()

    @property
    def name(self) -> str:
        return self.label

    @property
    def settle(self) -> float:
        return SETTLE

    @property
    def space(self) -> AddressSpacePort:
        return self._space

    def _ask(self, operation: str, verb: Callable[[int, int], T], argument: int, absent: T | None = None) -> T:
        """A request on the device, its errors in words.

        ``absent``: what EINVAL means. vfio-pci answers so for a region or interrupt that the function's kind has and
        the function has not: VGA, or ERR of one without PCI Express.
        """
        self.check_open(operation)
        with translate_errno(lambda code: access_refused(code, operation, self.label)):
            try:
                return verb(self.device.fileno(), argument)
            except OSError as error:
                if error.errno == errno.EINVAL and absent is not None:
                    return absent
                raise

    def device_info(self) -> DeviceInfo:
        self.check_open("read the device's information")
        return self._info

    def region_info(self, index: int) -> RegionInfo:
        operation = f"read the information of region {index}"
        self.check_open(operation)
        with self._lock:
            if index not in self._regions:
                self._known(operation, "region", index, self._info.regions)
                nothing = RegionInfo(index, RegionFlags(0), 0)
                self._regions[index] = self._ask(operation, vfio.region_info, index, absent=nothing)
            return self._regions[index]

    def irq_info(self, index: int) -> IrqInfo:
        operation = f"read the information of interrupt index {index}"
        self._known(operation, "interrupt index", index, self._info.irqs)
        return self._ask(operation, vfio.irq_info, index, absent=IrqInfo(index, IrqFlags(0), 0))

    def _known(self, operation: str, what: str, index: int, count: int) -> None:
        if not 0 <= index < count:
            why = f"the {what} must be 0..{count - 1}, not {index!r}"
            raise UsageError(operation, device=self.label, why=why)

    def window(self, index: int, guard: tuple[int, int] | None = None) -> MappedWindow:
        info = self.region_info(index)
        operation = f"open a window on region {index}"
        if not info.size:
            raise UsageError(operation, device=self.label, why="the function has no such region")
        with self._lock:
            self.check_open(operation)
            return MappedWindow(
                info.size,
                pieces_of(info, self.device.fileno(), guard),
                guard=guard,
                trap=PreadTrap(self.device, info, self.label),
                label=f"{self.label} region {index}",
                parent=self,
            )

    def mapping_fd(self, index: int) -> int | None:
        """The function's own descriptor, where the region can be mapped. Who has it can do all that VFIO offers."""
        return self.device.fileno() if self.region_info(index).areas else None

    def read_region(self, index: int, offset: int, size: int) -> bytes:
        info, operation = self._within(index, offset, size, "read")
        with translate_errno(lambda code: access_refused(code, operation, self.label)):
            data = os.pread(self.device.fileno(), size, info.offset + offset)
        if len(data) != size:
            why = f"the kernel gave {len(data)} of {counted(size, 'byte')}"
            raise DeviceError(operation, device=self.label, why=why)
        return data

    def write_region(self, index: int, offset: int, data: bytes) -> None:
        info, operation = self._within(index, offset, len(data), "write")
        with translate_errno(lambda code: access_refused(code, operation, self.label)):
            done = os.pwrite(self.device.fileno(), data, info.offset + offset)
        if done != len(data):
            why = f"the kernel took {done} of {counted(len(data), 'byte')}"
            raise DeviceError(operation, device=self.label, why=why)

    def _within(self, index: int, offset: int, size: int, verb: str) -> tuple[RegionInfo, str]:
        operation = f"{verb} {counted(size, 'byte')} at {offset:#x} of region {index}"
        info = self.region_info(index)
        if offset < 0 or size < 0 or offset + size > info.size:
            why = f"the range must lie within the region's {info.size:#x} bytes"
            raise UsageError(operation, device=self.label, why=why)
        return info, operation

    def set_irqs(self, index: int, flags: int, start: int, count: int, data: Sequence[int] = ()) -> None:
        operation = f"set {counted(count, 'interrupt')} from {start} of index {index}"
        self.check_open(operation)
        if min(index, start, count) < 0 or max(index, start, count) >= 1 << 32:
            why = f"index, start and count must be 0..2**32-1, not {index}, {start}, {count}"
            raise UsageError(operation, device=self.label, why=why)
        with translate_errno(lambda code: irqs_refused(code, operation, self.label)):
            vfio.set_irqs(self.device.fileno(), index, flags, start, count, data)

    def reset(self) -> None:
        """Tried again for a while where the function was locked by another reset."""
        self.check_open("reset")
        if not self._info.flags & DeviceFlags.RESET:
            raise UnsupportedError("reset", device=self.label, why="the function has no reset that works")
        with translate_errno(self._reset_refused):
            retry(lambda: vfio.reset(self.device.fileno()), errno.EAGAIN, RESET_TIMEOUT)

    def _reset_refused(self, code: int) -> VfioImsError:
        if code != errno.EAGAIN:
            return access_refused(code, "reset", self.label)
        why = f"another reset or a configuration access has held it for {RESET_TIMEOUT:g} seconds"
        return DeviceBusy("reset", device=self.label, why=why, hint="try again", errno=code)

    def _groups(self) -> dict[int, int]:
        """The open groups that a hot reset has to show: number to descriptor; none where the kernel knows them."""
        return {}

    def hot_reset_scope(self) -> tuple[AffectedFunction, ...]:
        operation = "read what a hot reset takes along"
        self.check_open(operation)
        with translate_errno(lambda code: hot_reset_refused(code, operation, self.function, lambda: ())):
            return affected_functions(hot_reset.hot_reset_info(self.device.fileno()), self._groups())

    def hot_reset(self) -> None:
        """The groups of all affected functions are shown where they are open here; the kernel refuses if some lack."""
        self.check_open("hot reset")
        groups = self._groups()
        if groups:
            concerned = {one.group for one in self.hot_reset_scope()}
            groups = {number: fd for number, fd in groups.items() if number in concerned}
        with translate_errno(lambda code: hot_reset_refused(code, "hot reset", self.function, self.hot_reset_scope)):
            retry(lambda: hot_reset.hot_reset(self.device.fileno(), list(groups.values())), errno.EAGAIN, RESET_TIMEOUT)

    def feature(self, flags: int, data: bytes = b"") -> bytes:
        number = flags & 0xFFFF
        known = number in DeviceFeature.__members__.values()
        operation = f"use feature {DeviceFeature(number).name if known else number}"
        self.check_open(operation)
        with translate_errno(lambda code: access_refused(code, operation, self.label)):
            return vfio.feature(self.device.fileno(), flags, data)

    def error_counts(self) -> Mapping[str, int]:
        self.check_open("read the counts of errors")
        return self.function.fresh().error_counts

    def affinity(self, index: int, vector: int) -> Affinity:
        self.check_open("read a vector's CPUs")
        return read_affinity(self.function, index, vector)

    def set_affinity(self, index: int, vector: int, cpus: Collection[int]) -> None:
        self.check_open("move a vector")
        write_affinity(self.function, index, vector, cpus)

    def interrupt_remapping(self) -> Evidence:
        return interrupt_remapping(self.function.fresh())

    def message_platform(self) -> MessagePlatform:
        if self._messages is None or self._messages.format is None:
            self._messages = message_platform(self.function.fresh())
        return self._messages

    def on_lost(self, notify: Callable[[VfioImsError], None]) -> None:
        """Do nothing: the kernel reports no loss. It asks for the device by REQ, and a read finds all ones."""

    def pasid_bits(self) -> int:
        return 0

    def new_space(self) -> AddressSpacePort:
        raise self._no_pasids("make a second address space")

    def attach_pasid(self, pasid: int, space: AddressSpacePort) -> None:
        raise self._no_pasids(f"attach PASID {pasid}")

    def _no_pasids(self, operation: str) -> UnsupportedError:
        self.check_open(operation)
        hint = f"open it through its own node: {self.label},iommu=iommufd (Linux 6.15, /dev/iommu)"
        return UnsupportedError(operation, device=self.label, why="a group and container have no PASIDs", hint=hint)

    def detach_pasid(self, pasid: int) -> None:
        self.check_open(f"detach PASID {pasid}")
        raise UsageError(f"detach PASID {pasid}", device=self.label, why="it is not attached")
