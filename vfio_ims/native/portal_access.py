# SPDX-License-Identifier: Apache-2.0
"""Stores of 64 bytes to portals through a mapped window: single ones, arrays, rows and prepared plans of rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.errors import UnsupportedError, UsageError, VfioImsError
from vfio_ims.native.lib import CData, native

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

    from vfio_ims.native.row_plan import RowPlan
    from vfio_ims.native.rows import RowColumns
    from vfio_ims.native.trap import Trap
    from vfio_ims.ports.window import Window

__all__ = ["PortalAccess"]

_SLICE = 0.1  # seconds of waiting in one compiled call; between them Python sees Ctrl-C


class PortalAccess:
    """Portal stores over a compiled window. The GIL is released meanwhile.

    Each call checks its whole range first, so that nothing is done by halves.
    """

    __slots__ = ()

    label: str
    _handle: CData
    _taker: Window | None
    _trap: Trap | None

    if TYPE_CHECKING:

        def _refused(self, status: int, operation: str, width: int) -> VfioImsError: ...

    def store64(self, offset: int, data: Buffer, *, pieces: bool = False) -> None:
        """Store 64 bytes as one write (MOVDIR64B, ST64B); ``pieces`` stores 8 times 8 bytes instead: models only.

        Raises UnsupportedError where the CPU has no such store.
        """
        if self._taker is not None or type(data) is not bytes or len(data) != 64 or offset < 0:
            self.store64_many(offset, data, 1, pieces=pieces)
            return
        status = native().lib.window_store64(self._handle, offset, data, 1, 64, 4096, pieces)
        if status and self._takes_trap(status, f"store 64 bytes at {offset}", 64):
            assert self._trap is not None
            self._trap.store64(offset, data, pieces=pieces)

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

    def store_plan(self, plan: RowPlan, depth: int, timeout: float) -> int:
        """Store all rows of ``plan`` and book them, in one compiled call: as ``store_rows``.

        -1 where its last submission is still under way: nothing was done.
        """
        if self._taker is not None:
            rows: Callable[..., int] = self._taker.store_rows  # type: ignore[attr-defined]
            return plan.store_by(rows, depth, timeout) if plan.begin() else -1
        lib, count = native().lib, plan.count
        if depth >= count:
            stored = lib.row_plan_store(self._handle, plan.c, depth, 0)
            if stored == count:
                return stored
        else:
            deadline = time.monotonic() + timeout
            stored = lib.row_plan_store(self._handle, plan.c, depth, int(min(timeout, _SLICE) * 1e9))
            while 0 <= stored < count and (left := deadline - time.monotonic()) > 0:
                stored = lib.row_plan_store_rest(self._handle, plan.c, depth, int(min(left, _SLICE) * 1e9))
        if stored == lib.ACCESS_BUSY:
            return -1
        if stored == lib.ACCESS_INVALID and plan.c.bare:
            raise UsageError("store rows", device=self.label, why="they were closed meanwhile")
        if stored < 0:
            raise self._refused(stored, f"store {counted(count, 'row')} of 64 bytes at {plan.c.offset}", 64)
        if not stored:
            plan.came_to(0)
        return stored

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
