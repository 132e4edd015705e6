# SPDX-License-Identifier: Apache-2.0
"""Compiled access to this process's own memory: single loads and stores, waiting for completion records, bulk copies.

Addresses are not checked. They are those of memory that the caller keeps: beside each address it holds a view of the
memory, which then outlives the buffer (``Buffer.address``).
"""

from __future__ import annotations

import array
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vfio_ims.errors import UsageError
from vfio_ims.native.lib import CData, calls, native
from vfio_ims.native.watch import watch

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer as Buffer

__all__ = [
    "MemoryGone",
    "change",
    "clear_each",
    "collect",
    "copy",
    "fill",
    "load",
    "load_each",
    "poll_any",
    "poll_memory",
    "scatter",
    "store",
]

_SLICE = 0.1  # seconds of polling in one compiled call; between them Python sees Ctrl-C


class MemoryGone(Exception):
    """Mapped memory is not there: its file was cut, or its file system has no room for the page.

    It passes from the compiled layer to the code that mapped the file, which says what that means.
    """


def copy(to: int, source: int, size: int) -> None:
    """Copy ``size`` bytes, which may overlap, with the GIL released.

    Raises MemoryGone where one side is the file of another process, mapped as a ``SharedFile``, and has been cut.
    """
    if native().lib.memory_copy(to, source, size):
        raise MemoryGone


def fill(to: int, byte: int, size: int) -> None:
    """Set ``size`` bytes to ``byte``, with the GIL released. Raises MemoryGone, as ``copy``."""
    if native().lib.memory_fill(to, byte, size):
        raise MemoryGone


def load(address: int, width: int) -> int:
    """One load of ``width`` (1, 2, 4, 8) bytes; later loads come after it."""
    _check(address, width)
    watcher = watch.by
    if watcher is None:
        return native().lib.memory_load(address, width)
    with watcher.looking():
        return native().lib.memory_load(address, width)


def store(address: int, width: int, value: int) -> None:
    """One store of ``width`` (1, 2, 4, 8) bytes; it comes after earlier stores."""
    _check(address, width)
    if not 0 <= value < 1 << 8 * width:
        raise UsageError(f"store {width} bytes", why=f"the value must be 0..{(1 << 8 * width) - 1:#x}, not {value!r}")
    native().lib.memory_store(address, width, value)


def load_each(addresses: Sequence[int], width: int) -> list[int]:
    """``load`` of ``width`` bytes at each of ``addresses``, in their order."""
    for address in addresses:
        if address % width:
            _check(address, width)
    read = native().lib.memory_load
    if watch.by is None:
        return [read(address, width) for address in addresses]
    with watch.by.looking():
        return [read(address, width) for address in addresses]


def clear_each(addresses: Sequence[int], width: int) -> None:
    """``store`` of ``width`` bytes of 0 at each of ``addresses``."""
    write = native().lib.memory_store
    for address in addresses:
        if address % width:
            _check(address, width)
        write(address, width, 0)


def change(address: int, *, clear: int = 0, set: int = 0) -> int:  # noqa: A002 - the bits' own word
    """Clear, then set bits of the 32-bit word at ``address`` in one atomic step; what was there before.

    For a word that another process stores to as well: its store is either before or after, never undone.
    """
    _check(address, 4)
    return native().lib.memory_change(address, clear, set)


def poll_memory(address: int, width: int, mask: int, expected: int, timeout: float, *, differs: bool = False) -> int:
    """Load until ``value & mask == expected`` (``!=`` with ``differs``) or ``timeout`` seconds have passed.

    For completion records, which a device writes. Spins; the GIL is released. Returns the last value loaded.
    """
    _check(address, width)
    if watch.by is not None:
        with watch.by.looking():
            return _poll_memory(address, width, mask, expected, timeout, differs)
    return _poll_memory(address, width, mask, expected, timeout, differs)


