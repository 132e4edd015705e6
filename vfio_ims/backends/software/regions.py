# SPDX-License-Identifier: Apache-2.0
"""Regions of a device in software: trapped access as vfio-pci splits and filters it, and windows."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from vfio_ims.backends.software.window import SoftwareWindow
from vfio_ims.counted import counted
from vfio_ims.errors import DeviceError, UsageError, VfioImsError
from vfio_ims.locks import make_lock
from vfio_ims.native.window import MappedWindow, Piece
from vfio_ims.ports.aligned import aligned
from vfio_ims.ports.values import RegionFlags, RegionIndex, RegionInfo

if TYPE_CHECKING:
    from vfio_ims.backends.software.msix import MsixShadow
    from vfio_ims.backends.software.state import FunctionState
    from vfio_ims.lifetime import Owner
    from vfio_ims.ports.link import Link
    from vfio_ims.ports.window import Window

__all__ = ["RegionAccess"]

_ACCESS = 8  # bytes of the widest single access


class RegionAccess:
    """What one device's regions answer. Memory BARs answer only while the function decodes memory.

    ``page``: windows map whole pages of so many bytes.
    """

    def __init__(self, label: str, link: Link, shadow: MsixShadow | None, page: int, owner: Owner) -> None:
        self._label, self._link, self._shadow, self._page, self._owner = label, link, shadow, page, owner
        self.config: FunctionState | None = None
        """What answers config space; set before the first access."""
        # The port owns what it hands out: a window that its user forgot is open until the device is closed.
        self._windows: list[tuple[SoftwareWindow, SoftwareWindow | MappedWindow]] = []
        self._decoding, self._low_power = True, False
        self._lock = make_lock()

    def _check(self, info: RegionInfo, offset: int, size: int, verb: str, right: RegionFlags) -> None:
        operation = f"{verb} {counted(size, 'byte')} at {offset:#x} of region {info.index}"
        if not info.flags & right or not 0 <= offset < info.size or size < 0 or offset + size > info.size:
            why = f"the region has {info.size:#x} bytes" if info.flags & right else f"the region allows no {verb}"
            raise UsageError(operation, device=self._label, why=why, errno=errno.EINVAL)
        if not self._decoding and info.index <= RegionIndex.ROM:
            raise self._asleep(operation)

    def _asleep(self, operation: str) -> VfioImsError:
        why = "the function does not decode memory now"
        hint = "set bit 1 of the command register (config space 0x04), and power_state to D0 if it sleeps"
        if self._decoding:
            why, hint = "the function is in low power, where VFIO allows no mapped access", "leave low power first"
        return DeviceError(operation, device=self._label, why=why, hint=hint, errno=errno.EIO)

    def read(self, info: RegionInfo, offset: int, size: int) -> bytes:
        """One read of the region's file: split into aligned accesses. The MSI-X table reads as ones."""
        self._check(info, offset, size, "read", RegionFlags.READ)
        link, index, shadow, config = self._link, info.index, self._shadow, self.config
        parts = []
        if index == RegionIndex.CONFIG:
            assert config is not None
            if size > _ACCESS:  # reading has no effect there: one round trip for all of it
                return config.read(offset, size)
            return b"".join([config.read(at, width) for at, width in aligned(offset, size, 4)])
        for at, width in aligned(offset, size, 8):
            hidden = shadow.trap(index, at, width) if shadow is not None else None
            parts.append(link.read(index, at, width) if hidden is None else hidden)
        return b"".join(parts)

    def write(self, info: RegionInfo, offset: int, data: bytes) -> None:
        """One write of the region's file. Writes to the MSI-X table are dropped."""
        self._check(info, offset, len(data), "write", RegionFlags.WRITE)
        link, index, shadow, config = self._link, info.index, self._shadow, self.config
        for at, width in aligned(offset, len(data), 4 if index == RegionIndex.CONFIG else 8):
            piece = data[at - offset : at - offset + width]
            if index == RegionIndex.CONFIG:
                assert config is not None
                config.write(at, piece)
            elif shadow is None or not shadow.drops(index, at, width):
                link.write(index, at, piece)

    def decode(self, on: bool) -> None:
        """The command register's memory bit or the power state changed: whether BARs answer."""
        with self._lock:
            if on != self._decoding:
                self._decoding = on
                self._suspend_windows()

    def low_power(self, on: bool) -> None:
        """Windows answer no more until the device has left low power; trapped access goes on."""
        with self._lock:
            if on != self._low_power:
                self._low_power = on
                self._suspend_windows()

    @property
    def _reachable(self) -> bool:
        return self._decoding and not self._low_power

    def _suspend_windows(self) -> None:
        for window, _ in self._windows:
            window.suspend(None if self._reachable else self._asleep)

    def window(self, info: RegionInfo, guard: tuple[int, int] | None) -> Window:
        """A window over a BAR: what the device shares as memory is mapped, the rest goes over the link."""
        if info.size == 0 or info.index >= RegionIndex.CONFIG:
            why = f"region {info.index} is no BAR with memory"
            raise UsageError("open a window", device=self._label, why=why, errno=errno.EINVAL)
        label = f"{self._label} region {info.index}"
        trap = SoftwareWindow(
            self._link, info.index, info.size, label, guard=guard, shadow=self._shadow, parent=self._owner
        )
        pieces = self._pieces(info)
        window: SoftwareWindow | MappedWindow = trap
        if pieces:
            window = MappedWindow(info.size, pieces, guard=guard, trap=trap, label=label, parent=self._owner)
        with self._lock:
            self._windows = [pair for pair in self._windows if not pair[1].closed] + [(trap, window)]
            if not self._reachable:
                trap.suspend(self._asleep)
        return window

    def _pieces(self, info: RegionInfo) -> list[Piece]:
        """Whole pages of the shared areas, those with the MSI-X structures left out."""
        fd = self._link.mapping_fd(info.index)
        if fd is None:
            return []
        page = self._page
        if info.offset % page:  # the server's pages are smaller than this machine's
            return []
        shadow = self._shadow
        low, high = shadow.hull(info.index) if shadow is not None else (0, 0)
        low, high = low // page * page, -(-high // page) * page
        pieces = []
        for area in info.areas:
            start, end = -(-area.offset // page) * page, area.end // page * page
            spans = [(start, end)] if end <= low or high <= start else [(start, low), (high, end)]
            pieces += [Piece(fd, info.offset + at, at, stop - at) for at, stop in spans if at < stop]
        return pieces
