# SPDX-License-Identifier: Apache-2.0
"""A ring of entries in our memory that a device fills in turn, with bits that change on each lap for what is new."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from vfio_ims.counted import counted
from vfio_ims.errors import UsageError
from vfio_ims.interruption import break_off, uninterrupted
from vfio_ims.native.lib import CData, native
from vfio_ims.native.outcome import refusal

__all__ = ["EntryRing"]


class EntryRing:
    """``entries`` of ``size`` bytes in ``view``, which is at ``address``, and all zero at first.

    The bits ``mask`` of byte ``flag_at`` of an entry are all 1 on the first lap, all 0 on the next, and so on.
    UsageError where the view has not so many entries.
    """

    __slots__ = ("_view", "c", "entries", "room", "size")

    def __init__(self, view: memoryview, address: int, entries: int, size: int, flag_at: int, mask: int) -> None:
        if not 0 < entries < 1 << 31 or not 0 <= flag_at < size or view.nbytes < entries * size or not 0 < mask < 256:
            what = f"{counted(entries, 'entry')} of {size} bytes, with bits {mask:#x} in byte {flag_at}"
            raise UsageError("make a ring of entries", why=f"{what}, do not fit {view.nbytes} bytes")
        ffi, lib = native()
        self._view, self.entries, self.size = view, entries, size
        self.c: CData = ffi.new("struct entry_ring *")
        self.c.start = ffi.cast("char *", address)
        self.c.entries, self.c.size, self.c.flag_at, self.c.mask = entries, size, flag_at, mask
        lib.entry_ring_own(self.c)
        self.room: Callable[[], CData] = partial(
            ffi.new_allocator(should_clear_after_alloc=False), ffi.typeof(f"char[{entries * size}]")
        )
        """Makes room for all entries, as bytes; not cleared."""

    def restart(self) -> None:
        """As before the first entry: the device's write pointer is 0 again."""
        length = self.size * self.entries
        self._view[:length] = bytes(length)
        native().lib.entry_ring_restart(self.c)

    def take(self, limit: int, out: CData, acknowledge: Callable[[int], object]) -> int:
        """Copy what is new, up to ``limit`` entries, to ``out``, a ``room``; ``acknowledge(count)`` and take it.

        Returns how many, also 0. Where ``acknowledge`` raises nothing is taken. Waits for another thread that does.
        ClosedError in a forked child.
        """
        lib, c, taken = native().lib, self.c, 0
        with uninterrupted():
            while status := lib.entry_ring_begin(c):
                if status != lib.ACCESS_BUSY:
                    raise refusal(status, "take entries", "ring")
                break_off()
                time.sleep(0)
            try:
                found = lib.entry_ring_copy(c, max(0, min(limit, self.entries)), out)
                if found:
                    acknowledge(found)
                taken = found
            finally:
                lib.entry_ring_end(c, taken)
        return taken

    @property
    def taken(self) -> int:
        """How many were taken in all."""
        return int(self.c.taken)

    def close(self) -> None:
        """Let go of the memory, once no other thread reads it: nothing is new any more."""
        lib = native().lib
        self.c.closed = 1
        while lib.entry_ring_begin(self.c) == lib.ACCESS_BUSY:
            time.sleep(0)
        lib.entry_ring_end(self.c, 0)
        self._view.release()
