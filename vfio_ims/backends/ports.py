# SPDX-License-Identifier: Apache-2.0
"""The seam between the library and a device: what every mount offers, and nothing that only one of them has.

Above the seam nothing knows whether a kernel, a socket or a model answers. Record, replay, faults and tracing wrap
these ports. Errors are those of ``vfio_ims.errors``; they name the device.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

    from vfio_ims.errors import VfioImsError
    from vfio_ims.verbs import AffectedFunction, Affinity, DeviceInfo, Evidence, IovaRange, IrqInfo, RegionInfo

__all__ = ["AddressSpacePort", "DevicePort", "Window"]


class Window(Protocol):
    """A region of a device, addressed from 0. Each read and write is exactly one access of its width, in program order.

    Offsets are in bytes and aligned to the width. A bad offset raises UsageError, an access that the device or kernel
    refuses DeviceError, one after close ClosedError.
    """

    @property
    def size(self) -> int: ...

    def read8(self, offset: int) -> int: ...
    def read16(self, offset: int) -> int: ...
    def read32(self, offset: int) -> int: ...
    def read64(self, offset: int) -> int: ...
    def write8(self, offset: int, value: int) -> None: ...
    def write16(self, offset: int, value: int) -> None: ...
    def write32(self, offset: int, value: int) -> None: ...
    def write64(self, offset: int, value: int) -> None: ...

    def read_block(self, offset: int, count: int, width: int = 4) -> bytes:
        """Read ``count`` registers of ``width`` bytes, ascending, each once."""
        ...

    def write_block(self, offset: int, data: Buffer, width: int = 4) -> None:
        """Write ``data`` as registers of ``width`` bytes, ascending, each once."""
        ...

    def poll(self, offset: int, width: int, mask: int, expected: int, timeout: float) -> int:
        """Read a register of ``width`` bytes until ``value & mask == expected`` or ``timeout`` seconds have passed.

        Returns the last value read: the caller compares, and words its own error.
        """
        ...

    def write_table(
        self, offset: int, stride: int, indices: Buffer, steps: Sequence[tuple[int, int]], words: Buffer
    ) -> None:
        """Write rows of a table of 32-bit words: for each row, each step in order, one 32-bit store.

        ``indices`` holds the rows' numbers as native uint32; ``words`` as many uint32 a row for each of them; a step
        ``(at, source)`` stores the row's word ``source`` at ``offset + index * stride + at``. The same word may be
        stored to several places and a place stored to several times (masked first, unmasked last).
        """
        ...

    def store64(self, offset: int, data: Buffer, *, pieces: bool = False) -> None:
        """Store 64 bytes to a portal as one write (MOVDIR64B). ``pieces`` allows eight 8-byte stores: models only."""
        ...

    def enqueue64(self, offset: int, data: Buffer) -> bool:
        """ENQCMD: a non-posted 64-byte store. True when the device accepted, False when it says retry.

        Raises UnsupportedError on hardware behind VFIO: without a PASID of the process's own the instruction kills it.
        """
        ...

    def mapped(self, offset: int, size: int) -> bool:
        """Whether these bytes are reached by a mapping (True) or trapped, access by access, by the other side."""
        ...

    def close(self) -> None: ...


class AddressSpacePort(Protocol):
    """One I/O address space (type1 container, IOAS, the software IOMMU's): devices that share it see its mappings."""

    @property
    def name(self) -> str: ...

    def ranges(self) -> tuple[IovaRange, ...]:
        """What the IOMMU and every attached device allow, ascending, reserved windows left out."""
        ...

    def page_sizes(self) -> int:
        """A bitmap of the page sizes that a mapping may have; the lowest is the alignment of all."""
        ...

    def map(
        self,
        iova: int,
        address: int,
        size: int,
        *,
        read: bool = True,
        write: bool = True,
        fd: int = -1,
        offset: int = 0,
    ) -> None:
        """Let the devices see ``size`` bytes of this process's memory at ``address`` as ``iova``.

        ``read`` and ``write`` are the device's rights. ``fd`` and ``offset``: the file behind the memory where there is
        one; only vfio-user needs it, to hand the memory to the server.
        """
        ...

    def map_file(self, iova: int, fd: int, offset: int, size: int, *, read: bool = True, write: bool = True) -> None:
        """Map a part of a dma-buf, of which this process has no view. UnsupportedError where the space takes none."""
        ...

    def map_region(
        self,
        iova: int,
        peer: DevicePort,
        index: int,
        offset: int,
        size: int,
        *,
        read: bool = True,
        write: bool = True,
    ) -> None:
        """Map a part of another device's region: peer-to-peer. UnsupportedError where mount or kernel cannot."""
        ...

    def unmap(self, iova: int, size: int) -> int:
        """Take mappings back; returns the bytes that were mapped. A range that cuts a mapping is refused."""
        ...

    def unmap_all(self) -> int:
        """Take every mapping back; returns the bytes that were mapped."""
        ...

    def close(self) -> None: ...


@runtime_checkable
class DevicePort(Protocol):
    """One open device. Closing it closes what it handed out. Safe to call from several threads."""

    @property
    def name(self) -> str: ...

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

    def device_info(self) -> DeviceInfo: ...
    def region_info(self, index: int) -> RegionInfo: ...
    def irq_info(self, index: int) -> IrqInfo: ...

    def window(self, index: int, guard: tuple[int, int] | None = None) -> Window:
        """The whole region as one window: mapped where the mount allows it, trapped elsewhere.

        ``guard`` is a byte range ``(start, end)`` that the window refuses to write (UsageError), and maps read-only
        where the page size permits: the MSI-X table. The port owns the window.
        """
        ...

    def read_region(self, index: int, offset: int, size: int) -> bytes:
        """One trapped read (pread). 1, 2, 4 or 8 aligned bytes are one access of that width on the device."""
        ...

    def write_region(self, index: int, offset: int, data: bytes) -> None: ...

    def set_irqs(self, index: int, flags: int, start: int, count: int, data: Sequence[int] = ()) -> None:
        """VFIO_DEVICE_SET_IRQS. ``data``: eventfds (-1: none) with DATA_EVENTFD, 0 or 1 each with DATA_BOOL."""
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
        """Let only ``cpus`` take an attached vector. AccessDenied where the user may not."""
        ...

    def error_counts(self) -> Mapping[str, int]:
        """The kernel's counts of the device's errors by name, those that are not 0; empty where nothing counts."""
        ...

    def interrupt_remapping(self) -> Evidence:
        """Whether the platform remaps this function's interrupts: then a copied message survives a vector's move."""
        ...

    def on_lost(self, tell: Callable[[VfioImsError], None]) -> None:
        """Call ``tell`` once, in whatever thread notices, when the device is gone, where the mount can notice."""
        ...

    def pasid_bits(self) -> int:
        """How wide the PASIDs of its requests may be; 0 where kernel, IOMMU or function can use none."""
        ...

    def new_space(self) -> AddressSpacePort:
        """An empty address space beside the device's own, for ``attach_pasid``; whoever made it closes it."""
        ...

    def attach_pasid(self, pasid: int, space: AddressSpacePort) -> None:
        """Requests tagged ``pasid`` go through ``space``. UnsupportedError where kernel, IOMMU or device cannot."""
        ...

    def detach_pasid(self, pasid: int) -> None: ...

    def close(self) -> None: ...