def _poll_memory(address: int, width: int, mask: int, expected: int, timeout: float, differs: bool) -> int:
    lib = native().lib
    deadline = time.monotonic() + timeout
    while True:
        left = max(0.0, deadline - time.monotonic())
        slice_ns = int(min(left, _SLICE) * 1e9)
        value = lib.memory_poll(address, width, mask, expected, differs, slice_ns)
        if ((value & mask) == expected) != differs or left <= _SLICE:
            return value


def poll_any(
    addresses: Sequence[int] | Buffer,
    width: int,
    mask: int,
    expected: int,
    timeout: float,
    *,
    differs: bool = False,
) -> list[int]:
    """Which of many places satisfy that: their positions in ``addresses``, once at least one does; [] after the time.

    ``addresses`` are numbers, or a buffer of native uint64, which costs nothing to pass.
    """
    ffi = native().ffi
    given: Any = array.array("Q", addresses) if isinstance(addresses, (list, tuple, range)) else addresses
    places = ffi.from_buffer("uint64_t[]", given)
    for place in places[0 : min(1, len(places))]:
        _check(place, width)
    if watch.by is not None:
        with watch.by.looking():
            return _poll_any(places, width, mask, expected, timeout, differs)
    return _poll_any(places, width, mask, expected, timeout, differs)


def _poll_any(places: CData, width: int, mask: int, expected: int, timeout: float, differs: bool) -> list[int]:
    ffi, lib = native()
    found = ffi.new("uint32_t[]", max(1, len(places)))
    deadline = time.monotonic() + timeout
    while True:
        left = max(0.0, deadline - time.monotonic())
        slice_ns = int(min(left, _SLICE) * 1e9)
        count = lib.memory_poll_any(places, len(places), width, mask, expected, differs, slice_ns, found)
        if count or left <= _SLICE:
            return [found[i] for i in range(count)]


def collect(first: int, step: int, count: int, timeout: float) -> bytearray:
    """The bytes at ``first + i * step``, once each is not 0, in one compiled loop.

    After ``timeout`` seconds only those before the first that still is 0. For arrays of completion records.
    """
    if watch.by is None:
        out = calls().collect(first, step, count)
        return _collect(first, step, count, timeout) if out is None else out
    with watch.by.looking():
        return _collect(first, step, count, timeout)


def _collect(first: int, step: int, count: int, timeout: float) -> bytearray:
    ffi, lib = native()
    out = bytearray(count)
    place = ffi.from_buffer(out)
    done = lib.memory_collect(first, step, count, 0, place)
    deadline = time.monotonic() + timeout
    while done < count and (left := deadline - time.monotonic()) > 0:
        slice_ns = int(min(left, _SLICE) * 1e9)
        done += lib.memory_collect(first + done * step, step, count - done, slice_ns, place + done)
    return out if done == count else out[:done]


def scatter(rows: Buffer, at: int, step: int, values: Buffer, width: int) -> bool:
    """Copy ``values``, of 2, 4 or 8 bytes each, to every ``step`` bytes of ``rows`` from ``at`` on; whether one is 0.

    In one compiled loop: a column of a table whose rows are ``step`` bytes. UsageError where they do not fit.
    """
    ffi, lib = native()
    to, column = ffi.from_buffer(rows, require_writable=True), ffi.from_buffer(values)
    count, rest = divmod(len(column), width)
    over = count and at + (count - 1) * step + width > len(to)
    if width not in (2, 4, 8) or rest or at < 0 or step < width or over:
        why = f"{len(column)} bytes in pieces of {width}, from {at} on each {step}, do not fit {len(to)}"
        raise UsageError("fill a column of a table", why=why)
    return bool(lib.memory_scatter(to + at, step, column, width, count))


def _check(address: int, width: int) -> None:
    if width not in (1, 2, 4, 8):
        raise UsageError("access memory", why=f"the width must be 1, 2, 4 or 8 bytes, not {width!r}")
    if address % width:
        raise UsageError("access memory", why=f"the address must be a multiple of {width}, not {address:#x}")
