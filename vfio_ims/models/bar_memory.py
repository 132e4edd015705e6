# SPDX-License-Identifier: Apache-2.0
"""A BAR of a model that is memory: the driver's stores and the model's own meet in one file."""

from __future__ import annotations

from vfio_ims.native.memory import SharedMemory

__all__ = ["BarMemory"]


class BarMemory:
    """``size`` bytes, zero at first and kept over resets: a BAR over a device's RAM. Only pages in use cost memory.

    ``fd``: the file, for a client to map, as real memory behind a BAR is mapped. Accesses are then not seen.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._memory = SharedMemory(size)

    @property
    def fd(self) -> int:
        return self._memory.fd

    def load(self, offset: int, size: int) -> bytes:
        """The bytes at ``offset``; zeros past the end."""
        return bytes(self._memory.view[offset : offset + size]).ljust(size, b"\0")

    def store(self, offset: int, data: bytes) -> None:
        """Keep what lies inside."""
        data = data[: max(0, self.size - offset)]
        self._memory.view[offset : offset + len(data)] = data

    def close(self) -> None:
        """Give the memory back."""
        self._memory.close()
