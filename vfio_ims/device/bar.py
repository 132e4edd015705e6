# SPDX-License-Identifier: Apache-2.0
"""A BAR: the window on it, and the registers that a driver binds to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from vfio_ims.registers import Block

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from vfio_ims.lifetime import Owner
    from vfio_ims.ports.device import DevicePort
    from vfio_ims.ports.window import Window

__all__ = ["Bar"]

B = TypeVar("B", bound=Block)


class Bar:
    """BAR ``number`` of a device. Reads and writes are the window's own: one access each, checked, at its cost.

    ``port`` and ``owner`` are the device's. ``in_pieces``: a model, whose portals take a 64-byte store as eight.
    """

    def __init__(self, port: DevicePort, owner: Owner, number: int, window: Window, *, pieces: bool) -> None:
        self.port, self.owner, self.number, self.window, self.in_pieces = port, owner, number, window, pieces
        self.size = window.size
        self.read8, self.read16, self.read32, self.read64 = window.read8, window.read16, window.read32, window.read64
        self.write8, self.write16 = window.write8, window.write16
        self.write32, self.write64 = window.write32, window.write64
        self.read_block, self.write_block = window.read_block, window.write_block
        self.read_table, self.write_table = window.read_table, window.write_table
        self.poll, self.mapped = window.poll, window.mapped

    def bind(self, block: type[B], base: int = 0) -> B:
        """The registers of ``block`` on this BAR, from ``base`` bytes."""
        return block(self.window, base, self.port.name)

    def store64(self, offset: int, data: ReadableBuffer) -> None:
        """Store 64 bytes to a portal as one write.

        Models (known by their vendor-specific capability) may get it in pieces where the processor cannot;
        hardware never: it raises UnsupportedError there.
        """
        self.window.store64(offset, data, pieces=self.in_pieces)

    def store64_many(self, offset: int, data: ReadableBuffer, count: int, *, stride: int = 64) -> None:
        """Store ``count`` times 64 bytes of ``data`` to the portal's page at ``offset``, in one compiled call.

        ``stride``: bytes from one store to the next, round the page; 0: all to one place. Otherwise as ``store64``.
        """
        self.window.store64_many(offset, data, count, stride=stride, pieces=self.in_pieces)

    def enqueue64(self, offset: int, data: ReadableBuffer) -> bool:
        """ENQCMD: whether the device took the 64 bytes (False: retry). UnsupportedError on hardware behind VFIO."""
        return self.window.enqueue64(offset, data)

    def __repr__(self) -> str:
        return f"<BAR {self.number} of {self.port.name}, {self.size:#x} bytes>"
