# SPDX-License-Identifier: Apache-2.0
"""``DevicePort`` over the socket of a server that has opened the function: each verb is passed on as it is.

A bare device behind a socket is ``backends.software``'s, whose platform plays the kernel. Here the server's host has
its own: vectors, messages, IOMMU and config space are as VFIO shows them there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from vfio_ims.backends.served.refusals import in_words
from vfio_ims.backends.served.space import ServedSpace
from vfio_ims.backends.software.window import SoftwareWindow
from vfio_ims.counted import counted
from vfio_ims.errors import RemovedError, UnsupportedError, UsageError, VfioImsError
from vfio_ims.lifetime import Owner
from vfio_ims.native.window import MappedWindow, Piece
from vfio_ims.pci import PciAddress
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
from vfio_ims.sysfs import Function, message_platform

if TYPE_CHECKING:
    from vfio_ims.messages import MessagePlatform
    from vfio_ims.ports.address_space import AddressSpacePort
    from vfio_ims.ports.window import Window
    from vfio_ims.vfio_user import SocketLink
    from vfio_ims.vfio_user.host_side import HostSide

__all__ = ["ServedDevice"]

T = TypeVar("T")


class ServedDevice(Owner):
    """The function behind ``link``, whose server says that it is ``host``'s. It owns the link."""

    mount = "vfio-user"

    def __init__(self, link: SocketLink, host: HostSide, name: str) -> None:
        self._link, self._host = link, host
        self._function = Function(PciAddress.parse(host.function)) if host.function else None
        self._messages = host.messages
        self._loss: list[VfioImsError | None] = [None]
        super().__init__(name)
        try:
            self._info = link.device_info()
            self._regions = {index: link.region_info(index) for index in range(self._info.regions)}
            self._irqs = {index: link.irq_info(index) for index in range(self._info.irqs)}
            self._space = ServedSpace(link, host, self)
        except BaseException:
            link.close()
            raise

    @property
    def name(self) -> str:
        return self.label

    @property
    def settle(self) -> float:
        return self._host.settle + self._link.settle

    @property
    def space(self) -> AddressSpacePort:
        return self._space

    # --- what it is ---------------------------------------------------------------------------------------------------

    def device_info(self) -> DeviceInfo:
        self.check_open("ask for device info")
        return self._info

    def region_info(self, index: int) -> RegionInfo:
        self.check_open("ask for region info")
        return self._known(self._regions, index, "region")

    def irq_info(self, index: int) -> IrqInfo:
        self.check_open("ask for interrupt info")
        return self._known(self._irqs, index, "interrupt index")

    def _known(self, found: Mapping[int, T], index: int, what: str) -> T:
        if index not in found:
            why = f"the {what} must be 0..{len(found) - 1}, not {index!r}"
            raise UsageError(f"ask for {what} {index}", device=self.label, why=why)
        return found[index]

    def interrupt_remapping(self) -> Evidence:
        return self._host.remapping

    def message_platform(self) -> MessagePlatform:
        """A kernel shows it once a vector is attached, which the server's answer was given before."""
        if self._messages.format is None and self._function is not None:
            self._messages = message_platform(self._function.fresh())
        return self._messages

    # --- access -------------------------------------------------------------------------------------------------------

    def mapping_fd(self, index: int) -> int | None:
        """The file behind the region's areas, if any."""
        return self._link.mapping_fd(index) if self.region_info(index).areas else None

    def window(self, index: int, guard: tuple[int, int] | None = None) -> Window:
        """Mapped where the server passes the memory, over the socket elsewhere: there is the MSI-X table."""
        info = self.region_info(index)
        if not info.size or index >= RegionIndex.CONFIG:
            raise UsageError("open a window", device=self.label, why=f"region {index} is no BAR with memory")
        label = f"{self.label} region {index}"
        shown = guard if info.msix_mappable else None
        trap = _Trapped(self._link, index, info.size, label, guard=guard, parent=self, shown=shown)
        fd = self.mapping_fd(index)
        if fd is None:
            return trap
        pieces = [Piece(fd, info.offset + area.offset, area.offset, area.size) for area in info.areas]
        loss = self._loss  # the window does not keep the device
        return _Mapped(info.size, pieces, guard=guard, trap=trap, label=label, parent=self, loss=lambda: loss[0])

    def read_region(self, index: int, offset: int, size: int) -> bytes:
        operation = self._within(index, offset, size, "read")
        with in_words(operation, self.label):
            return self._link.read(index, offset, size)

    def write_region(self, index: int, offset: int, data: bytes) -> None:
        operation = self._within(index, offset, len(data), "write")
        with in_words(operation, self.label):
            self._link.write(index, offset, data)

    def _within(self, index: int, offset: int, size: int, verb: str) -> str:
        operation = f"{verb} {counted(size, 'byte')} at {offset:#x} of region {index}"
        info = self.region_info(index)
        if offset < 0 or size < 0 or offset + size > info.size:
            why = f"the range must lie within the region's {info.size:#x} bytes"
            raise UsageError(operation, device=self.label, why=why)
        return operation

    # --- interrupts, reset, features ----------------------------------------------------------------------------------

    def set_irqs(self, index: int, flags: int, start: int, count: int, data: Sequence[int] = ()) -> None:
        operation = f"set {counted(count, 'interrupt')} from {start} of index {index}"
        self.check_open(operation)
        if min(index, start, count) < 0 or max(index, start, count) >= 1 << 32:
            why = f"index, start and count must be 0..2**32-1, not {index}, {start}, {count}"
            raise UsageError(operation, device=self.label, why=why)
        with in_words(operation, self.label):
            self._link.set_irqs(index, flags, start, count, data)

    def reset(self) -> None:
        self.check_open("reset")
        if not self._info.flags & DeviceFlags.RESET:
            raise UnsupportedError("reset", device=self.label, why="the function has no reset that works")
        with in_words("reset", self.label):
            self._link.reset()

    def hot_reset_scope(self) -> tuple[AffectedFunction, ...]:
        raise self._here("read what a hot reset takes along")

    def hot_reset(self) -> None:
        raise self._here("hot reset")

    def feature(self, flags: int, data: bytes = b"") -> bytes:
        raise self._here("use a feature")

    def error_counts(self) -> Mapping[str, int]:
        self.check_open("read the counts of errors")
        return {} if self._function is None else self._function.fresh().error_counts

    def affinity(self, index: int, vector: int) -> Affinity:
        raise self._here("read a vector's CPUs")

    def set_affinity(self, index: int, vector: int, cpus: Collection[int]) -> None:
        raise self._here("move a vector")

    def pasid_bits(self) -> int:
        return 0

    def new_space(self) -> AddressSpacePort:
        raise self._here("make a second address space")

    def attach_pasid(self, pasid: int, space: AddressSpacePort) -> None:
        raise self._here(f"attach PASID {pasid}")

    def detach_pasid(self, pasid: int) -> None:
        self.check_open(f"detach PASID {pasid}")
        raise UsageError(f"detach PASID {pasid}", device=self.label, why="it is not attached")

    def _here(self, operation: str) -> UnsupportedError:
        self.check_open(operation)
        why = "vfio-user has no such request, and the function is open in the server"
        return UnsupportedError(operation, device=self.label, why=why, hint="open the function in this process")

    def on_lost(self, notify: Callable[[VfioImsError], None]) -> None:
        def lost(reason: VfioImsError) -> None:
            self._loss[0] = reason
            notify(reason)

        self._link.on_lost(lost)

    def _release(self) -> None:
        """Reset first, so that the function is quiet on return: what the server does then takes its time."""
        try:
            if self._info.flags & DeviceFlags.RESET:
                with suppress(VfioImsError):  # the server is gone, and sees to it
                    self._link.reset()
        finally:
            self._link.close()


