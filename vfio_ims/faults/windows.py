# SPDX-License-Identifier: Apache-2.0
"""A window whose accesses can fail, be late, or give other values than the device did."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from vfio_ims.ports.covering_window import CoveringWindow

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

    from vfio_ims.faults.calls import Calls
    from vfio_ims.ports.window import Window

__all__ = ["FaultyWindow"]

_POLL = 0.001


class FaultyWindow(CoveringWindow):
    """``Window`` around another one, of region ``region``. Each call is one that can fail; a poll is one call."""

    def __init__(self, inner: Window, region: int, calls: Calls) -> None:
        super().__init__(inner, region)
        self._calls = calls

    def _check(self, offset: int) -> None:
        """Where the device is lost the window is not asked; what has been closed is refused all the same."""
        if self._calls.faults.lost:
            self._inner.check_open(f"access offset {offset:#x}")

    def _load(self, read: Callable[[int], int], offset: int, width: int) -> int:
        self._check(offset)
        return self._calls.read(self._region, offset, width, lambda: read(offset))

    def _store(self, write: Callable[[int, int], None], offset: int, width: int, value: int) -> None:
        self._check(offset)
        self._calls.store("write", self._region, offset, lambda: write(offset, value))

    # --- many ---------------------------------------------------------------------------------------------------------

    def read_block(self, offset: int, count: int, width: int = 4) -> bytes:
        self._check(offset)
        offsets = range(offset, offset + count * width, width)
        call = lambda: self._inner.read_block(offset, count, width)  # noqa: E731
        return self._calls.read_many("read_block", self._region, offsets, width, call)

    def read_table(self, offset: int, stride: int, indices: Buffer) -> bytes:
        self._check(offset)
        rows = memoryview(indices).cast("B").cast("I")
        call = lambda: self._inner.read_table(offset, stride, indices)  # noqa: E731
        offsets = [offset + row * stride for row in rows]
        return self._calls.read_many("read_table", self._region, offsets, 4, call)

    def write_block(self, offset: int, data: Buffer, width: int = 4) -> None:
        self._check(offset)
        call = lambda: self._inner.write_block(offset, data, width)  # noqa: E731
        self._calls.store("write_block", self._region, offset, call)

    def write_table(
        self, offset: int, stride: int, indices: Buffer, steps: Sequence[tuple[int, int]], words: Buffer
    ) -> None:
        self._check(offset)
        call = lambda: self._inner.write_table(offset, stride, indices, steps, words)  # noqa: E731
        self._calls.store("write_table", self._region, offset, call)

    def poll(self, offset: int, width: int, mask: int, expected: int, timeout: float) -> int:
        calls, clock = self._calls, self._calls.faults.clock
        self._check(offset)
        calls.before("poll", self._region, offset)
        if not calls.changes(self._region, offset, width):
            return self._inner.poll(offset, width, mask, expected, timeout)
        read = {1: self._inner.read8, 2: self._inner.read16, 4: self._inner.read32, 8: self._inner.read64}[width]
        deadline = clock.now() + timeout
        while True:
            value = calls.value(self._region, offset, width, read(offset))
            if value & mask == expected or clock.now() >= deadline:
                return value
            clock.pause(_POLL)

    # --- portals ------------------------------------------------------------------------------------------------------

    def store64(self, offset: int, data: Buffer, *, pieces: bool = False) -> None:
        self.store64_many(offset, data, 1, pieces=pieces)

    def store64_many(
        self, offset: int, data: Buffer, count: int, *, stride: int = 64, span: int = 4096, pieces: bool = False
    ) -> None:
        self._check(offset)
        call = lambda: self._inner.store64_many(offset, data, count, stride=stride, span=span, pieces=pieces)  # noqa: E731
        self._calls.store("store64", self._region, offset, call)

    def store_rows(self, offset: int, pattern: bytes, count: int, columns: Any, *arguments: Any, **named: Any) -> int:
        """Of a mapped window: many descriptors in one compiled call."""
        self._check(offset)
        inner: Any = self._inner
        self._calls.before("store64", self._region, offset, write=True)
        if self._calls.faults.lost:
            return count
        stored: int = inner.store_rows(offset, pattern, count, columns, *arguments, **named)
        return stored

    def enqueue64(self, offset: int, data: Buffer) -> bool:
        """A device that is lost answers no non-posted store: the root complex completes it as a retry."""
        self._check(offset)
        self._calls.before("enqueue64", self._region, offset, write=True)
        return False if self._calls.faults.lost else self._inner.enqueue64(offset, data)
