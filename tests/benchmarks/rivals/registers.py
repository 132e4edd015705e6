# SPDX-License-Identifier: Apache-2.0
"""One register access, on plain memory: a checked call of ours against what others use.

Each way is a statement, repeated by ``timeit``'s loop.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from timeit import Timer
from typing import Any

from tests.benchmarks import in_c
from tests.benchmarks.pairs import Pairs
from tests.benchmarks.rivals import lone, tinygrad
from tests.benchmarks.rivals.rows import Contest, Group, Row, run
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.window import MappedWindow, Piece
from vfio_ims.registers import Block, Register, bit

SIZE, AT = 0x10000, 0x40
CALL = "the interpreter's call into C"
OBJECTS = "two calls into C, and Python objects for the value and its fields"
READ, WRITE, FIELD = "read 32 bits", "write 32 bits", "set one field of a register"

WAYS = {
    # job, rival: ours, theirs, a note on theirs
    (READ, "bare compiled call (cffi)"): ("read(AT)", "bare_read(base, AT)", "unchecked"),
    (READ, "memoryview"): ("read(AT)", "view[word]", "one access here, no promise"),
    (READ, "ctypes"): ("read(AT)", "number.value", "one access here, no promise"),
    (READ, "mmap slice"): ("read(AT)", "from_bytes(area[AT : AT + 4], 'little')", "two accesses"),
    (READ, "struct.unpack_from"): ("read(AT)", "unpack_from(area, AT)[0]", "one access here, no promise"),
    (READ, "tinygrad's way"): ("read(AT)", "registers[word]", "as memoryview"),
    (READ, "lone's way"): ("read(AT)", "structure.VALUE", "as ctypes"),
    (WRITE, "bare compiled call (cffi)"): ("write(AT, 7)", "bare_write(base, AT, 7)", "unchecked"),
    (WRITE, "memoryview"): ("write(AT, 7)", "view[word] = 7", "one access here, no promise"),
    (WRITE, "ctypes"): ("write(AT, 7)", "number.value = 7", "reads first, then writes"),
    (WRITE, "mmap slice"): ("write(AT, 7)", "area[AT : AT + 4] = (7).to_bytes(4, 'little')", "two accesses"),
    (WRITE, "struct.pack_into"): ("write(AT, 7)", "pack_into(area, AT, 7)", "writes 0 first, then the value"),
    (WRITE, "tinygrad's way"): ("write(AT, 7)", "registers[word] = 7", "as memoryview"),
    (WRITE, "lone's way"): ("write(AT, 7)", "structure.VALUE = 7", "as ctypes"),
    (FIELD, "lone's way"): ("declared.CC.update(en=1)", "structure.CC.EN = 1", "a bit field of ctypes"),
}
ROWS = tuple(Row(job, rival, OBJECTS if job == FIELD else CALL, note) for (job, rival), (_, _, note) in WAYS.items())
COUNT = 100


class Declared(Block):
    """The same registers, declared our way."""

    VALUE = Register(0x00)
    CC = Register(0x04, en=bit(0))


def names(stack: ExitStack) -> dict[str, Any]:
    """What the statements use, all on the same word of memory."""
    lib = in_c.build(Path(stack.enter_context(tempfile.TemporaryDirectory()))).lib
    memory = stack.enter_context(SharedMemory(SIZE))
    window = stack.enter_context(MappedWindow(SIZE, [Piece(memory.fileno(), 0, 0, SIZE, writable=True)]))
    area = stack.enter_context(mmap.mmap(memory.fileno(), SIZE))
    word = struct.Struct("<I")
    return {
        "memory": memory,
        "AT": AT,
        "word": AT // 4,
        "base": memory.address,
        "area": area,
        "read": window.read32,
        "write": window.write32,
        "declared": Declared(window, AT),
        "bare_read": lib.rival_read32,
        "bare_write": lib.rival_write32,
        "view": stack.enter_context(stack.enter_context(memoryview(area)).cast("I")),
        "number": ctypes.c_uint32.from_address(memory.address + AT),
        "from_bytes": int.from_bytes,
        "pack_into": word.pack_into,
        "unpack_from": word.unpack_from,
        "registers": tinygrad.Registers(memory.address, SIZE),
        "structure": lone.Registers.from_address(memory.address + AT),
    }


def measure(rounds: int) -> Iterator[tuple[Row, Pairs]]:
    """Each row's figures."""
    with ExitStack() as stack:
        used = names(stack)
        contests = []
        for row in ROWS:
            ours, theirs, _ = WAYS[row.job, row.rival]
            loops = [partial(Timer(way, globals=used).timeit, COUNT) for way in (ours, theirs)]
            contests.append(Contest(row, *loops, count=COUNT))
        yield from run(contests, rounds)


GROUP = Group(
    "One register access",
    "Ours is checked for bounds and alignment, and is one access of its width, which only compiled code promises.",
    ROWS,
    measure,
)
