# SPDX-License-Identifier: Apache-2.0
"""How many accesses the page says that each way to a register makes: counted, on each mapping of the memory."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.rivals.registers import FIELD, READ, WAYS, names
from tests.native.test_single_access import counter, trap  # noqa: F401

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="what Python's own means do was counted on x86-64 only: run it there"
)
OURS = {FIELD: "rw"}
ONE = "one access here, no promise"
EXPECTED = {
    # a note of the page: accesses when reading, when writing, as patterns
    "unchecked": ("r", "w"),
    ONE: ("r", "w"),
    "as memoryview": ("r", "w"),
    "as ctypes": ("r", "rw"),
    "reads first, then writes": ("", "rw"),
    "two accesses": ("rr", "ww"),
    "writes 0 first, then the value": ("", "www?"),  # how often the C library's memset writes depends on the CPU
    "a bit field of ctypes": ("", "rw"),
}


def mappings(memory: Any) -> list[int]:
    """Where this process has mapped it."""
    inode = str(os.fstat(memory.fileno()).st_ino)
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    return [int(words[0].split("-")[0], 16) for words in lines if words[4] == inode]


@pytest.mark.parametrize("job", sorted({job for job, _ in WAYS}))
def test_the_page_says_how_many_accesses_each_way_makes(job: str, trap: ctypes.CDLL) -> None:  # noqa: F811
    with ExitStack() as stack:
        used = names(stack)
        places = mappings(used["memory"])
        assert len(places) == 3, "ours, the window's, and Python's mmap"
        counts = [counter(trap, place) for place in places]

        def accesses(way: str) -> str:
            code = compile(way, way, "exec")
            exec(code, used)  # registers are bound at their first use
            seen = [one for count in counts for one in count(lambda: exec(code, used))]
            assert all(one.offset < mmap.PAGESIZE for one in seen)
            return "".join("w" if one.write else "r" for one in seen)

        for (own, rival), (ours, theirs, note) in WAYS.items():
            if own == job:
                assert accesses(ours) == OURS.get(job, "r" if job == READ else "w"), ours
                assert re.fullmatch(EXPECTED[note][0 if job == READ else 1], accesses(theirs)), (rival, theirs)
