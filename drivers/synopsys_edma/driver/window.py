# SPDX-License-Identifier: Apache-2.0
"""Memory of the device that a channel moves to and from, as the host reaches it and as the engine does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vfio_ims.errors import UsageError

if TYPE_CHECKING:
    from vfio_ims.device.bar import Bar

__all__ = ["DataWindow"]


class DataWindow:
    """``size`` bytes; ``address``: what lists call the first of them."""

    def __init__(self, bar: Bar, offset: int, size: int, address: int) -> None:
        self._bar, self._offset, self.size, self.address = bar, offset, size, address

    def _check(self, at: int, size: int) -> None:
        if at % 4 or size % 4 or not 0 <= at <= self.size - size:
            why = f"at and size must be multiples of 4 within {self.size:#x} bytes, not {at:#x} and {size:#x}"
            raise UsageError("access a data window", device=self._bar.port.name, why=why)

    def read(self, at: int, size: int) -> bytes:
        """Read ``size`` bytes from ``at`` on, 4 at a time."""
        self._check(at, size)
        return self._bar.read_block(self._offset + at, size // 4)

    def write(self, at: int, data: bytes) -> None:
        """Write ``data`` from ``at`` on, 4 bytes at a time; they are there when this returns."""
        self._check(at, len(data))
        if data:
            self._bar.write_block(self._offset + at, data)
            self._bar.read32(self._offset + at)

    def __len__(self) -> int:
        return self.size
