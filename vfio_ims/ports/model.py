# SPDX-License-Identifier: Apache-2.0
"""A device model as its mounts see it, and the bus as a model sees it.

The in-process mock and the vfio-user server drive a ``ModelPort`` in the same way: take ``lock``; ``read`` or
``write``; hand over the answer; then ``act``. So a model answers an access first and acts after, on every mount.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vfio_ims.errors import BusFault
from vfio_ims.ports.values import DeviceInfo, IrqInfo, RegionInfo

__all__ = ["Bus", "BusFault", "ModelPort", "SharedArea"]


class Bus(Protocol):
    """The way out of a model: memory requests and the standard interrupts, made with the function's requester id."""

    def read(self, iova: int, size: int, pasid: int | None = None) -> bytes:
        """DMA read of ``size`` bytes at ``iova``, tagged ``pasid`` where one is given. Raises BusFault.

        Over vfio-user, memory that the client shares no file of is read by message: the model's ``lock`` is free while
        this waits for the answer, so that accesses are served meanwhile, and ``act`` itself cannot read it (BusFault).
        """
        ...

    def write(self, iova: int, data: bytes, pasid: int | None = None) -> None:
        """DMA write of ``data`` at ``iova``; 4 bytes to an address in the interrupt range are a message.

        Posted: a message that the platform refuses is in its fault log, not here. A plain write that cannot go raises
        BusFault.
        ``pasid`` tags the request: with one it is never an interrupt on x86.
        """
        ...

    def views(self, iova: int, size: int, *, write: bool, pasid: int | None = None) -> list[memoryview]:
        """The memory at ``iova`` itself, ``size`` bytes in pieces, for bulk work; valid while ``lock`` is held.

        ``write``: whether it will be written; ``pasid``: in which space. Raises BusFault, also where there is memory
        that has no view: that is read and written.
        """
        ...

    def allows(self, iova: int, size: int, *, write: bool, pasid: int | None = None) -> bool:
        """Whether ``size`` bytes at ``iova`` are mapped for that, as far as can be said without touching them.

        ``write``: with the right to be written; ``pasid``: in which space.
        """
        ...

    def interrupt(self, index: int, vector: int) -> None:
        """Raise a standard interrupt: ``IrqIndex.INTX``, MSI, MSIX, ERR or REQ, and its vector."""
        ...


@dataclass(frozen=True, slots=True)
class SharedArea:
    """A part of a BAR that lives in shared memory and may be mapped by the client: accesses to it are not seen.

    ``fd`` is addressed as the region is: its byte ``RegionInfo.offset + offset`` is the area's first (a sparse memfd
    costs nothing below). vfio-user can say no more than that. All areas of a region share one file.
    """

    region: int
    offset: int
    size: int
    fd: int


class ModelPort(Protocol):
    """One PCI function in software. Every method is called with ``lock`` held."""

    name: str

    @property
    def lock(self) -> threading.RLock:
        """Held by the caller of any other method. A model's own threads take it before they touch its state."""
        ...

    def device_info(self) -> DeviceInfo:
        """What VFIO_DEVICE_GET_INFO answers of it."""
        ...

    def region_info(self, index: int) -> RegionInfo:
        """Size and rights of region ``index``; size 0 for a BAR that it does not have."""
        ...

    def irq_info(self, index: int) -> IrqInfo:
        """How many vectors of ``index`` (``IrqIndex``) it has; 0 for a kind that it does not have."""
        ...

    def shared_areas(self) -> Sequence[SharedArea]:
        """The parts of its BARs that clients may map.

        Accesses to them are not seen, so only memory and slots lie there.
        """
        ...

    def attach(self, bus: Bus) -> None:
        """Give the model its way out; called once, before any access."""
        ...

    def read(self, region: int, offset: int, size: int) -> bytes:
        """Answer a read of ``size`` bytes at ``offset`` of ``region``. Config space is ``RegionIndex.CONFIG``."""
        ...

    def write(self, region: int, offset: int, data: bytes) -> None:
        """Take a write of ``data`` at ``offset`` of ``region``; what it sets off waits for ``act``."""
        ...

    def act(self) -> None:
        """Do what the accesses so far have set off."""
        ...

    def reset(self) -> None:
        """Function-level reset: registers and slots as after power-on."""
        ...

    def close(self) -> None:
        """End the model's threads and close its shared memory. The bus is not used any more after it."""
        ...
