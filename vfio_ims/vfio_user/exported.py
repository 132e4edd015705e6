# SPDX-License-Identifier: Apache-2.0
"""An opened function in a server's hands: its client uses it as VFIO shows it, and all of that passes through here."""

from __future__ import annotations

import errno
import logging
import mmap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from vfio_ims.errors import RemovedError, UsageError, VfioImsError
from vfio_ims.pci.capabilities import decode, is_model
from vfio_ims.pci.config import ConfigSource, ConfigSpace
from vfio_ims.ports.aligned import aligned
from vfio_ims.ports.device import SharesRegions
from vfio_ims.ports.model import Bus, SharedArea
from vfio_ims.ports.values import Area, DeviceFlags, DeviceInfo, IrqInfo, RegionIndex, RegionInfo
from vfio_ims.vfio_user.exported_irqs import ExportedIrqs
from vfio_ims.vfio_user.exported_memory import ExportedMemory
from vfio_ims.vfio_user.host_side import HostSide
from vfio_ims.vfio_user.relayed_irqs import RelayedIrqs
from vfio_ims.vfio_user.removal_requests import RemovalRequests
from vfio_ims.vfio_user.wire import Refused

if TYPE_CHECKING:
    from vfio_ims.ports.device import DevicePort
    from vfio_ims.ports.window import Window

__all__ = ["ExportedFunction"]

log = logging.getLogger(__name__)
_PAGE = mmap.PAGESIZE
_COMMAND, _LINE = 0x04, 64
_KERNEL = ("group", "cdev")


