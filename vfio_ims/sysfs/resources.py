# SPDX-License-Identifier: Apache-2.0
"""The ``resource`` file: where the kernel has placed a function's BARs, and their sizes.

A line for each of BAR0 to BAR5 and the ROM, then those of virtual functions and bridges: first address, last address,
flags (IORESOURCE_* of the kernel's ioport.h).
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ROM", "Resource", "bar_sizes", "parse_resources"]

ROM = 6
_IO, _MEMORY, _PREFETCH, _MEM64 = 0x100, 0x200, 0x2000, 0x0010_0000


@dataclass(frozen=True, slots=True)
class Resource:
    """One line in use. ``index`` 0 to 5 are BARs, 6 is the ROM."""

    index: int
    start: int
    end: int
    flags: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.end - self.start + 1

    @property
    def is_io(self) -> bool:
        """Whether it is in I/O port space."""
        return bool(self.flags & _IO)

    @property
    def is_memory(self) -> bool:
        """Whether it is in memory space."""
        return bool(self.flags & _MEMORY)

    @property
    def prefetchable(self) -> bool:
        """Whether reads of it have no side effect, by the BAR's own bit."""
        return bool(self.flags & _PREFETCH)

    @property
    def wide(self) -> bool:
        """A 64-bit BAR."""
        return bool(self.flags & _MEM64)


def parse_resources(text: str) -> tuple[Resource, ...]:
    """The lines in use, in order. Lines that make no sense are left out."""
    found = []
    for index, line in enumerate(text.splitlines()):
        try:
            start, end, flags = (int(word, 16) for word in line.split())
        except ValueError:
            continue
        if flags and end >= start:
            found.append(Resource(index, start, end, flags))
    return tuple(found)


def bar_sizes(resources: Sequence[Resource]) -> dict[int, int]:
    """Bytes of each BAR by number, 0 for those that are not there."""
    return dict.fromkeys(range(ROM), 0) | {one.index: one.size for one in resources if one.index < ROM}
