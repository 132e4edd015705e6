# SPDX-License-Identifier: Apache-2.0
"""64-byte stores by ST64B, in an emulated process whose illegal instruction st64b.c carries out.

Prints what each call left in memory, how many instructions that took, and where the last one stored, as JSON.
"""

import ctypes
import json
import mmap
import sys
from array import array
from collections.abc import Callable

from vfio_ims.native.command_portal import CommandPortal, CreditPool
from vfio_ims.native.cpu import has_store64
from vfio_ims.native.lib import native
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.ring import EntryRing
from vfio_ims.native.rows import RowColumns
from vfio_ims.native.window import MappedWindow, Piece

PAGE = mmap.PAGESIZE


def main() -> None:
    assert has_store64()
    carried_out = ctypes.CDLL(None)
    count, last = (ctypes.c_uint64.in_dll(carried_out, name) for name in ("st64b_count", "st64b_last"))
    with SharedMemory(PAGE) as memory, MappedWindow(PAGE, [Piece(memory.fd, 0, 0, PAGE)]) as window:

        def left(action: Callable[[], object]) -> dict[str, object]:
            memory.view[:] = bytes([0xEE]) * PAGE
            before = count.value
            action()
            lines = {at: bytes(memory.view[at : at + 64]) for at in range(0, PAGE, 64)}
            changed = {at: line.hex() for at, line in lines.items() if line != bytes([0xEE]) * 64}
            return {"lines": changed, "count": count.value - before, "last": last.value % PAGE}

        line = bytes(range(64))
        numbers = RowColumns([], [(8, 8)])
        numbers.count_up(0, 0x1122_3344_5566_7788, 1)
        commands = CommandPortal(
            window, 0xC00, "it", pieces=False, column=(12, 2), acknowledge=1 << 56, number_at=12, most=4
        )
        commands.give_to(CreditPool(0))
        numbered, ffi = array("Q", range(1, 303)), native().ffi
        held = ffi.from_buffer(numbered), ffi.from_buffer(array("H", range(302)))

        def send() -> None:
            assert commands.store(commands.c, CreditPool(302).c, 7, *held, 302) == 0

        def take() -> None:
            with SharedMemory(PAGE) as entries, entries.view as view:
                view[:160] = bytes([1]) * 160
                ring = EntryRing(view, entries.address, 16, 16, 15, 1)
                assert commands.take(commands.c, ring.c, 16, ring.room()) == 10

        found = {
            "one": left(lambda: window.store64(0x240, line)),
            "many": left(lambda: window.store64_many(0x400, line + line[::-1] + bytes(64), 3, span=128)),
            "rows": left(lambda: window.store_rows(0x800, line, 3, numbers, start=0x40, span=0x100)),
            "commands": left(send),
            "acknowledgements": left(take),
        }
        json.dump(found, sys.stdout)


main()
