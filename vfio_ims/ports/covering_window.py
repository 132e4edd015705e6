# SPDX-License-Identifier: Apache-2.0
"""A window that stands before another one and looks at its accesses: what recorders and faults have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.ports.window import Window

__all__ = ["CoveringWindow"]


class CoveringWindow:
    """Around ``inner``, of region ``region``. A subclass has ``_load`` and ``_store``, and the accesses of many values.

    Both are handed the inner window's own method, as bound now, to call or not.
    """

    def __init__(self, inner: Window, region: int) -> None:
        self._inner, self._region = inner, region

    def _load(self, read: Callable[[int], int], offset: int, width: int) -> int:
        raise NotImplementedError

    def _store(self, write: Callable[[int, int], None], offset: int, width: int, value: int) -> None:
        raise NotImplementedError

    def check_open(self, operation: str) -> None:
        self._inner.check_open(operation)

    @property
    def size(self) -> int:
        return self._inner.size

    def read8(self, offset: int) -> int:
        return self._load(self._inner.read8, offset, 1)

    def read16(self, offset: int) -> int:
        return self._load(self._inner.read16, offset, 2)

    def read32(self, offset: int) -> int:
        return self._load(self._inner.read32, offset, 4)

    def read64(self, offset: int) -> int:
        return self._load(self._inner.read64, offset, 8)

    def write8(self, offset: int, value: int) -> None:
        self._store(self._inner.write8, offset, 1, value)

    def write16(self, offset: int, value: int) -> None:
        self._store(self._inner.write16, offset, 2, value)

    def write32(self, offset: int, value: int) -> None:
        self._store(self._inner.write32, offset, 4, value)

    def write64(self, offset: int, value: int) -> None:
        self._store(self._inner.write64, offset, 8, value)

    def mapped(self, offset: int, size: int) -> bool:
        return self._inner.mapped(offset, size)

    def close(self) -> None:
        self._inner.close()
