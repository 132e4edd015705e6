# SPDX-License-Identifier: Apache-2.0
"""How the software backend reaches the device side: in process (a model) or over a socket (a vfio-user server)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from vfio_ims.ports.model import Bus
    from vfio_ims.ports.values import DeviceInfo, IrqInfo, RegionInfo

__all__ = ["Link", "PlainAccess"]


class PlainAccess(Protocol):
    """Whole accesses to one BAR that set nothing off. Each may decline (None or False): then nothing was done."""

    @property
    def read32(self) -> Callable[[int], int | None]:
        """The word at this offset."""
        ...

    @property
    def read64(self) -> Callable[[int], int | None]:
        """The 8 bytes at this offset."""
        ...

    @property
    def write32(self) -> Callable[[int, int], bool]:
        """Store at this offset this word."""
        ...

    @property
    def write64(self) -> Callable[[int, int], bool]:
        """Store at this offset these 8 bytes."""
        ...

    def read_many(self, offsets: Sequence[int], width: int) -> bytes | None:
        """``width`` bytes at each of ``offsets``, one after the other."""
        ...

    def write_rows(
        self, offset: int, stride: int, rows: Sequence[int], steps: Sequence[tuple[int, int]], cells: memoryview
    ) -> bool:
        """``Window.write_table``, with ``cells`` as native words.

        ``offset``, ``stride``: of the table, in bytes. ``rows``: their indices. ``steps``: place in a row, and in its
        cells.
        """
        ...


class Link(Protocol):
    """One device on the far side. The software platform stands on the near side and plays the kernel.

    A broken or lying far side raises RemovedError or DeviceError; nothing here waits longer than its stated timeout.

    A link may have more: ``carries_pasids`` (True: the device's requests keep their PASID on the way);
    ``unmask_intx()`` (INTx may be signalled again; True: the far side masks it at each signal, and signals a line that
    is asserted); ``drain()`` (return when the device has let go of every view of memory); and
    ``enqueue(region, offset, data) -> bool`` (a 64-byte store that the device answers: accepted, or retry);
    ``plain_access(region, excluded)`` (a ``PlainAccess``, or None). Without them: no PASIDs, nothing to unmask or wait
    for, a plain write, every access by ``read`` and ``write``.
    """

    @property
    def name(self) -> str:
        """What errors call the device: its whole name, as in ``mock:minimal``."""
        ...

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

    def device_info(self) -> DeviceInfo:
        """As the far side answers VFIO_DEVICE_GET_INFO."""
        ...

    def region_info(self, index: int) -> RegionInfo:
        """As the far side answers for region ``index``; its size decides what accesses are refused on the near side."""
        ...

    def irq_info(self, index: int) -> IrqInfo:
        """As the far side answers for ``index`` (``IrqIndex``)."""
        ...

    def mapping_fd(self, index: int) -> int | None:
        """The file behind the region's mappable areas, if any: the region starts at ``RegionInfo.offset`` in it."""
        ...

    def read(self, region: int, offset: int, size: int) -> bytes:
        """One read of ``size`` bytes at ``offset`` of ``region``; waits for the answer."""
        ...

    def write(self, region: int, offset: int, data: bytes) -> None:
        """One write of ``data`` at ``offset`` of ``region``; the far side may still be busy with it on return."""
        ...

    def read_many(self, region: int, offsets: Sequence[int], size: int) -> bytes:
        """Reads of ``size`` bytes at each of ``offsets`` of ``region``, in order.

        They are waited for together, and returned one after the other.
        """
        ...

    def write_many(self, region: int, writes: Sequence[tuple[int, bytes]]) -> None:
        """Writes in order, in as few messages as the far side takes."""
        ...

    def set_vectors(self, index: int, start: int, armed: Sequence[bool]) -> None:
        """Report which vectors of ``index``, from ``start`` on, have a listener.

        The device may raise those that are ``armed``, by the bus.
        """
        ...

    def map(self, iova: int, size: int, fd: int, offset: int, *, read: bool, write: bool) -> None:
        """Announce ``size`` bytes of memory at ``iova`` that the device may ``read`` or ``write``.

        ``fd`` is the file behind it, which begins there at ``offset``; -1 where only the bus can reach it.
        """
        ...

    def unmap(self, iova: int, size: int) -> None:
        """Take an announcement back; on return the far side does not touch this memory any more."""
        ...

    def reset(self) -> None:
        """Function-level reset of the far side: registers and slots as after power-on, memory stays announced."""
        ...

    def close(self) -> None:
        """Let the device go. A vfio-user server then resets it for its next client."""
        ...
