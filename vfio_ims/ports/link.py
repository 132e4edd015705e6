# SPDX-License-Identifier: Apache-2.0
"""How the software backend reaches the device side: in process (a model) or over a socket (a vfio-user server)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vfio_ims.ports.model import Bus
    from vfio_ims.ports.values import DeviceInfo, IrqInfo, RegionInfo

__all__ = ["Link"]


class Link(Protocol):
    """One device on the far side. The software platform stands on the near side and plays the kernel.

    A broken or lying far side raises RemovedError or DeviceError; nothing here waits longer than its stated timeout.

    A link may have more: ``carries_pasids`` (True: the device's requests keep their PASID on the way);
    ``unmask_intx()`` (INTx may be signalled again; True: the far side masks it at each signal, and signals a line that
    is asserted); ``drain()`` (return when the device has let go of every view of memory); and
    ``enqueue(region, offset, data) -> bool`` (a 64-byte store that the device answers: accepted, or retry). Without
    them: no PASIDs, nothing to unmask or wait for, a plain write.
    """

    @property
    def name(self) -> str: ...

    @property
    def mount(self) -> str:
        """The mount's name: "mock" or "vfio-user"."""
        ...

    @property
    def settle(self) -> float:
        """Seconds after which an interrupt that has not come will not come."""
        ...

    def connect(self, bus: Bus) -> None:
        """Give the device its way to memory and interrupts; called once, before any access."""
        ...

    def device_info(self) -> DeviceInfo: ...
    def region_info(self, index: int) -> RegionInfo: ...
    def irq_info(self, index: int) -> IrqInfo: ...

    def mapping_fd(self, index: int) -> int | None:
        """The file behind the region's mappable areas, if any: the region starts at ``RegionInfo.offset`` in it."""
        ...

    def read(self, region: int, offset: int, size: int) -> bytes: ...
    def write(self, region: int, offset: int, data: bytes) -> None: ...

    def read_many(self, region: int, offsets: Sequence[int], size: int) -> bytes:
        """Reads of ``size`` bytes, in order, one after the other in what is returned; waited for together."""
        ...

    def write_many(self, region: int, writes: Sequence[tuple[int, bytes]]) -> None:
        """Writes in order, in as few messages as the far side takes."""
        ...

    def set_vectors(self, index: int, start: int, armed: Sequence[bool]) -> None:
        """Report which standard vectors, from ``start``, have a listener: the device may raise those by the bus."""
        ...

    def map(self, iova: int, size: int, fd: int, offset: int, *, read: bool, write: bool) -> None:
        """Announce memory that the device may reach; ``fd`` -1 where only the bus can reach it."""
        ...

    def unmap(self, iova: int, size: int) -> None: ...
    def reset(self) -> None: ...
    def close(self) -> None: ...
