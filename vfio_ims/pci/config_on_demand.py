# SPDX-License-Identifier: Apache-2.0
"""Config space of an open device, read as far as it is looked at."""

from __future__ import annotations

from collections.abc import Callable

from vfio_ims.pci.config import ConfigSource, ConfigSpace

__all__ = ["ConfigOnDemand"]

_BLOCK = 64


class ConfigOnDemand(ConfigSpace):
    """A config space of ``size`` bytes whose blocks of 64 are read by ``read(offset, size)``, each once, when needed.

    The kernel reads config space 4 bytes at a time, all 4096 in 1024 accesses: some milliseconds on a bus, and 0.2 s
    where each is a message. Capabilities are a few hundred bytes of it. What was never looked at is as it is then.
    Raises what ``read`` raises, also later.
    """

    _read: Callable[[int, int], bytes]
    _size: int
    _blocks: dict[int, bytes]

    def __init__(
        self, read: Callable[[int, int], bytes], size: int, source: ConfigSource, device: str | None = None
    ) -> None:
        # Past the refusal of a frozen dataclass, whose own __init__ wants the data.
        self.__dict__.update(_read=read, _size=size, _blocks={}, source=source, device=device)

    @property
    def data(self) -> bytes:  # the field of a frozen dataclass is read-only as well
        """All of it: what was read, and the rest read now."""
        return self.bytes_at(0, len(self))

    def __len__(self) -> int:
        return self._size

    def bytes_at(self, start: int, stop: int) -> bytes:
        """The bytes from ``start`` up to ``stop``, or to the end where that comes first."""
        stop = min(stop, len(self))
        first = start - start % _BLOCK
        for at in range(first, stop, _BLOCK):
            if at not in self._blocks:
                self._blocks[at] = self._read(at, min(_BLOCK, len(self) - at))
        return b"".join(self._blocks[at] for at in range(first, stop, _BLOCK))[start - first : stop - first]
