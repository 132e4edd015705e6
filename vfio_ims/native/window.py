# SPDX-License-Identifier: Apache-2.0
"""A device's region as a window: what is mapped is reached by one compiled call an access, the rest by a trap.

Offsets, alignment, the guarded range and the state of the page are checked in C. Python looks at the outcome only when
it is not a plain value, so a checked access costs little over the bare compiled call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vfio_ims.errors import ClosedError, UsageError, VfioImsError
from vfio_ims.lifetime import Owner
from vfio_ims.native.bulk import BulkAccess
from vfio_ims.native.lib import CData, calls, native
from vfio_ims.native.outcome import refusal
from vfio_ims.native.trap import Trap

if TYPE_CHECKING:
    from vfio_ims.ports.window import Window

__all__ = ["MappedWindow", "Piece"]

_ALL_ONES = 0xFFFF_FFFF_FFFF_FFFF
_WHAT = {8: "a byte", 16: "16 bits", 32: "32 bits", 64: "64 bits"}


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole pages of ``fd`` from ``file_offset`` that appear in the window at ``offset``."""

    fd: int
    file_offset: int
    offset: int
    size: int
    writable: bool = True


class MappedWindow(BulkAccess, Owner):
    """A region of ``size`` bytes with ``pieces`` of it mapped (``vfio_ims.ports.device.Window``).

    ``guard`` is a byte range (start, end) that no write may meet. ``trap`` takes the accesses that no mapping allows;
    without one they are a UsageError; the caller closes it. The pieces' descriptors may be closed once the window is
    made. Reads and writes may come from several threads; close() waits for those under way. A mapped access that the
    machine answers with SIGBUS raises DeviceError. Raises UsageError for pieces that are not whole pages within the
    region, SetupError where the kernel refuses to map.
    """

    __slots__ = (
        "_address",
        "_c_read8",
        "_c_read16",
        "_c_read32",
        "_c_read64",
        "_c_status",
        "_c_store_list",
        "_c_write8",
        "_c_write16",
        "_c_write32",
        "_c_write64",
        "_c_write_table",
        "_handle",
        "_parented",
        "_size",
        "_taker",
        "_trap",
    )  # fmt: skip

    def __init__(
        self,
        size: int,
        pieces: Sequence[Piece] = (),
        *,
        guard: tuple[int, int] | None = None,
        trap: Trap | None = None,
        label: str = "window",
        parent: Owner | None = None,
    ) -> None:
        ffi, lib = native()
        if not 0 < size <= 1 << 46:
            raise UsageError("make a window", device=label, why=f"its size must be 1..2**46 bytes, not {size!r}")
        handle = lib.window_new(size)
        if handle == ffi.NULL:
            raise UsageError(f"reserve {size:#x} bytes of addresses", device=label, errno=ffi.errno)
        # The handle's own memory outlives the mapping, so that a late access finds "closed" in it.
        self._handle: CData = ffi.gc(handle, lib.window_free)
        self._address = int(ffi.cast("uintptr_t", handle))
        self._c_write_table, self._c_store_list = calls().write_table, calls().store_list
        self._size, self._trap = size, trap
        self._call_compiled()
        for piece in pieces:
            self._map(piece, label)
        if guard is not None:
            lib.window_guard(self._handle, *guard)
        self._parented = parent is not None
        super().__init__(label, parent)

    def _call_compiled(self) -> None:
        """Let the single accesses go to the compiled functions."""
        lib = native().lib
        self._c_read8, self._c_read16 = lib.window_read8, lib.window_read16
        self._c_read32, self._c_read64 = lib.window_read32, lib.window_read64
        self._c_write8, self._c_write16 = lib.window_write8, lib.window_write16
        self._c_write32, self._c_write64 = lib.window_write32, lib.window_write64
        self._c_status, self._taker = lib.window_status, None

    @property
    def taker(self) -> Window | None:
        """What every access goes to; None: this window itself."""
        return self._taker

    def divert(self, taker: Window | None) -> None:
        """Let every access go to ``taker``, through methods that callers already hold too; None: no longer.

        ``undiverted()`` is what ``taker`` makes its own accesses with. A window that is not diverted pays nothing for
        it, but for one test in what moves many values.
        """
        native().lib.window_divert(self._handle, taker is not None)
        self._call_compiled()
        if taker is None:
            return
        self._taker = taker
        # In the compiled functions' place: an answer that is none of their error codes goes straight to the caller.
        self._c_read8, self._c_read16 = _reader(taker.read8), _reader(taker.read16)
        self._c_read32, self._c_read64 = _reader(taker.read32), _reader(taker.read64)
        self._c_write8, self._c_write16 = _writer(taker.write8), _writer(taker.write16)
        self._c_write32, self._c_write64 = _writer(taker.write32), _writer(taker.write64)
        self._c_status = _no_error

    def undiverted(self) -> MappedWindow:
        """The same mapping, never diverted; it is closed with this window."""
        return _Undiverted(self)

    def _map(self, piece: Piece, label: str) -> None:
        from vfio_ims.native.failure import failed

        where = (piece.offset, piece.size, piece.fd, piece.file_offset, piece.writable)
        error = -native().lib.window_map(self._handle, *where)
        if error:
            raise failed(error, f"map {piece.size:#x} bytes at {piece.offset:#x}", label)

    @property
    def handle(self) -> CData:
        """The compiled window, for compiled calls of others; accesses with it go through no ``taker``."""
        return self._handle

    @property
    def size(self) -> int:
        """The region's size in bytes."""
        return self._size

    def mapped(self, offset: int, size: int) -> bool:
        """Whether reads of this range go through a mapping, this one's or its trap's."""
        self.check_open("look at the window")
        if self._taker is not None:
            return self._taker.mapped(offset, size)
        if native().lib.window_mapped(self._handle, offset, size):
            return True
        return self._trap is not None and self._trap.mapped(offset, size)

    def read8(self, offset: int) -> int:
        """One load of 8 bits."""
        try:
            value = self._c_read8(self._handle, offset)
        except (OverflowError, TypeError):
            raise self._bad_read(offset) from None
        return value if value >= 0 else self._read_otherwise(value, offset, 8)

    def read16(self, offset: int) -> int:
        """One load of 16 bits."""
        try:
            value = self._c_read16(self._handle, offset)
        except (OverflowError, TypeError):
            raise self._bad_read(offset) from None
        return value if value >= 0 else self._read_otherwise(value, offset, 16)

    def read32(self, offset: int) -> int:
        """One load of 32 bits."""
        try:
            value = self._c_read32(self._handle, offset)
        except (OverflowError, TypeError):
            raise self._bad_read(offset) from None
        return value if value >= 0 else self._read_otherwise(value, offset, 32)

    def read64(self, offset: int) -> int:
        """One load of 64 bits."""
        try:
            value = self._c_read64(self._handle, offset)
        except (OverflowError, TypeError):
            raise self._bad_read(offset) from None
        if value == _ALL_ONES and (status := self._c_status()):
            return self._read_otherwise(status, offset, 64)
        return value

    def write8(self, offset: int, value: int) -> None:
        """One store of 8 bits."""
        try:
            status = self._c_write8(self._handle, offset, value)
        except (OverflowError, TypeError):
            raise self._bad_write(offset, value, 8) from None
        if status:
            self._write_otherwise(status, offset, value, 8)

    def write16(self, offset: int, value: int) -> None:
        """One store of 16 bits."""
        try:
            status = self._c_write16(self._handle, offset, value)
        except (OverflowError, TypeError):
            raise self._bad_write(offset, value, 16) from None
        if status:
            self._write_otherwise(status, offset, value, 16)

    def write32(self, offset: int, value: int) -> None:
        """One store of 32 bits."""
        try:
            status = self._c_write32(self._handle, offset, value)
        except (OverflowError, TypeError):
            raise self._bad_write(offset, value, 32) from None
        if status:
            self._write_otherwise(status, offset, value, 32)

    def write64(self, offset: int, value: int) -> None:
        """One store of 64 bits."""
        try:
            status = self._c_write64(self._handle, offset, value)
        except (OverflowError, TypeError):
            raise self._bad_write(offset, value, 64) from None
        if status:
            self._write_otherwise(status, offset, value, 64)

    def _bad_read(self, offset: object) -> UsageError:
        return UsageError("read a register", device=self.label, why=f"the offset must be a number, not {offset!r}")

    def _bad_write(self, offset: object, value: object, bits: int) -> UsageError:
        if isinstance(value, int) and not 0 <= value < 1 << bits:
            why = f"the value must be {bits} bits, not {value:#x}"
        else:
            why = f"offset and value must be numbers, not {offset!r} and {value!r}"
        return UsageError("write a register", device=self.label, why=why)

    def _read_otherwise(self, status: int, offset: int, bits: int) -> int:
        """The other side's answer where no mapping allows the access, else the error."""
        if status == native().lib.ACCESS_TRAPPED and self._trap is not None:
            value: int = getattr(self._trap, f"read{bits}")(offset)
            return value
        raise self._refused(status, f"read {_WHAT[bits]} at {offset:#x}", bits // 8)

    def _write_otherwise(self, status: int, offset: int, value: int, bits: int) -> None:
        if status == native().lib.ACCESS_TRAPPED and self._trap is not None:
            getattr(self._trap, f"write{bits}")(offset, value)
            return
        raise self._refused(status, f"write {_WHAT[bits]} at {offset:#x}", bits // 8)

    def _refused(self, status: int, operation: str, width: int) -> VfioImsError:
        try:
            self.check_open(operation)  # knows who closed it
        except ClosedError as closed:
            return closed
        return refusal(status, operation, self.label, width=width, size=self._size)

    def _release(self) -> None:
        native().lib.window_close(self._handle)

    def __del__(self) -> None:
        if getattr(self, "_parented", False):  # its device closes it; dropped before, it only gives addresses back
            return
        super().__del__()


def _reader(read: Callable[[int], int]) -> Callable[[CData, int], int]:
    return lambda handle, offset: read(offset)


def _writer(write: Callable[[int, int], None]) -> Callable[[CData, int, int], int]:
    def store(handle: CData, offset: int, value: int) -> int:
        write(offset, value)
        return 0

    return store


def _no_error() -> int:
    return 0


class _Undiverted(MappedWindow):
    """A diverted window's own accesses. It owns nothing: the handle is the other's, which closes it."""

    __slots__ = ("_original",)

    def __init__(self, original: MappedWindow) -> None:
        self._original, self._handle = original, original._handle
        self._size, self._trap, self._parented = original._size, original._trap, True
        self.label, self._address = original.label, original._address
        self._c_write_table, self._c_store_list = original._c_write_table, original._c_store_list
        self._call_compiled()

    def check_open(self, operation: str) -> None:
        self._original.check_open(operation)

    def close(self) -> None:
        """Nothing: the window that it belongs to closes."""
