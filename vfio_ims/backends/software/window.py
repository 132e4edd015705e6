# SPDX-License-Identifier: Apache-2.0
"""A region of a device in software as a window: each access is one read or write over the link.

The MSI-X table and its pending bits are the platform's, as a mapping of the real ones would show them.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

from vfio_ims.backends.software.bulk import SoftwareBulk
from vfio_ims.counted import counted
from vfio_ims.errors import UsageError, VfioImsError
from vfio_ims.lifetime import Owner
from vfio_ims.ports.single_accesses import SingleAccesses

if TYPE_CHECKING:
    from vfio_ims.backends.software.msix import MsixShadow
    from vfio_ims.ports.link import Link
    from vfio_ims.ports.window import Window

__all__ = ["SoftwareWindow"]


class SoftwareWindow(SingleAccesses, SoftwareBulk, Owner):
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
        self._taker = None
        self._plain_access = link.plain_access(region, range(*self._special)) if hasattr(link, "plain_access") else None
        self._plain = self._plain_access
        super().__init__(name, parent)
        _WINDOWS.add(self)

    # --- state --------------------------------------------------------------------------------------------------------

    @property
    def size(self) -> int:
        return self._size

    def mapped(self, offset: int, size: int) -> bool:
        if self._taker is not None:
            return self._taker.mapped(offset, size)
        return self._shows(offset, size)

    def _shows(self, offset: int, size: int) -> bool:
        """Whether reads of this range give what a mapping shows."""
        return self._shadow is not None and self._shadow.shows(self._region, offset, size)

    def suspend(self, reason: Callable[[str], VfioImsError] | None) -> None:
        """While the device does not decode memory every access raises what ``reason`` makes; None ends that."""
        if self.closed:
            return
        if reason is None:
            self._read, self._write = self._link.read, self._link.write
            self._plain = self._plain_access if self._taker is None else None
            return

        def refuse(region: int, offset: int, what: object) -> NoReturn:
            assert reason is not None
            raise reason(f"access offset {offset:#x}")

        self._plain = None
        self._read = self._write = refuse

    @property
    def taker(self) -> Window | None:
        """What every access goes to; None: this window itself."""
        return self._taker

    def divert(self, taker: Window | None) -> None:
        """Let every access go to ``taker``, through methods that callers already hold too; None: no longer.

        ``undiverted()`` is what ``taker`` makes its own accesses with.
        """
        self._taker = taker
        whole = taker is None and not self.closed and self._read == self._link.read
        self._plain = self._plain_access if whole else None
        for name in ("_load", "_store"):
            self.__dict__.pop(name, None)
        if taker is not None:
            reads = {1: taker.read8, 2: taker.read16, 4: taker.read32, 8: taker.read64}
            writes = {1: taker.write8, 2: taker.write16, 4: taker.write32, 8: taker.write64}
            # Found before the methods of these names: a window that is not diverted pays nothing.
            self.__dict__["_load"] = lambda offset, width: reads[width](offset)
            self.__dict__["_store"] = lambda offset, width, value: writes[width](offset, value)

    def undiverted(self) -> SoftwareWindow:
        """The same window, never diverted; it is closed with this one."""
        return _Undiverted(self)

    def _release(self) -> None:
        def refuse(region: int, offset: int, what: object) -> NoReturn:
            self.check_open(f"access offset {offset:#x}")
            raise AssertionError("a closed window says who closed it")

        self._plain = self._plain_access = None
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
        raise UsageError(f"{verb} {counted(size, 'byte')} at {offset:#x}", device=self.label, why=why)

    def _refuse_guarded(self, offset: int, size: int) -> NoReturn:
        start, end = self._guard
        raise UsageError(
            f"write {counted(size, 'byte')} at {offset:#x}",
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

    def read32(self, offset: int) -> int:
        plain = self._plain
        if plain is not None and (found := plain.read32(offset)) is not None:
            return found
        return self._load(offset, 4)

    def read64(self, offset: int) -> int:
        plain = self._plain
        if plain is not None and (found := plain.read64(offset)) is not None:
            return found
        return self._load(offset, 8)

    def write32(self, offset: int, value: int) -> None:
        plain = self._plain
        if plain is None or not plain.write32(offset, value):
            self._store(offset, 4, value)

    def write64(self, offset: int, value: int) -> None:
        plain = self._plain
        if plain is None or not plain.write64(offset, value):
            self._store(offset, 8, value)

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
            raise UsageError(f"write {counted(width, 'byte')} at {offset:#x}", device=self.label, why=why) from None
        low, high = self._special
        if low < offset + width and offset < high:
            self._special_write(offset, data)
        else:
            self._write(self._region, offset, data)


class _Undiverted(SoftwareWindow):
    """A diverted window's own accesses, which are suspended and closed with it."""

    def __init__(self, original: SoftwareWindow) -> None:
        self.__dict__.update({key: kept for key, kept in vars(original).items() if key not in _OWN})
        self._original, self._taker, self._plain = original, None, None

    @property
    def _read(self) -> Callable[[int, int, int], bytes]:  # type: ignore[override]
        return self._original._read

    @property
    def _write(self) -> Callable[[int, int, bytes], None]:  # type: ignore[override]
        return self._original._write

    def _shows(self, offset: int, size: int) -> bool:
        return self._original._shows(offset, size)

    @property
    def closed(self) -> bool:
        return self._original.closed

    def check_open(self, operation: str) -> None:
        self._original.check_open(operation)

    def close(self) -> None:
        """Nothing: the window that it belongs to closes."""


_OWN = frozenset({"_read", "_write", "_load", "_store", "_taker", "_plain", "_plain_access"})
_WINDOWS: weakref.WeakSet[SoftwareWindow] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    # Accesses are not checked one by one for their process: a fork's copies refuse from the start.
    for window in list(_WINDOWS):
        SoftwareWindow._release(window)


os.register_at_fork(after_in_child=_after_fork_in_child)
