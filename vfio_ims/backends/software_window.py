# SPDX-License-Identifier: Apache-2.0
"""A region of a device in software as a window: each access is one read or write over the link.

The MSI-X table and its pending bits are the platform's, as a mapping of the real ones would show them.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from vfio_ims.errors import UsageError, VfioImsError
from vfio_ims.lifetime import Owner

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

    from vfio_ims.backends.link import Link
    from vfio_ims.backends.software_msix import MsixShadow

__all__ = ["SoftwareWindow"]

_MASKS = {width: (1 << 8 * width) - 1 for width in (1, 2, 4, 8)}
_ENQUEUE_SIZE = 64


class SoftwareWindow(Owner):
    """``Window`` over a link. ``shadow``: what of it the platform answers; ``guard``: what must not be written."""

    def __init__(
        self,
        link: Link,
        region: int,
        size: int,
        name: str,
        *,
        guard: tuple[int, int] | None = None,
        shadow: MsixShadow | None = None,
        parent: Owner | None = None,
    ) -> None:
        self._link, self._region, self._size = link, region, size
        self._guard = guard or (0, 0)
        self._shadow = shadow
        self._shadowed = shadow.hull(region) if shadow is not None else (0, 0)
        edges = [span for span in (self._guard, self._shadowed) if span[0] < span[1]]
        self._special = (min(low for low, _ in edges), max(high for _, high in edges)) if edges else (0, 0)
        self._read: Callable[[int, int, int], bytes] = link.read
        self._write: Callable[[int, int, bytes], None] = link.write
        super().__init__(name, parent)
        _WINDOWS.add(self)

    # --- state --------------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        return self._size

    def mapped(self, offset: int, size: int) -> bool:
        return False

    def suspend(self, reason: Callable[[str], VfioImsError] | None) -> None:
        """While the device does not decode memory every access raises what ``reason`` makes; None ends that."""
        if self.closed:
            return
        if reason is None:
            self._read, self._write = self._link.read, self._link.write
            return

        def refuse(region: int, offset: int, what: object) -> NoReturn:
            assert reason is not None
            raise reason(f"access offset {offset:#x}")

        self._read = self._write = refuse

    def _release(self) -> None:
        def refuse(region: int, offset: int, what: object) -> NoReturn:
            self.check_open(f"access offset {offset:#x}")
            raise AssertionError("a closed window says who closed it")

        self._read = self._write = refuse

    def __del__(self) -> None:
        """Nothing to give back, so nothing to warn of."""

    # --- single accesses ----------------------------------------------------------------------------------------------

    def _refuse(self, verb: str, offset: int, size: int, align: int) -> NoReturn:
        self.check_open(f"{verb} offset {offset:#x}")
        if offset % align:
            why = f"offset must be a multiple of {align}, not {offset:#x}"
        else:
            why = f"the window has {self._size:#x} bytes"
        raise UsageError(f"{verb} {size} bytes at {offset:#x}", device=self.label, why=why)

    def _refuse_guarded(self, offset: int, size: int) -> NoReturn:
        start, end = self._guard
        raise UsageError(
            f"write {size} bytes at {offset:#x}",
            device=self.label,
            why=f"{start:#x}..{end - 1:#x} is the MSI-X table, which the kernel writes",
            hint="attach eventfds to vectors; the kernel fills the table in",
        )

    def _special_read(self, offset: int, size: int) -> bytes:
        low, high = self._shadowed
        if self._shadow is not None and offset < high and low < offset + size and not self.closed:
            answer = self._shadow.read(self._region, offset, size)
            if answer is not None:
                return answer
        return self._read(self._region, offset, size)

    def _special_write(self, offset: int, data: bytes) -> None:
        start, end = self._guard
        if offset < end and start < offset + len(data):
            self._refuse_guarded(offset, len(data))
        low, high = self._shadowed
        overlap = offset < high and low < offset + len(data) and not self.closed
        if not (overlap and self._shadow is not None and self._shadow.write(self._region, offset, data)):
            self._write(self._region, offset, data)

    def _load(self, offset: int, width: int) -> int:
        if offset % width or not 0 <= offset <= self._size - width:
            self._refuse("read", offset, width, width)
        low, high = self._special
        if low < offset + width and offset < high:
            return int.from_bytes(self._special_read(offset, width), "little")
        return int.from_bytes(self._read(self._region, offset, width), "little")

    def _store(self, offset: int, width: int, value: int) -> None:
        if offset % width or not 0 <= offset <= self._size - width:
            self._refuse("write", offset, width, width)
        try:
            data = value.to_bytes(width, "little")
        except OverflowError:
            why = f"value must be {8 * width} bits, not {value:#x}"
            raise UsageError(f"write {width} bytes at {offset:#x}", device=self.label, why=why) from None
        low, high = self._special
        if low < offset + width and offset < high:
            self._special_write(offset, data)
        else:
            self._write(self._region, offset, data)

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

    # --- many at once -------------------------------------------------------------------------------------------------

    def _check_block(self, verb: str, offset: int, size: int, width: int) -> None:
        if width not in _MASKS:
            why = f"width must be 1, 2, 4 or 8, not {width!r}"
            raise UsageError(f"{verb} a block", device=self.label, why=why)
        if offset % width or size % width or size < 0 or not 0 <= offset <= self._size - size:
            self._refuse(verb, offset, size, width)

    def read_block(self, offset: int, count: int, width: int = 4) -> bytes:
        self._check_block("read", offset, count * width, width)
        low, high = self._special
        read = self._special_read if offset < high and low < offset + count * width else self._plain_read
        return b"".join([read(at, width) for at in range(offset, offset + count * width, width)])

    def _plain_read(self, offset: int, size: int) -> bytes:
        return self._read(self._region, offset, size)

    def write_block(self, offset: int, data: Buffer, width: int = 4) -> None:
        raw = memoryview(data).cast("B").tobytes()
        self._check_block("write", offset, len(raw), width)
        self._write_many([(offset + at, raw[at : at + width]) for at in range(0, len(raw), width)])

    def _write_many(self, writes: Sequence[tuple[int, bytes]]) -> None:
        if not writes:
            return
        low, high = self._special
        if any(offset < high and low < offset + len(data) for offset, data in writes):
            start, end = self._guard
            for offset, data in writes:
                if offset < end and start < offset + len(data):
                    self._refuse_guarded(offset, len(data))
            for offset, data in writes:
                self._special_write(offset, data)
        elif self._write == self._link.write:
            self._link.write_many(self._region, writes)
        else:
            self._write(self._region, *writes[0])

    def write_table(
        self, offset: int, stride: int, indices: Buffer, steps: Sequence[tuple[int, int]], words: Buffer
    ) -> None:
        rows = memoryview(indices).cast("B").cast("I")
        cells = memoryview(words).cast("B")
        per_row, rest = divmod(len(cells), 4 * len(rows)) if len(rows) else (0, len(cells))
        if rest or (any(not 0 <= source < per_row for _, source in steps) and len(rows)):
            why = f"words must hold every step's source for each of {len(rows)} rows, not {len(cells)} bytes"
            raise UsageError("write a table", device=self.label, why=why)
        writes: list[tuple[int, bytes]] = []
        for row, index in enumerate(rows):
            base, first = offset + index * stride, row * per_row
            for at, source in steps:
                start = 4 * (first + source)
                writes.append((base + at, cells[start : start + 4].tobytes()))
        for place, _ in writes:
            if place % 4 or not 0 <= place <= self._size - 4:
                self._refuse("write", place, 4, 4)
        self._write_many(writes)

    def poll(self, offset: int, width: int, mask: int, expected: int, timeout: float) -> int:
        self._check_block("poll", offset, width, width)
        deadline = time.monotonic() + timeout
        pause = 0.0
        while True:
            value = self._load(offset, width)
            if value & mask == expected or time.monotonic() >= deadline:
                return value
            time.sleep(pause)  # the device's own threads need the interpreter, too
            pause = min(pause + 0.00002, 0.001)

    def store64(self, offset: int, data: Buffer, *, pieces: bool = False) -> None:
        self._portal("store 64 bytes", offset, data)

    def enqueue64(self, offset: int, data: Buffer) -> bool:
        enqueue: Callable[[int, int, bytes], bool] | None = getattr(self._link, "enqueue", None)
        if enqueue is None or self.closed:
            self._portal("enqueue 64 bytes", offset, data)
            return True
        return enqueue(self._region, offset, self._portal_data("enqueue 64 bytes", offset, data))

    def _portal_data(self, operation: str, offset: int, data: Buffer) -> bytes:
        raw = memoryview(data).cast("B").tobytes()
        if len(raw) != _ENQUEUE_SIZE or offset % _ENQUEUE_SIZE or not 0 <= offset <= self._size - _ENQUEUE_SIZE:
            self.check_open(operation)
            why = f"64 bytes go to a multiple of 64 within {self._size:#x}, not {len(raw)} to {offset:#x}"
            raise UsageError(operation, device=self.label, why=why)
        return raw

    def _portal(self, operation: str, offset: int, data: Buffer) -> None:
        raw = self._portal_data(operation, offset, data)
        low, high = self._special
        if low < offset + _ENQUEUE_SIZE and offset < high:
            self._special_write(offset, raw)
        else:
            self._write(self._region, offset, raw)


_WINDOWS: weakref.WeakSet[SoftwareWindow] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # Accesses are not checked one by one for their process: a fork's copies refuse from the start.
    for window in list(_WINDOWS):
        SoftwareWindow._release(window)


os.register_at_fork(after_in_child=_after_fork_in_child)