class ExportedFunction:
    """``port`` as the server serves it (``ModelPort``). The port stays its owner's.

    Reads and writes become accesses of ``port``'s windows, the client's DMA maps are made in the port's address space,
    its eventfds are handed to ``port.set_irqs``. What the port refuses is answered with its errno.

    ``trap``: clients map no registers, so that every access passes here, and every interrupt. ``lost`` is called once
    when the function is gone, or when the kernel asks for it back and the client does not let go; then it can only be
    closed.
    """

    def __init__(self, port: DevicePort, *, trap: bool = False) -> None:
        if not port.space.translates:
            why = "without an IOMMU a client's memory cannot be mapped for the device"
            raise UsageError("export", device=port.name, why=why, hint="open it with an IOMMU")
        self.name, self.port, self.trap = port.name, port, trap
        self.lost: Callable[[VfioImsError], None] = lambda reason: None
        self.loss: VfioImsError | None = None
        self._lock = threading.RLock()
        self._windows: dict[int, Window] = {}
        size = port.region_info(RegionIndex.CONFIG).size
        self._capabilities = decode(ConfigSpace(port.read_region(RegionIndex.CONFIG, 0, size), ConfigSource.VFIO))
        msix, mark = self._capabilities.msix, is_model(self._capabilities)
        self._table = None if msix is None else (msix.table[0], Area(msix.table[1], msix.table_size))
        pending = None if msix is None else (msix.pba[0], Area(msix.pba[1], msix.pba_size))
        self._msix = [part for part in (self._table, pending) if part is not None]
        self._in_pieces = mark is not None and bool(mark.store_in_pieces)
        self._requests = RemovalRequests(port, self.gone)
        port.on_lost(self.gone)

    @property
    def lock(self) -> threading.RLock:
        return self._lock

    def gone(self, reason: VfioImsError) -> None:
        """The function is lost; the first reason counts."""
        if self.loss is None:
            self.loss = reason
            self.lost(reason)

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Turn the port's errors into refusals of the client's request."""
        try:
            yield
        except RemovedError as error:
            self.gone(error)
            raise Refused(errno.ENODEV, str(error)) from error
        except VfioImsError as error:
            raise Refused(error.errno or errno.EINVAL, str(error)) from error

    # --- what it is ---------------------------------------------------------------------------------------------------

    def host_side(self) -> HostSide:
        """What a client cannot find out by VFIO's verbs."""
        port = self.port
        function = port.name.partition(",")[0] if port.mount in _KERNEL else ""
        space = port.space
        where = space.ranges(), space.page_sizes()
        return HostSide(port.mount, port.settle, function, *where, port.interrupt_remapping(), port.message_platform())

    def device_info(self) -> DeviceInfo:
        return self.port.device_info()

    def region_info(self, index: int) -> RegionInfo:
        """``msix_mappable``: a read of the MSI-X table shows its messages."""
        info = self.port.region_info(index)
        if self._table is None or self._table[0] != index:
            return info
        window, place = self._window(index), self._table[1]
        return replace(info, msix_mappable=window is not None and window.mapped(place.offset, place.size))

    def irq_info(self, index: int) -> IrqInfo:
        return self.port.irq_info(index)

    def shared_areas(self) -> Sequence[SharedArea]:
        """What of the BARs a client may map, without the pages of the MSI-X structures."""
        if self.trap or not isinstance(self.port, SharesRegions):
            return ()
        found = []
        for index in range(RegionIndex.ROM):
            fd = self.port.mapping_fd(index)
            if fd is not None:
                areas = [part for area in self.port.region_info(index).areas for part in self._beside_msix(index, area)]
                found += [SharedArea(index, area.offset, area.size, fd) for area in areas]
        return found

    def _beside_msix(self, index: int, area: Area) -> list[Area]:
        start, end = -(-area.offset // _PAGE) * _PAGE, area.end // _PAGE * _PAGE
        spans = [(start, end)]
        for bar, part in self._msix:
            if bar == index:
                low, high = part.offset // _PAGE * _PAGE, -(-part.end // _PAGE) * _PAGE
                spans = [half for first, last in spans for half in ((first, min(last, low)), (max(first, high), last))]
        return [Area(first, last - first) for first, last in spans if first < last]

    # --- accesses -----------------------------------------------------------------------------------------------------

    def attach(self, bus: Bus) -> None:
        """Nothing: a function behind the port has its way out already."""

    def _window(self, region: int) -> Window | None:
        if region > RegionIndex.BAR5:
            return None
        if region not in self._windows:
            guard = None
            if self._table is not None and self._table[0] == region:
                guard = self._table[1].offset, self._table[1].end
            self._windows[region] = self.port.window(region, guard)
        return self._windows[region]

    def read(self, region: int, offset: int, size: int) -> bytes:
        """The MSI-X table is read as a mapping shows it: with the host's messages."""
        with self._refusing():
            window = self._window(region)
            if window is None:
                return self.port.read_region(region, offset, size)
            reads = {1: window.read8, 2: window.read16, 4: window.read32, 8: window.read64}
            return b"".join(reads[width](at).to_bytes(width, "little") for at, width in _accesses(offset, size))

    def write(self, region: int, offset: int, data: bytes) -> None:
        """Writes to the MSI-X table are dropped, as vfio-pci drops them (vfio_pci_rdwr.c, do_io_rw)."""
        with self._refusing():
            window = self._window(region)
            if window is None:
                self.port.write_region(region, offset, data)
            elif len(data) == _LINE and offset % _LINE == 0 and not self._in_table(region, offset, _LINE):
                window.store64(offset, data, pieces=self._in_pieces)
            else:
                writes = {1: window.write8, 2: window.write16, 4: window.write32, 8: window.write64}
                for at, width in _accesses(offset, len(data)):
                    if not self._in_table(region, at, width):
                        writes[width](at, int.from_bytes(data[at - offset : at - offset + width], "little"))

    def _in_table(self, region: int, offset: int, size: int) -> bool:
        return self._table is not None and self._table[0] == region and self._table[1].meets(offset, size)

    def act(self) -> None:
        """Nothing: the function acts by itself."""

    # --- a client's part ----------------------------------------------------------------------------------------------

    def client(self, infos: Sequence[IrqInfo]) -> tuple[ExportedIrqs, ExportedMemory]:
        """The interrupts and the memory of a new client."""
        memory = ExportedMemory(self.port.space, sealed=self.port.mount not in _KERNEL)
        kind = RelayedIrqs if self.trap else ExportedIrqs
        return kind(infos, self.port, self._requests), memory

    def silence(self) -> None:
        """The client is gone: from now on the function reaches no memory and raises nothing."""
        with self._lock, self._tried("bus mastering off"):
            self.port.write_region(RegionIndex.CONFIG, _COMMAND, bytes(2))

    def reset(self) -> None:
        """As VFIO_DEVICE_RESET; nothing where the function has none."""
        if self.port.device_info().flags & DeviceFlags.RESET:
            with self._refusing():
                self.port.reset()

    def close(self) -> None:
        """Listen to the kernel no more. The port is its owner's."""
        self._requests.close()

    @contextmanager
    def _tried(self, what: str) -> Iterator[None]:
        try:
            yield
        except VfioImsError as error:
            log.warning("%s: %s: %s", self.name, what, error)


def _accesses(offset: int, size: int) -> Iterator[tuple[int, int]]:
    """Only one of 8 bytes alone is an access of 8: a block is read by fours."""
    return aligned(offset, size, 8 if size == 8 else 4)
