# SPDX-License-Identifier: Apache-2.0
"""A device as its users reach it: VFIO's verbs, and nothing that only one mount has."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from vfio_ims.errors import VfioImsError
    from vfio_ims.messages import MessagePlatform
    from vfio_ims.ports.address_space import AddressSpacePort
    from vfio_ims.ports.values import AffectedFunction, Affinity, DeviceInfo, Evidence, IrqInfo, RegionInfo
    from vfio_ims.ports.window import Window

__all__ = ["DevicePort", "SharesRegions"]


@runtime_checkable
class DevicePort(Protocol):
    """One open device. Closing it closes what it handed out. Safe to call from several threads."""

    @property
    def name(self) -> str:
        """The name that it was opened by, as errors show it."""
        ...

    @property
    def mount(self) -> str:
        """What answers: "group", "cdev", "mock" or "vfio-user"."""
        ...

    @property
    def settle(self) -> float:
        """Seconds after which an interrupt that has not arrived on this mount will not: for "nothing came" checks."""
        ...

    @property
    def space(self) -> AddressSpacePort:
        """The address space that the device's plain requests go through."""
        ...

    def device_info(self) -> DeviceInfo:
        """VFIO_DEVICE_GET_INFO: flags, and how many regions and interrupt indices there are."""
        ...

    def region_info(self, index: int) -> RegionInfo:
        """VFIO_DEVICE_GET_REGION_INFO of region ``index``. It has size, rights and the areas that can be mapped."""
        ...

    def irq_info(self, index: int) -> IrqInfo:
        """VFIO_DEVICE_GET_IRQ_INFO of ``index``, an ``IrqIndex``.

        It has the number of vectors, and whether they can be masked.
        """
        ...

    def window(self, index: int, guard: tuple[int, int] | None = None) -> Window:
        """The whole region as one window: mapped where the mount allows it, trapped elsewhere.

        ``guard`` is a byte range ``(start, end)`` that the window refuses to write (UsageError), and maps read-only
        where the page size permits: the MSI-X table. The port owns the window.
        """
        ...

    def read_region(self, index: int, offset: int, size: int) -> bytes:
        """One trapped read (pread) of ``size`` bytes at ``offset`` of region ``index``.

        1, 2, 4 or 8 aligned bytes are one access of that width on the device.
        """
        ...

    def write_region(self, index: int, offset: int, data: bytes) -> None:
        """One trapped write (pwrite) of ``data`` at ``offset`` of region ``index``; widths as for ``read_region``."""
        ...

    def set_irqs(self, index: int, flags: int, start: int, count: int, data: Sequence[int] = ()) -> None:
        """VFIO_DEVICE_SET_IRQS for vectors ``start`` to ``start + count - 1`` of ``index``.

        ``flags`` are VFIO's; ``data``: eventfds (-1: none) with DATA_EVENTFD, 0 or 1 each with DATA_BOOL. Attaching a
        vector has the kernel write a message into the MSI-X table, detaching it zeroes that entry.
        """
        ...

    def reset(self) -> None:
        """VFIO_DEVICE_RESET. Donors keep their messages; the device's own slots are gone."""
        ...

    def hot_reset_scope(self) -> tuple[AffectedFunction, ...]:
        """The functions that a hot reset resets, the device among them, by address.

        VFIO_DEVICE_GET_PCI_HOT_RESET_INFO. UnsupportedError where neither slot nor bus can be reset.
        """
        ...

    def hot_reset(self) -> None:
        """VFIO_DEVICE_PCI_HOT_RESET: reset the slot or bus. DeviceBusy names functions that are not the caller's."""
        ...

    def feature(self, flags: int, data: bytes = b"") -> bytes:
        """VFIO_DEVICE_FEATURE: ``flags`` is an index with GET, SET or PROBE. Returns the data as it is afterwards.

        UnsupportedError where the kernel or device has no such feature, UsageError where the state does not fit.
        """
        ...

    def affinity(self, index: int, vector: int) -> Affinity:
        """The CPUs of an attached vector. UsageError for one that is not attached."""
        ...

    def set_affinity(self, index: int, vector: int, cpus: Collection[int]) -> None:
        """Let only ``cpus`` take the attached ``vector`` of ``index``. AccessDenied where the user may not.

        Without interrupt remapping the vector's message changes, and copies of it in slots are stale.
        """
        ...

    def error_counts(self) -> Mapping[str, int]:
        """The kernel's counts of the device's errors by name, those that are not 0; empty where nothing counts."""
        ...

    def interrupt_remapping(self) -> Evidence:
        """Whether the platform keeps this function from raising the interrupts of others."""
        ...

    def message_platform(self) -> MessagePlatform:
        """What this function's messages are. A kernel shows it once a vector is attached."""
        ...

    def on_lost(self, notify: Callable[[VfioImsError], None]) -> None:
        """Call ``notify`` once, in whatever thread notices, when the device is gone, where the mount can notice."""
        ...

    def pasid_bits(self) -> int:
        """How wide the PASIDs of its requests may be; 0 where kernel, IOMMU or function can use none."""
        ...

    def new_space(self) -> AddressSpacePort:
        """An empty address space beside the device's own, for ``attach_pasid``; its maker closes it."""
        ...

    def attach_pasid(self, pasid: int, space: AddressSpacePort) -> None:
        """Requests tagged ``pasid`` go through ``space``. UnsupportedError where kernel, IOMMU or device cannot."""
        ...

    def detach_pasid(self, pasid: int) -> None:
        """Requests tagged ``pasid`` go nowhere from now on, and are faults."""
        ...

    def close(self) -> None:
        """Close the device and what it handed out.

        The kernel's vfio-pci then clears bus mastering, and resets the function where it can.
        """
        ...


@runtime_checkable
class SharesRegions(Protocol):
    """A port whose regions other processes can map, by a descriptor that is passed to them."""

    def mapping_fd(self, index: int) -> int | None:
        """The file with the region's mappable areas, if any: the region starts at ``RegionInfo.offset`` in it."""
        ...
