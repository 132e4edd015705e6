# SPDX-License-Identifier: Apache-2.0
"""Completion records: memory that the device writes and we poll."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from vfio_ims.locks import make_lock
from vfio_ims.native.access import store

if TYPE_CHECKING:
    from vfio_ims.dma import AddressSpace, Buffer

__all__ = ["ListPool", "Record", "RecordPool"]

_CHUNK = 256


class Record(NamedTuple):
    """``address`` for us, ``iova`` for the device. Its holder may access it, also when the driver is closed."""

    address: int
    iova: int
    memory: memoryview
    """Keeps the memory around it."""


class RecordPool:
    """Records of ``size`` bytes, aligned to it, in chunks that are mapped as they are needed."""

    def __init__(self, space: AddressSpace, size: int) -> None:
        self._space, self.size = space, size
        self._chunks: list[Buffer] = []
        self._free: list[Record] = []
        self._lock = make_lock()

    def take(self) -> Record:
        """A cleared record."""
        try:
            record = self._free.pop()
        except IndexError:
            record = self._grow()
        store(record.address, 8, 0)
        return record

    def _grow(self) -> Record:
        with self._lock:
            if not self._free:
                chunk = self._space.allocate(_CHUNK * self.size)
                self._chunks.append(chunk)
                memory = chunk.view
                self._free += [
                    Record(chunk.address + at, chunk.iova + at, memory)
                    for at in range(self.size * (_CHUNK - 1), -self.size, -self.size)
                ]
            return self._free.pop()

    def give_back(self, record: Record) -> None:
        """The device has written it, or never will."""
        self._free.append(record)

    def close(self) -> None:
        self._free.clear()
        for chunk in self._chunks:
            chunk.close()
        self._chunks.clear()


class ListPool:
    """Memory for descriptor lists and arrays of records, by size: kept for the next one."""

    def __init__(self, space: AddressSpace) -> None:
        self._space = space
        self._free: dict[int, list[Record]] = {}
        self._sizes: dict[int, int] = {}
        self._buffers: list[Buffer] = []
        self._lock = make_lock()

    def take(self, size: int) -> Record:
        """``size`` bytes or more, aligned to a page; not cleared."""
        whole = max(4096, 1 << (size - 1).bit_length())
        try:
            return self._free[whole].pop()
        except (KeyError, IndexError):
            return self._grow(whole)

    def _grow(self, whole: int) -> Record:
        with self._lock:
            self._free.setdefault(whole, [])
            buffer = self._space.allocate(whole)
            self._buffers.append(buffer)
            self._sizes[buffer.iova] = whole
            return Record(buffer.address, buffer.iova, buffer.view)

    def give_back(self, place: Record) -> None:
        """Keep it for the next ``take``. After ``close`` nothing happens."""
        free = self._free.get(self._sizes[place.iova])
        if free is not None:
            free.append(place)

    def close(self) -> None:
        self._free.clear()
        for buffer in self._buffers:
            buffer.close()
        self._buffers.clear()
