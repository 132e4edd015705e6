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

    def read_table(self, offset: int, stride: int, indices: Buffer) -> bytes:
        """Read one 32-bit word of each row of a table: of row ``index`` the one at ``offset + index * stride``.

        ``indices`` are native uint32, in whose order the words are returned; each is read once.
        """
        ...

    def store64(self, offset: int, data: Buffer, *, pieces: bool = False) -> None:
        """Store 64 bytes to a portal as one write (MOVDIR64B, ST64B). ``pieces``: eight 8-byte stores, models only."""
        ...

    def store64_many(
        self, offset: int, data: Buffer, count: int, *, stride: int = 64, span: int = 4096, pieces: bool = False
    ) -> None:
        """Store ``count`` times 64 bytes, the i-th to ``offset + i * stride % span``; stride 0: all to one place."""
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
