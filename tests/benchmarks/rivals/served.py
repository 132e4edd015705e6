# SPDX-License-Identifier: Apache-2.0
"""One access over a vfio-user socket: our server and our client, each against one in C on libvfio-user.

Both servers have a register at the start of BAR 0, whose access runs code of the model's: ours in Python, theirs in C.
All run on one processor.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import vfio_ims
from tests.benchmarks.pairs import Pairs
from tests.benchmarks.processor import one_processor
from tests.benchmarks.rivals.pieces import find
from tests.benchmarks.rivals.rows import Contest, Group, Row, run
from tests.benchmarks.rivals.vfio_user import Client, compile_both, our_server, serving

COUNT = 100
BOTH = "C client, C server"
ROUND_TRIP = "the socket's round trip: two system calls and a wake-up on each side"
SERVER = Row("read 32 bits: C client, our server", BOTH, ROUND_TRIP, "the server alone differs")
WRITES = Row("write 32 bits: C client, our server", BOTH, ROUND_TRIP, "the server alone differs")
CLIENT = Row("read 32 bits: our client, C server", BOTH, ROUND_TRIP, "the client alone differs")
OURS = Row("read 32 bits: our client, our server", BOTH, ROUND_TRIP, "Python on both sides")
ROWS = (SERVER, WRITES, CLIENT, OURS)
WRITTEN = 0x10  # of the example device: read-only, so that a write has no effect
READ = 0x00


def measure(rounds: int) -> Iterator[tuple[Row, Pairs]]:
    """Each row's figures."""
    piece = find("libvfio_user")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        stack.enter_context(one_processor())
        library, program = compile_both(piece, folder)

        def ours(name: str) -> Path:
            return stack.enter_context(serving(our_server(folder / name), folder / name))

        def theirs(name: str) -> Path:
            return stack.enter_context(serving([program, str(folder / name)], folder / name))

        def client(socket: Path) -> Client:
            return stack.enter_context(closing(Client(library, socket)))

        def device(socket: Path) -> vfio_ims.Device:
            opened = stack.enter_context(vfio_ims.open(f"vfio-user:{socket}"))
            opened.config.memory = True
            return opened

        c_ours, c_theirs = client(ours("a")), client(theirs("b"))
        read_theirs, read_ours = (device(socket).bar(0).read32 for socket in (theirs("c"), ours("d")))
        assert c_ours.read32(READ, 1) == c_theirs.read32(READ, 1) == read_theirs(READ) == read_ours(READ)

        def in_c() -> None:
            c_theirs.read32(READ, COUNT)

        def by_client() -> None:
            for _ in range(COUNT):
                read_theirs(READ)

        def by_both() -> None:
            for _ in range(COUNT):
                read_ours(READ)

        contests = [
            Contest(SERVER, lambda: c_ours.read32(READ, COUNT), in_c, count=COUNT),
            Contest(
                WRITES,
                lambda: c_ours.write32(WRITTEN, 0, COUNT),
                lambda: c_theirs.write32(WRITTEN, 0, COUNT),
                count=COUNT,
            ),
            Contest(CLIENT, by_client, in_c, count=COUNT),
            Contest(OURS, by_both, in_c, count=COUNT),
        ]
        yield from run(contests, rounds, time.perf_counter)


GROUP = Group(
    "An access over vfio-user",
    "A register of a served model, read and written by messages over a UNIX socket, all on one processor; libvfio-user"
    " is compiled with -O2.",
    ROWS,
    measure,
)
