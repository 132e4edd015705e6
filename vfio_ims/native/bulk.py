# SPDX-License-Identifier: Apache-2.0
"""Many registers in one compiled call: the half of a mapped window that moves more than one value."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.errors import UnsupportedError, UsageError, VfioImsError
from vfio_ims.native.lib import CData, native

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

    from vfio_ims.native.rows import RowColumns
    from vfio_ims.native.trap import Trap
    from vfio_ims.ports.window import Window

__all__ = ["BulkAccess"]

_SLICE = 0.1  # seconds of polling in one compiled call; between them Python sees Ctrl-C


@lru_cache(maxsize=64)
def _flat(steps: tuple[tuple[int, int], ...]) -> CData:
    """A table's steps as C takes them: a driver writes in the same steps over and over."""
    return native()[0].new("uint32_t[]", [part for step in steps for part in step])


class BulkAccess:
    """Blocks, tables, polling and portal stores over a compiled window. The GIL is released meanwhile.

    Each call checks its whole range first, so that nothing is done by halves. Where part of a range has no mapping,
    the whole call goes register by register, each through its mapping or its trap.
    """

    __slots__ = ()

    label: str
    _handle: CData
    _taker: Window | None
    _trap: Trap | None

    if TYPE_CHECKING:
        # The single accesses, for what no mapping allows.
        def read8(self, offset: int) -> int: ...
        def read32(self, offset: int) -> int: ...
        def write32(self, offset: int, value: int) -> None: ...
        def _refused(self, status: int, operation: str, width: int) -> VfioImsError: ...

    def read_block(self, offset: int, count: int, width: int = 4) -> bytes:
        """Read ``count`` registers of ``width`` (1, 2, 4, 8) bytes, ascending, each once."""
        if self._taker is not None:
            return self._taker.read_block(offset, count, width)
        ffi, lib = native()
        operation = f"read {count} registers of {width} bytes at {offset}"
        self._check(operation, offset, count, width)
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
        if self._taker is not None:
            self._taker.write_table(offset, stride, indices, steps, words)
            return
        ffi, lib = native()
        try:
            rows, values = ffi.from_buffer("uint32_t[]", indices), ffi.from_buffer("uint32_t[]", words)
            flat, count = _flat(tuple(steps)), len(rows)
            per_row, left = divmod(len(values), count) if count else (0, len(values))
            if left:
                raise ValueError(
                    f"the words must be equally many for each of {counted(count, 'row')}, not {len(values)} in all"
                )
            status = lib.window_write_table(
                self._handle, offset, stride, rows, count, flat, len(steps), values, per_row
            )
        except (ValueError, OverflowError, TypeError) as error:
            raise UsageError(f"write a table at {offset}", device=self.label, why=str(error)) from None
        if status and self._takes_trap(status, f"write a table at {offset}", 4):
            for row in range(count):
                for at, source in steps:
                    self.write32(offset + rows[row] * stride + at, values[row * per_row + source])

    def read_table(self, offset: int, stride: int, indices: Buffer) -> bytes:
        """Read the 32-bit word at ``offset + index * stride`` of each row, once, in the order of ``indices``."""
        if self._taker is not None:
            return self._taker.read_table(offset, stride, indices)
        ffi, lib = native()
        try:
            rows = ffi.from_buffer("uint32_t[]", indices)
            if memoryview(indices).nbytes != 4 * len(rows):
                raise ValueError("the rows' numbers must be native uint32")
            out = ffi.new("uint32_t[]", max(len(rows), 1))
            status = lib.window_read_table(self._handle, offset, stride, rows, len(rows), out)
        except (ValueError, OverflowError, TypeError) as error:
            raise UsageError(f"read a table at {offset}", device=self.label, why=str(error)) from None
        if status and self._takes_trap(status, f"read a table at {offset}", 4):
            return b"".join(self.read32(offset + index * stride).to_bytes(4, "little") for index in rows)
        return bytes(ffi.buffer(out, 4 * len(rows)))

    def store64(self, offset: int, data: Buffer, *, pieces: bool = False) -> None:
        """Store 64 bytes as one write (MOVDIR64B, ST64B); ``pieces`` stores 8 times 8 bytes instead: models only.

        Raises UnsupportedError where the CPU has no such store.
        """
        self.store64_many(offset, data, 1, pieces=pieces)

    def store64_many(
        self, offset: int, data: Buffer, count: int, *, stride: int = 64, span: int = 4096, pieces: bool = False
    ) -> None:
        """Store ``count`` descriptors of 64 bytes, the i-th at ``offset + i * stride % span``: round a page."""
        if self._taker is not None:
            self._taker.store64_many(offset, data, count, stride=stride, span=span, pieces=pieces)
            return
        ffi, lib = native()
        operation = f"store {count} times 64 bytes at {offset}"
        self._check(operation, offset, count, 64)
        source = ffi.from_buffer(data)
        if len(source) != 64 * count:
            raise UsageError(
                operation, device=self.label, why=f"the data must be {64 * count} bytes, not {len(source)}"
            )
        status = lib.window_store64(self._handle, offset, source, count, stride, span, pieces)
        if self._takes_trap(status, operation, 64):
            assert self._trap is not None
            view = bytes(ffi.buffer(source))
            for i in range(count):
                self._trap.store64(offset + i * stride % span, view[64 * i : 64 * i + 64], pieces=pieces)

    def store_rows(
        self,
        offset: int,
        pattern: bytes,
        count: int,
        columns: RowColumns,
        records: int = 0,
        step: int = 0,
        depth: int = 0,
        timeout: float = 0.0,
        *,
        start: int = 0,
        stride: int = 64,
        span: int = 4096,
        pieces: bool = False,
    ) -> int:
        """Store ``count`` rows of 64 bytes to a portal, made of a ``pattern`` and of ``columns``, in one compiled call.

        The i-th row goes to ``offset + (start + i * stride) % span``, all of which must be mapped; ``start`` and
        ``span`` are multiples of ``stride``, a multiple of 64. ClosedError if the window is closed meanwhile. Row i
        completes in the record at address ``records + i * step``: the records are cleared first, and with a ``depth``
        at most so many rows are under way: before row i >= depth, the first byte of record i - depth must be other
        than 0. Returns how many were stored when ``timeout`` seconds were over.
        """
        if self._taker is not None:
            return self._taker.store_rows(  # type: ignore[attr-defined, no-any-return]
                offset, pattern, count, columns, records, step, depth, timeout,
                start=start, stride=stride, span=span, pieces=pieces,
            )  # fmt: skip
        if len(pattern) != 64 or not columns.filled:
            why = "the pattern must have 64 bytes, and each column its values"
            raise UsageError("store rows", device=self.label, why=why)
        slice_ns, deadline = 0, 0.0
        if depth:
            slice_ns, deadline = int(min(timeout, _SLICE) * 1e9), time.monotonic() + timeout
        following = columns.following
        following[0] = 0
        while True:
            try:
                status = native().lib.window_store_rows(
                    self._handle, offset, start, stride, span, pieces, pattern, count, columns.table, columns.size,
                    records, step, depth, slice_ns, following,
                )  # fmt: skip
            except OverflowError as error:
                raise UsageError("store rows", device=self.label, why=f"numbers must be of 64 bits: {error}") from None
            if status:
                raise self._refused(status, f"store {counted(count, 'row')} of 64 bytes at {offset}", 64)
            stored: int = following[0]
            if stored >= count or timeout <= _SLICE:
                return stored
            timeout = max(0.0, deadline - time.monotonic())

    def enqueue64(self, offset: int, data: Buffer) -> bool:
        """Refused: without a PASID of this process's own, ENQCMD raises a general-protection fault, which kills it.

        (Linux: arch/x86/kernel/traps.c fixes the fault up only for a process with an mm PASID; VFIO gives none.)
        """
        raise UnsupportedError(
            f"enqueue 64 bytes at {offset}",
            device=self.label,
            why="ENQCMD behind VFIO kills the process: VFIO gives it no PASID of its own",
            hint="use a dedicated queue and store64",
        )

    def _check(self, operation: str, offset: int, count: int, width: int) -> None:
        """What cffi would refuse in its own words, and widths that no register has."""
        if width not in (1, 2, 4, 8, 64):
            raise UsageError(operation, device=self.label, why=f"the width must be 1, 2, 4 or 8 bytes, not {width!r}")
        if offset < 0 or count < 0:
            raise UsageError(operation, device=self.label, why="offset and count must not be negative")

    def _takes_trap(self, status: int, operation: str, width: int) -> bool:
        """False: done. True: no mapping allows it, but the trap may. Anything else raises."""
        if status == 0:
            return False
        if status == native().lib.ACCESS_TRAPPED and self._trap is not None:
            return True
        raise self._refused(status, operation, width)
