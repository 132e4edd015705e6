# SPDX-License-Identifier: Apache-2.0
"""Under a real kernel, in the VM lab: DPDK's driver for DSA beside ours on the same served model, and single calls."""

from __future__ import annotations

import json
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.benchmarks.pairs import Pairs, from_rounds
from tests.benchmarks.rivals.in_guest import BATCH, SIZE
from tests.benchmarks.rivals.pieces import find
from tests.benchmarks.rivals.rows import Group, LeftOut, Row
from tests.vm import pieces
from tests.vm.lab import Guest
from tests.vm.platforms import INTEL
from vfio_ims.drivers.intel_idxd.model import DsaModel
from vfio_ims.vfio_user import Server

SECONDS = 2
MODEL = "the model, and QEMU's messages to it"
PYTHON = "Python in an emulated processor"
IOCTL, PREAD = f"the kernel's ioctl, and {PYTHON}", f"the kernel's pread, and {PYTHON}"
DPDK, POLLS = "DPDK's idxd driver, dma-perf", "both poll for completions"
COPIES = {
    # way of ours: copies in a descriptor of DPDK's, and the row
    "many": (1, Row("copy 1 KiB, a descriptor each, by submit_many", DPDK, MODEL, POLLS, rate=True)),
    "batch": (BATCH, Row(f"copy 1 KiB, {BATCH} in a batch", DPDK, PYTHON, POLLS, rate=True)),
    "single": (1, Row("copy 1 KiB, a descriptor each, by a call each", DPDK, PYTHON, POLLS, rate=True)),
}
CALLS = {
    "ioctl": Row("ask for an interrupt's information", "fcntl.ioctl, lone's way", IOCTL),
    "config": Row("read 4 bytes of config space", "os.pread of each byte, lone's way", PREAD),
    "register": Row("read 32 bits of a register that the model answers", "memoryview", MODEL),
}
ROWS = (*(row for _, row in COPIES.values()), *CALLS.values())

_CONFIG = """[GLOBAL]
{common}
[case1]
{common}
type=DMA_MEM_COPY
mem_size=1
buf_size={size}
dma_ring_size=1024
kick_batch={batch}
src_numa_node=0
dst_numa_node=0
lcore_dma0=lcore=1,dev={address}-q0,dir=mem2mem
"""
_COMMON = """eal_args=--in-memory --no-telemetry --lcores 0@0,1@0 -a {address} {drivers}
cache_flush=0
test_seconds={seconds}"""  # of all cases since DPDK 25.07, of each before
_FOUND = re.compile(r"Average Cycles/op: (\d+),.*Frequency: ([\d.]+) Ghz")


class Lab:
    """A guest with a DSA that this process serves."""

    def __init__(self, stack: ExitStack) -> None:
        self._piece = find("dma_perf")
        try:
            pieces.find()
        except pieces.LabError as error:
            raise LeftOut(f"the VM lab is not on this machine: {pieces.HINT}") from error
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = DsaModel()
        stack.callback(model.close)
        server = stack.enter_context(Server(model, folder / "dsa"))
        self._guest = stack.enter_context(Guest(INTEL, [server.path]))
        self._address = self._guest.addresses[0]
        self._run("sh", "-c", "echo 64 > /proc/sys/vm/nr_hugepages")

    def _run(self, *words: str, timeout: float = 120) -> str:
        done = self._guest.run(words, timeout=timeout)
        assert done.returncode == 0, str(done)
        return done.stdout

    def ours(self, what: str, *words: object) -> Any:
        """What in_guest.py finds."""
        script = [sys.executable, "-m", "tests.benchmarks.rivals.in_guest", what, self._address]
        return json.loads(self._run(*script, *map(str, words)))

    def dpdk(self, batch: int) -> float:
        """Seconds of one copy by DPDK."""
        libraries = self._piece / "root/usr/lib/x86_64-linux-gnu"
        names = [next(libraries.glob(f"librte_{name}.so.??")).name for name in ("dma_idxd", "mempool_ring")]
        drivers = " ".join(f"-d {name}" for name in names)
        common = _COMMON.format(address=self._address, drivers=drivers, seconds=SECONDS)
        text = _CONFIG.format(common=common, address=self._address, size=SIZE, batch=batch)
        asked = self._guest.rwdir / "dma-perf.ini"
        asked.write_text(text)
        said = self._run(str(self._piece / "run"), "--config", str(asked), "--result", f"{asked}.csv")
        found = _FOUND.search(said)
        assert found is not None, said
        return int(found[1]) / float(found[2]) / 1e9


def measure(rounds: int) -> Iterator[tuple[Row, Pairs]]:
    """Each row's figures; of the copies an eighth as many rounds, of some seconds each."""
    with ExitStack() as stack:
        lab = Lab(stack)
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in COPIES}
        for turn in range(max(2, rounds // 8)):
            if turn % 2:
                theirs = {batch: lab.dpdk(batch) for batch in (BATCH, 1)}
                ours = lab.ours("copies", SECONDS)
            else:
                ours = lab.ours("copies", SECONDS)
                theirs = {batch: lab.dpdk(batch) for batch in (1, BATCH)}
            for way, (batch, _) in COPIES.items():
                times[way].append((ours[way], theirs[batch]))
        for way, (_, row) in COPIES.items():
            yield row, from_rounds(times[way])
        for name, found in lab.ours("calls", rounds).items():
            yield CALLS[name], Pairs(**found)


GROUP = Group(
    "Under a real kernel",
    "In the VM lab: an emulated machine whose kernel has vfio-pci, on a DSA model that is served to QEMU. Both drivers "
    "fill a queue of 16 entries.",
    ROWS,
    measure,
)
