# SPDX-License-Identifier: Apache-2.0
"""The bytes of a function's configuration space, and how much of it could be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property

from vfio_ims.counted import counted
from vfio_ims.errors import UsageError
from vfio_ims.pci.bars import BaseAddress, decode_bars
from vfio_ims.pci.header import Header

__all__ = ["EXTENDED_START", "FULL_SIZE", "HEADER_SIZE", "STANDARD_SIZE", "ConfigSource", "ConfigSpace"]

HEADER_SIZE = 0x40
STANDARD_SIZE = EXTENDED_START = 0x100
FULL_SIZE = 0x1000


class ConfigSource(StrEnum):
    """Who answered. It matters: VFIO hides capabilities, and sysfs shows an unprivileged reader only the header."""

    VFIO = "VFIO"
    SYSFS = "sysfs"
    SYSFS_UNPRIVILEGED = "sysfs (unprivileged: 64 bytes)"
    IMAGE = "image"

    @property
    def hides(self) -> bool:
        """Whether a capability that is not listed may be there all the same: vfio_pci_config.c leaves some out."""
        return self is ConfigSource.VFIO


@dataclass(frozen=True)
class ConfigSpace:
    """A copy of config space: 64 bytes (the header), 256 (conventional) or 4096 (with extended capabilities).

    ``source`` says who answered. ``device`` is a name for messages. Raises UsageError for other sizes.
    """

    data: bytes
    source: ConfigSource = ConfigSource.IMAGE
    device: str | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", bytes(self.data))
        object.__setattr__(self, "source", ConfigSource(self.source))
        if not HEADER_SIZE <= len(self.data) <= FULL_SIZE:
            why = f"config space must be 64 to 4096 bytes, not {len(self.data)}"
            raise UsageError("decode config space", device=self.device, why=why)

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        ids = f"{self.header.vendor:04x}:{self.header.device:04x}"
        return f"{type(self).__name__}({ids}, {counted(len(self), 'byte')} from {self.source})"

    @property
    def standard_readable(self) -> bool:
        """Whether the bytes after the header, where the standard capabilities are, could be read."""
        return len(self) >= STANDARD_SIZE

    @property
    def extended_readable(self) -> bool:
        """Whether there are bytes beyond 256, where the extended capabilities are."""
        return len(self) > EXTENDED_START

    def read(self, offset: int, width: int) -> int:
        """A little-endian number of ``width`` bytes. Raises UsageError outside of what could be read."""
        if width not in (1, 2, 4, 8):
            raise UsageError("read config space", device=self.device, why=f"width must be 1, 2, 4 or 8, not {width!r}")
        if not 0 <= offset <= len(self) - width:
            why = f"offset must be within the {len(self):#x} bytes from {self.source}, not {offset:#x}"
            raise UsageError("read config space", device=self.device, why=why)
        return int.from_bytes(self.bytes_at(offset, offset + width), "little")

    def bytes_at(self, start: int, stop: int) -> bytes:
        """The bytes from ``start`` up to ``stop``, or to the end where that comes first."""
        return self.data[start:stop]

    @cached_property
    def header(self) -> Header:
        """The first 64 bytes, decoded."""
        return Header(self.bytes_at(0, HEADER_SIZE))

    @property
    def absent(self) -> bool:
        """Whether nothing answered: every byte of the ids is one, as after a removal or in reset."""
        return self.header.vendor == 0xFFFF

    def bars(
        self, sizes: Mapping[int, int] | None = None, masks: Mapping[int, int] | None = None
    ) -> tuple[BaseAddress, ...]:
        """The base address registers in use, by number; see ``decode_bars``."""
        return decode_bars(self.header, sizes, masks)
