# SPDX-License-Identifier: Apache-2.0
"""Accesses that set off nothing, answered in one step: registers without hooks, and the words of a plain slot table."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Sequence
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from vfio_ims.models.config_space import ModelConfig
    from vfio_ims.models.register_file import RegisterFile
    from vfio_ims.models.slot_store import SlotStore
    from vfio_ims.registers import Register

__all__ = ["PlainAccess"]

_WORD, _LONG = Struct("<I"), Struct("<Q")
_LONG_MAX = (1 << 64) - 1


class PlainAccess:
    """The accesses to one BAR that need no hook: a mount asks here before it goes through the model's own methods.

    Each does the whole of such an access, the model's lock included. None or False: it is not one of these, and then
    nothing was done; so also while the function sleeps, or has something left to do.

    ``waiting``: what the model has to do yet. ``hooks``: of reads and of writes, by register. ``shown``, ``stored``:
    the tables whose words are only read, and only stored; None where there is none. ``excluded``: offsets of the BAR
    that the mount answers by itself. ``looked_at``: those whose writes the model looks at; None: all.
    """

    __slots__ = ("_busy", "_lock", "_shown", "_stored", "read32", "read64", "write32", "write64")

    def __init__(
        self,
        lock: threading.RLock,
        waiting: Collection[object],
        config: ModelConfig,
        file: RegisterFile | None,
        hooks: tuple[Collection[Register], Collection[Register]],
        shown: SlotStore | None,
        stored: SlotStore | None,
        excluded: range,
        looked_at: range | None,
    ) -> None:
        shown, stored = _outside(shown, excluded), _outside(stored, excluded)
        self._lock, self._shown, self._stored = lock, shown, stored
        busy: Callable[[], bool] = lambda: bool(waiting) or config.asleep  # noqa: E731
        self._busy = busy
        memory = bytearray() if file is None else file.memory
        over = range(0) if shown is None else shown.span  # what lies over registers is seen first
        words, longs = (_read_places(file, width, hooks[0], excluded, over) for width in (4, 8))
        start, size = over.start, len(over)
        table = bytearray() if shown is None else shown.memory

        def read32(offset: int) -> int | None:
            with lock:
                if waiting or config.asleep:
                    return None
                if offset in words:
                    return _WORD.unpack_from(memory, offset)[0]  # type: ignore[no-any-return]
                at = offset - start
                if 0 <= at < size and not at & 3:
                    return _WORD.unpack_from(table, at)[0]  # type: ignore[no-any-return]
            return None

        def read64(offset: int) -> int | None:
            with lock:
                if offset in longs and not waiting and not config.asleep:
                    return _LONG.unpack_from(memory, offset)[0]  # type: ignore[no-any-return]
            return None

        self.read32: Callable[[int], int | None] = read32
        self.read64: Callable[[int], int | None] = read64
        apart = None if looked_at is None else (excluded, over, looked_at)
        kept = _Written(file if apart else None, hooks[1], apart or ())
        bits_of, longs_of, bits = kept.words.get, kept.longs.get, kept.bits
        store = None if stored is None else stored.store_plain
        first, length = (0, 0) if stored is None else (stored.span.start, len(stored.span))

        def write32(offset: int, value: int) -> bool:
            if not isinstance(value, int) or not 0 <= value <= 0xFFFF_FFFF:  # type: ignore[redundant-expr]
                return False
            with lock:
                if waiting or config.asleep:
                    return False
                at = offset - first
                if 0 <= at < length:
                    return not at & 3 and store is not None and store(at, value)
                found = bits_of(offset)
                if found is None and (found := bits(offset, 4)) is None:
                    return False
                (old,), (changes, clears) = _WORD.unpack_from(memory, offset), found
                _WORD.pack_into(memory, offset, (old & ~changes | value & changes) & ~(value & clears))
            return True

        def write64(offset: int, value: int) -> bool:
            if not isinstance(value, int) or not 0 <= value <= _LONG_MAX:  # type: ignore[redundant-expr]
                return False
            with lock:
                if waiting or config.asleep:
                    return False
                found = longs_of(offset)
                if found is None and (found := bits(offset, 8)) is None:
                    return False
                (old,), (changes, clears) = _LONG.unpack_from(memory, offset), found
                _LONG.pack_into(memory, offset, (old & ~changes | value & changes) & ~(value & clears))
            return True

        self.write32: Callable[[int, int], bool] = write32
        self.write64: Callable[[int, int], bool] = write64

    def read_many(self, offsets: Sequence[int], width: int) -> bytes | None:
        """``width`` bytes at each of ``offsets``: words that are all in the table, or 8 bytes each of registers."""
        table = self._shown if width == 4 else None
        if width == 8:
            found = [value for offset in offsets if (value := self.read64(offset)) is not None]
            return array("Q", found).tobytes() if len(found) == len(offsets) else None
        if table is None or not offsets:
            return None
        start, stop = table.span.start, table.span.stop
        if min(offsets) < start or max(offsets) >= stop or start & 3:
            return None
        with self._lock:
            if self._busy():
                return None
            if isinstance(offsets, range) and offsets.step == 4 and not offsets.start & 3:
                return bytes(table.memory[offsets.start - start : offsets.stop - start])
            words = table.words_in_order
            if words is None or [offset for offset in offsets if offset & 3]:
                return None
            return array("I", [words[(offset - start) >> 2] for offset in offsets]).tobytes()

    def write_rows(
        self, offset: int, stride: int, rows: Sequence[int], steps: Sequence[tuple[int, int]], cells: memoryview
    ) -> bool:
        """What ``Window.write_table`` does: ``cells`` are 32-bit words, as many for each of ``rows``."""
        table = self._stored
        if table is None or offset != table.span.start or stride != table.layout.stride:
            return False
        with self._lock:
            return not self._busy() and table.store_rows(rows, steps, cells)


def _outside(table: SlotStore | None, excluded: range) -> SlotStore | None:
    """``table``, unless some of its words are the mount's to answer."""
    if table is not None and excluded.start < table.span.stop and table.span.start < excluded.stop:
        return None
    return table


class _Written:
    """Which bits a write to a register changes, and which it clears: worked out once for each place that is written.

    ``apart``: where a write is not the file's alone.
    """

    def __init__(self, file: RegisterFile | None, hooked: Collection[Register], apart: Collection[range]) -> None:
        self._file, self._hooked, self._apart = file, hooked, apart
        self.words: dict[int, tuple[int, int]] = {}
        self.longs: dict[int, tuple[int, int]] = {}

    def bits(self, at: int, width: int) -> tuple[int, int] | None:
        """Of ``width`` bytes at ``at``; None where such a write sets something off, or is no register's."""
        file = self._file
        if file is None or [span for span in self._apart if at < span.stop and span.start < at + width]:
            return None
        found = file.plain_put(at, width, self._hooked)
        if found is not None:
            (self.words if width == 4 else self.longs)[at] = found
        return found


def _read_places(file: RegisterFile | None, width: int, hooked: Collection[Register], *apart: range) -> frozenset[int]:
    """Where ``width`` bytes of registers can be read as they are."""
    if file is None:
        return frozenset()
    return frozenset(
        at
        for at in file.plain_places(width, hooked)
        if not any(at < span.stop and span.start < at + width for span in apart)
    )
