# SPDX-License-Identifier: Apache-2.0
"""The single accesses of a window whose accesses differ by their width only."""

from __future__ import annotations

__all__ = ["SingleAccesses"]


class SingleAccesses:
    """``read8`` to ``write64`` of a ``Window``, from ``_load`` and ``_store`` of 1, 2, 4 or 8 bytes."""

    def _load(self, offset: int, width: int) -> int:
        raise NotImplementedError

    def _store(self, offset: int, width: int, value: int) -> None:
        raise NotImplementedError

    def read8(self, offset: int) -> int:
        return self._load(offset, 1)

    def read16(self, offset: int) -> int:
        return self._load(offset, 2)

    def read32(self, offset: int) -> int:
        return self._load(offset, 4)

    def read64(self, offset: int) -> int:
        return self._load(offset, 8)

    def write8(self, offset: int, value: int) -> None:
        self._store(offset, 1, value)

    def write16(self, offset: int, value: int) -> None:
        self._store(offset, 2, value)

    def write32(self, offset: int, value: int) -> None:
        self._store(offset, 4, value)

    def write64(self, offset: int, value: int) -> None:
        self._store(offset, 8, value)
