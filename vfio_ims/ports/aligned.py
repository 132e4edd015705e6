# SPDX-License-Identifier: Apache-2.0
"""A range of a region as the aligned accesses that a bus carries."""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["aligned"]


def aligned(offset: int, size: int, widest: int) -> Iterator[tuple[int, int]]:
    """(offset, width) of each access, the widest that fit, at most ``widest`` bytes, as vfio-pci does it."""
    end = offset + size
    while offset < end:
        width = widest
        while offset % width or offset + width > end:
            width //= 2
        yield offset, width
        offset += width
