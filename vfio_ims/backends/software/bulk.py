# SPDX-License-Identifier: Apache-2.0
"""The half of a software window that moves more than one value."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn

from vfio_ims.counted import counted
from vfio_ims.errors import UnsupportedError, UsageError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

    from vfio_ims.ports.link import Link, PlainAccess
    from vfio_ims.ports.window import Window

__all__ = ["SoftwareBulk"]

_PORTAL = 64


@lru_cache(maxsize=64)
def _sources_within(steps: tuple[tuple[int, int], ...], per_row: int) -> bool:
    """Whether each step's word is one of ``per_row``: a driver has the same steps at each call."""
    return all(0 <= source < per_row for _, source in steps)


class SoftwareBulk:
    """Blocks, tables, polling and portal stores, made of the window's single accesses."""

    label: str
    _link: Link
    _region: int
    _size: int
    _guard: tuple[int, int]
    _special: tuple[int, int]
    _read: Callable[[int, int, int], bytes]
    _write: Callable[[int, int, bytes], None]
    _taker: Window | None
    _plain: PlainAccess | None

    if TYPE_CHECKING:

        @property
        def closed(self) -> bool: ...
        def check_open(self, operation: str) -> None: ...
        def _refuse(self, verb: str, offset: int, size: int, align: int) -> NoReturn: ...
        def _refuse_guarded(self, offset: int, size: int) -> NoReturn: ...
        def _special_read(self, offset: int, size: int) -> bytes: ...
        def _special_write(self, offset: int, data: bytes) -> None: ...
        def _load(self, offset: int, width: int) -> int: ...

    def _check_block(self, verb: str, offset: int, size: int, width: int) -> None:
        if width not in (1, 2, 4, 8):
            why = f"width must be 1, 2, 4 or 8, not {width!r}"
            raise UsageError(f"{verb} a block", device=self.label, why=why)
        if offset % width or size % width or size < 0 or not 0 <= offset <= self._size - size:
            self._refuse(verb, offset, size, width)

    def read_block(self, offset: int, count: int, width: int = 4) -> bytes:
        if self._taker is not None:
            return self._taker.read_block(offset, count, width)
        self._check_block("read", offset, count * width, width)
        return self._read_many(range(offset, offset + count * width, width), width)

    def _read_many(self, places: Sequence[int], width: int) -> bytes:
        if not places:
            return b""
        if self._plain is not None and (found := self._plain.read_many(places, width)) is not None:
            return found
        low, high = self._special
        if min(places) < high and low < max(places) + width:
            return b"".join([self._special_read(at, width) for at in places])
        if self._read == self._link.read:
            return self._link.read_many(self._region, places, width)
        return self._read(self._region, places[0], width)  # which says why it cannot be

    def read_table(self, offset: int, stride: int, indices: Buffer) -> bytes:
        if self._taker is not None:
            return self._taker.read_table(offset, stride, indices)
        places = [offset + index * stride for index in memoryview(indices).cast("B").cast("I")]
        if places and not (offset % 4 == stride % 4 == 0 and min(places) >= 0 and max(places) <= self._size - 4):
            for place in places:
                if place % 4 or not 0 <= place <= self._size - 4:
                    self._refuse("read", place, 4, 4)
        return self._read_many(places, 4)

    def write_block(self, offset: int, data: Buffer, width: int = 4) -> None:
        if self._taker is not None:
            self._taker.write_block(offset, data, width)
            return
        raw = memoryview(data).cast("B").tobytes()
        self._check_block("write", offset, len(raw), width)
        self._write_many([(offset + at, raw[at : at + width]) for at in range(0, len(raw), width)])

    def _write_many(self, writes: Sequence[tuple[int, bytes]]) -> None:
        if not writes:
            return
        low, high = self._special
        if [1 for offset, data in writes if offset < high and low < offset + len(data)]:
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
        if self._taker is not None:
            self._taker.write_table(offset, stride, indices, steps, words)
            return
        rows = memoryview(indices).cast("B").cast("I").tolist()
        given = memoryview(words).cast("B")
        per_row, rest = divmod(len(given), 4 * len(rows)) if rows else (0, len(given))
        if rest or (rows and not _sources_within(tuple(steps), per_row)):
            what = f"{counted(len(rows), 'row')}, not {counted(len(given), 'byte')}"
            why = f"words must hold every step's source for each of {what}"
            raise UsageError("write a table", device=self.label, why=why)
        if self._plain is not None and self._plain.write_rows(offset, stride, rows, steps, given.cast("I")):
            return
        cells, places = given.tobytes(), [offset + index * stride for index in rows]
        for at, _ in steps:
            for place in places:
                if (place + at) % 4 or not 0 <= place + at <= self._size - 4:
                    self._refuse("write", place + at, 4, 4)
        sources = [(at, 4 * source) for at, source in steps]
        starts = range(0, len(cells), 4 * per_row) if rows else ()
        self._write_many(
            [
                (place + at, cells[start + source : start + source + 4])
                for place, start in zip(places, starts, strict=True)
                for at, source in sources
            ]
        )

    def poll(self, offset: int, width: int, mask: int, expected: int, timeout: float) -> int:
        if self._taker is not None:
            return self._taker.poll(offset, width, mask, expected, timeout)
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
        if self._taker is not None:
            self._taker.store64(offset, data, pieces=pieces)
            return
        self._portal("store 64 bytes", offset, data)

    def store64_many(
        self, offset: int, data: Buffer, count: int, *, stride: int = 64, span: int = 4096, pieces: bool = False
    ) -> None:
        if self._taker is not None:
            self._taker.store64_many(offset, data, count, stride=stride, span=span, pieces=pieces)
            return
        operation, raw = f"store {count} times 64 bytes", memoryview(data).cast("B").tobytes()
        if len(raw) != _PORTAL * count:
            why = f"the data must be {_PORTAL * count} bytes, not {len(raw)}"
            raise UsageError(operation, device=self.label, why=why)
        lines = [(offset + i * stride % span, raw[_PORTAL * i : _PORTAL * (i + 1)]) for i in range(count)]
        for at, line in lines:
            self._portal_data(operation, at, line)
        self._write_many(lines)

    def enqueue64(self, offset: int, data: Buffer) -> bool:
        if self._taker is not None:
            return self._taker.enqueue64(offset, data)
        enqueue: Callable[[int, int, bytes], bool] | None = getattr(self._link, "enqueue", None)
        self.check_open("enqueue 64 bytes")
        if enqueue is None:
            raise UnsupportedError(
                "enqueue 64 bytes",
                device=self.label,
                why="this link has no store that the device answers (vfio-user knows posted writes only)",
                hint="use a dedicated queue and store64",
            )
        return enqueue(self._region, offset, self._portal_data("enqueue 64 bytes", offset, data))

    def _portal_data(self, operation: str, offset: int, data: Buffer) -> bytes:
        raw = memoryview(data).cast("B").tobytes()
        if len(raw) != _PORTAL or offset % _PORTAL or not 0 <= offset <= self._size - _PORTAL:
            self.check_open(operation)
            why = f"64 bytes go to a multiple of 64 within {self._size:#x}, not {len(raw)} to {offset:#x}"
            raise UsageError(operation, device=self.label, why=why)
        return raw

    def _portal(self, operation: str, offset: int, data: Buffer) -> None:
        raw = self._portal_data(operation, offset, data)
        low, high = self._special
        if low < offset + _PORTAL and offset < high:
            self._special_write(offset, raw)
        else:
            self._write(self._region, offset, raw)