class _Mapped(MappedWindow):
    """The function's own registers. They do not answer once the server has let go of it: ``loss`` says so."""

    __slots__ = ("_loss",)

    def __init__(
        self,
        size: int,
        pieces: Sequence[Piece],
        *,
        guard: tuple[int, int] | None,
        trap: SoftwareWindow,
        label: str,
        parent: Owner,
        loss: Callable[[], VfioImsError | None],
    ) -> None:
        self._loss = loss
        super().__init__(size, pieces, guard=guard, trap=trap, label=label, parent=parent)

    def _refused(self, status: int, operation: str, width: int) -> VfioImsError:
        reason = self._loss()
        if reason is not None and not self.closed:
            return RemovedError(operation, device=self.label, why=reason.why, hint=reason.hint)
        return super()._refused(status, operation, width)


class _Trapped(SoftwareWindow):
    """Accesses over the socket. ``shown``: the MSI-X table, which the server reads as a mapping shows it."""

    def __init__(
        self,
        link: SocketLink,
        region: int,
        size: int,
        name: str,
        *,
        guard: tuple[int, int] | None,
        parent: Owner,
        shown: tuple[int, int] | None,
    ) -> None:
        self._shown = shown or (0, 0)
        super().__init__(link, region, size, name, guard=guard, parent=parent)

    def _shows(self, offset: int, size: int) -> bool:
        return self._shown[0] <= offset and offset + size <= self._shown[1]
