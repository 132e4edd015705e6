# SPDX-License-Identifier: Apache-2.0
"""Config space as a device model holds it: reset values, and what a driver's write does to each bit."""

from dataclasses import dataclass

from vfio_ims.errors import UsageError
from vfio_ims.pci.bars import BaseAddress
from vfio_ims.pci.config import ConfigSource, ConfigSpace

__all__ = ["ConfigImage"]


@dataclass(frozen=True)
class ConfigImage:
    """Reset values with two masks of the same length: bits that take a write, and bits that writing 1 clears.

    Every other bit is read-only. ``bars`` says what was built. A model keeps ``bytearray(image.data)`` as its state
    and passes it to ``write``; bits with effects of their own (FLR, bus master) it watches itself.
    """

    data: bytes
    writable: bytes
    w1c: bytes
    bars: tuple[BaseAddress, ...] = ()

    def write(self, state: bytearray, offset: int, data: bytes) -> None:
        """Apply a driver's write of ``data`` at ``offset`` to ``state``. UsageError outside of config space.

        BAR sizing needs nothing more: address bits below the size are fixed.
        """
        end = offset + len(data)
        if not 0 <= offset <= end <= len(self.data):
            why = f"offset and size must lie within {len(self.data):#x} bytes, not {offset:#x}+{len(data):#x}"
            raise UsageError("write config space", why=why)
        for at, new in zip(range(offset, end), data, strict=True):
            kept = state[at] & ~self.writable[at] | new & self.writable[at]
            state[at] = kept & ~(new & self.w1c[at])

    def space(self) -> ConfigSpace:
        """The reset values as a config space to decode."""
        return ConfigSpace(self.data, ConfigSource.IMAGE)
