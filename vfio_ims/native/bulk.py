# SPDX-License-Identifier: Apache-2.0
"""Many registers in one compiled call: the half of a mapped window that moves more than one value."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.errors import UsageError
from vfio_ims.native.lib import CData, native
from vfio_ims.native.portal_access import PortalAccess

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

__all__ = ["BulkAccess"]

_SLICE = 0.1  # seconds of polling in one compiled call; between them Python sees Ctrl-C


@lru_cache(maxsize=64)
def _flat(steps: tuple[tuple[int, int], ...]) -> CData:
    """A table's steps as C takes them: a driver writes in the same steps over and over."""
    return native()[0].new("uint32_t[]", [part for at, source in steps for part in (at, source)])


def _words(given: Buffer) -> CData:
    """A buffer as 32-bit words, copied where they are not aligned as C wants them."""
    ffi = native()[0]
    found: CData = ffi.from_buffer("uint32_t[]", given)
    if int(ffi.cast("uintptr_t", found)) % 4:
        aligned: CData = ffi.new("uint32_t[]", len(found))
        ffi.memmove(aligned, found, 4 * len(found))
        return aligned
    return found


class BulkAccess(PortalAccess):
    """Blocks, tables and polling over a compiled window, and portal stores. The GIL is released meanwhile.

    Each call checks its whole range first, so that nothing is done by halves. Where part of a range has no mapping,
    the whole call goes register by register, each through its mapping or its trap.
    """

    __slots__ = ()

    _address: int
    """Where the compiled window is."""
    _c_write_table: Callable[[int, int, int, Buffer, Sequence[tuple[int, int]], Buffer], int]
    _c_store_list: Callable[[int, int, bytes, bytes, int, int, int, tuple[Buffer, ...]], int]

    if TYPE_CHECKING:
        # The single accesses, for what no mapping allows.
        @property
        def size(self) -> int: ...
        def read8(self, offset: int) -> int: ...
        def read32(self, offset: int) -> int: ...
        def write32(self, offset: int, value: int) -> None: ...

    def read_block(self, offset: int, count: int, width: int = 4) -> bytes:
        """Read ``count`` registers of ``width`` (1, 2, 4, 8) bytes, ascending, each once."""
        if self._taker is not None:
            return self._taker.read_block(offset, count, width)
        ffi, lib = native()
        operation = f"read {count} registers of {width} bytes at {offset}"
        self._check(operation, offset, count, width)
        if count * width > self.size:  # before there is room for as many
            raise self._refused(lib.ACCESS_BOUNDS, operation, width)
        out = ffi.new("uint8_t[]", count * width)
        status = lib.window_read_block(self._handle, offset, count, width, out)
        if self._takes_trap(status, operation, width):
            read = getattr(self, f"read{8 * width}")
            return b"".join(read(offset + i * width).to_bytes(width, "little") for i in range(count))
        return bytes(ffi.buffer(out))

    def write_block(self, offset: int, data: Buffer, width: int = 4) -> None:
        """Write ``data`` as registers of ``width`` (1, 2, 4, 8) bytes, ascending, each once."""
        if self._taker is not None:
            self._taker.write_block(offset, data, width)
            return
        ffi, lib = native()
        source = ffi.from_buffer(data)
        size = len(source)
        operation = f"write {size} bytes as registers of {width} at {offset}"
        self._check(operation, offset, size, width)
        if size % width:
            raise UsageError(operation, device=self.label, why=f"the data must be a multiple of {width} bytes")
        status = lib.window_write_block(self._handle, offset, size // width, width, source)
        if self._takes_trap(status, operation, width):
            write, view = getattr(self, f"write{8 * width}"), bytes(ffi.buffer(source))
            for at in range(0, size, width):
                write(offset + at, int.from_bytes(view[at : at + width], "little"))

    def poll(self, offset: int, width: int, mask: int, expected: int, timeout: float) -> int:
        """Read a register of ``width`` bytes until ``value & mask == expected`` or ``timeout`` seconds have passed.

        Returns the last value. Spins without sleeping; ClosedError if the window is closed meanwhile.
        """
        if self._taker is not None:
            return self._taker.poll(offset, width, mask, expected, timeout)
        ffi, lib = native()
        operation = f"poll {width} bytes at {offset}"
        self._check(operation, offset, 1, width)
        if not (0 <= mask < 1 << 64 and 0 <= expected < 1 << 64):
            why = f"mask and expected must be numbers of {8 * width} bits, not {mask:#x} and {expected:#x}"
            raise UsageError(operation, device=self.label, why=why)
        value = ffi.new("uint64_t *")
        deadline = time.monotonic() + timeout
        while True:
            left = max(0.0, deadline - time.monotonic())
            slice_ns = int(min(left, _SLICE) * 1e9)
            status = lib.window_poll(self._handle, offset, width, mask, expected, slice_ns, value)
            if self._takes_trap(status, operation, width):
                assert self._trap is not None
                return self._trap.poll(offset, width, mask, expected, timeout)
            last: int = value[0]
            if last & mask == expected or left <= _SLICE:
                return last

    def write_table(
        self, offset: int, stride: int, indices: Buffer, steps: Sequence[tuple[int, int]], words: Buffer
    ) -> None:
        """Write rows of a table of 32-bit words: for each row, each step in order, one 32-bit store.

        ``indices``: the rows' numbers as native uint32. ``words``: equally many uint32 for each row. A step
        ``(at, source)`` stores the row's word ``source`` at ``offset + index * stride + at``. Words in the order of the
        steps are stored fastest.
        """
        if self._taker is None:
            status = self._c_write_table(self._address, offset, stride, indices, steps, words)
            if status:
                self._write_table_otherwise(status, offset, stride, indices, steps, words)
            return
        self._taker.write_table(offset, stride, indices, steps, words)

    def _write_table_otherwise(
        self, status: int, offset: int, stride: int, indices: Buffer, steps: Sequence[tuple[int, int]], words: Buffer
    ) -> None:
        """Where the compiled call did nothing: what it does not take, or the error that its ``status`` is."""
        lib = native()[1]
        if status == lib.ACCESS_GONE:
            raise self._refused(status, f"write a table at {offset}", 4)
        try:
            rows, values = _words(indices), _words(words)
            flat, count = _flat(tuple(steps)), len(rows)
            per_row, left = divmod(len(values), count) if count else (0, len(values))
            if left:
                raise ValueError(
                    f"the words must be equally many for each of {counted(count, 'row')}, not {len(values)} in all"
                )
            status = lib.window_write_table(
                self._handle, offset, stride, rows, count, flat, len(steps), values, per_row
            )
        except (ValueError, OverflowError, TypeError, BufferError) as error:
            raise UsageError(f"write a table at {offset}", device=self.label, why=str(error)) from None
        if status and self._takes_trap(status, f"write a table at {offset}", 4):
            for row in range(count):
                for at, source in steps:
                    self.write32(offset + rows[row] * stride + at, values[row * per_row + source])

    def store_list(
        self, offset: int, pattern: bytes, places: bytes, first: int, count: int, last: int, arrays: tuple[Buffer, ...]
    ) -> bool:
        """Store a list in memory behind the window by one compiled call: ``count`` rows one behind the other.

        Each is ``pattern`` (whole words of 8 bytes) with the next value of each of ``arrays``, from value ``first``
        on, put in at its place. The first word of row 0 is stored last of all and read back: an engine that follows the
        list sees the whole or nothing. False: that was not done, and other accesses have to do it, or say why not.

        Args:
            offset: of row 0.
            pattern: what the rows have in common.
            places: for each array a byte for its place in the row and one for the width of its values.
            first: which value of the arrays is row 0's.
            count: of rows.
            last: bits that the first word of the last row has beside.
            arrays: of native numbers, three at most.
        """
        return self._c_store_list(self._address, offset, pattern, places, first, count, last, arrays) == 0

    def read_table(self, offset: int, stride: int, indices: Buffer) -> bytes:
        """Read the 32-bit word at ``offset + index * stride`` of each row, once, in the order of ``indices``."""
        if self._taker is not None:
            return self._taker.read_table(offset, stride, indices)
        ffi, lib = native()
        try:
            rows = _words(indices)
            if memoryview(indices).nbytes != 4 * len(rows):
                raise ValueError("the rows' numbers must be native uint32")
            out = ffi.new("uint32_t[]", max(len(rows), 1))
            status = lib.window_read_table(self._handle, offset, stride, rows, len(rows), out)
        except (ValueError, OverflowError, TypeError, BufferError) as error:
            raise UsageError(f"read a table at {offset}", device=self.label, why=str(error)) from None
        if status and self._takes_trap(status, f"read a table at {offset}", 4):
            return b"".join(self.read32(offset + index * stride).to_bytes(4, "little") for index in rows)
        return bytes(ffi.buffer(out, 4 * len(rows)))
