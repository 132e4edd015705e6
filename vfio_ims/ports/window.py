# SPDX-License-Identifier: Apache-2.0
"""A region of a device as its users reach it: single accesses, and many in one compiled call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer


__all__ = ["Window"]


class Window(Protocol):
    """A region of a device, addressed from 0. Each read and write is exactly one access of its width, in program order.

    Offsets are in bytes and aligned to the width. A bad offset raises UsageError, an access that the device or kernel
    refuses DeviceError, one after close ClosedError.
    """

    def check_open(self, operation: str) -> None:
        """Raise ClosedError where this window or its device has been closed; ``operation`` is what was tried."""
        ...

    @property
    def size(self) -> int:
        """The region's size in bytes, 0 for one that the device does not have."""
        ...

    def read8(self, offset: int) -> int:
        """One 1-byte read at ``offset``."""
        ...

    def read16(self, offset: int) -> int:
        """One 2-byte read at ``offset``, little-endian as PCI is."""
        ...

    def read32(self, offset: int) -> int:
        """One 4-byte read at ``offset``. All ones is what a device that does not answer gives: no error says so."""
        ...

    def read64(self, offset: int) -> int:
        """One 8-byte read at ``offset``. A trapped one may reach the device as two 4-byte reads: the kernel decides."""
        ...

    def write8(self, offset: int, value: int) -> None:
        """One 1-byte write of ``value`` at ``offset``."""
        ...

    def write16(self, offset: int, value: int) -> None:
        """One 2-byte write of ``value`` at ``offset``."""
        ...

    def write32(self, offset: int, value: int) -> None:
        """One 4-byte write of ``value`` at ``offset``. Posted: only a read of the device shows that it has arrived."""
        ...

    def write64(self, offset: int, value: int) -> None:
        """One 8-byte write of ``value`` at ``offset``."""
        ...

    def read_block(self, offset: int, count: int, width: int = 4) -> bytes:
        """Read ``count`` registers of ``width`` bytes from ``offset`` on, ascending, each once."""
        ...

    def write_block(self, offset: int, data: Buffer, width: int = 4) -> None:
        """Write ``data`` as registers of ``width`` bytes from ``offset`` on, ascending, each once."""
        ...

    def poll(self, offset: int, width: int, mask: int, expected: int, timeout: float) -> int:
        """Read a register of ``width`` bytes until ``value & mask == expected`` or ``timeout`` seconds have passed.

        The register at ``offset`` is read at least once. Returns the last value read: the caller compares, and words
        its own error.
        """
        ...

    def write_table(
        self, offset: int, stride: int, indices: Buffer, steps: Sequence[tuple[int, int]], words: Buffer
    ) -> None:
        """Write rows of a table of 32-bit words: for each row, each step in order, one 32-bit store.

        Args:
            offset: where row 0 begins.
            stride: bytes from one row to the next.
            indices: the rows' numbers, native uint32.
            steps: pairs ``(at, source)``: store the row's word ``source`` at ``offset + index * stride + at``. The same
                word may be stored to several places, and a place stored to several times (masked first, unmasked last).
            words: the same number of uint32 for each row, row after row.
        """
        ...

    def read_table(self, offset: int, stride: int, indices: Buffer) -> bytes:
        """Read one 32-bit word of each row of a table: of row ``index`` the one at ``offset + index * stride``.

        ``indices`` are native uint32, in whose order the words are returned; each is read once.
        """
        ...

    def store64(self, offset: int, data: Buffer, *, pieces: bool = False) -> None:
        """Store the 64 bytes of ``data`` to the portal at ``offset`` as one write (MOVDIR64B, ST64B).

        ``pieces``: eight 8-byte stores in its place, which models take and hardware does not. UnsupportedError where
        the processor has no such store.
        """
        ...

    def store64_many(
        self, offset: int, data: Buffer, count: int, *, stride: int = 64, span: int = 4096, pieces: bool = False
    ) -> None:
        """Store ``count`` times 64 bytes of ``data``, the i-th to ``offset + i * stride % span``.

        Stride 0 stores all to one place. ``stride`` and ``span`` are in bytes, ``pieces`` as for ``store64``. One
        compiled call. What the device's queue has no room for it may drop: the caller counts.
        """
        ...

    def enqueue64(self, offset: int, data: Buffer) -> bool:
        """ENQCMD of the 64 bytes of ``data`` at ``offset``. True: the device took them; False: it says retry.

        Raises UnsupportedError on hardware behind VFIO: without a PASID of the process's own the instruction kills it.
        """
        ...

    def mapped(self, offset: int, size: int) -> bool:
        """Whether these bytes are reached by a mapping (True) or trapped, access by access, by the other side."""
        ...

    def close(self) -> None:
        """Take the mapping back. A second close does nothing, an access after it raises ClosedError."""
        ...
