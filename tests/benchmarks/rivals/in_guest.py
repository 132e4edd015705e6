# SPDX-License-Identifier: Apache-2.0
"""Runs in the lab's guest, on a function that vfio-pci has: what is printed is JSON.

python -m tests.benchmarks.rivals.in_guest copies ADDRESS BATCH SECONDS    seconds of one copy
python -m tests.benchmarks.rivals.in_guest calls ADDRESS ROUNDS            figures of single calls
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import mmap
import os
import sys
import time
from array import array
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import vfio_ims
from tests.benchmarks.pairs import Pairs, paired
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.hardware.descriptors import DsaOpcode

SIZE, BATCH, MANY, DEPTH = 1024, 32, 256, 16
"""Bytes of a copy; copies in a batch, and by one ``submit_many``; entries of a queue, as many as DPDK's has."""
IRQ_INFO, REGION_INFO, CONFIG = 0x3B6D, 0x3B6C, 7
LOOPS = 20


def copies(address: str, seconds: float) -> dict[str, float]:
    """Seconds of one copy of ours, by what is submitted at once: "single", "batch", "many"."""
    with vfio_ims.open_driver(address) as dsa:
        assert isinstance(dsa, Dsa)
        target, source = (dsa.device.dma.allocate(SIZE * MANY) for _ in range(2))
        with dsa.wq(0) as wq:
            targets, sources = (array("Q", range(one.iova, one.iova + SIZE * MANY, SIZE)) for one in (target, source))
            sizes = array("I", [SIZE] * MANY)

            def single() -> Any:
                return wq.submit.memmove(target, source, SIZE)

            def batch() -> Any:
                one = wq.batch()
                for to, start in zip(targets[:BATCH], sources[:BATCH], strict=True):
                    one.memmove(to, start, SIZE)
                return one.run()

            def many() -> Any:
                return wq.submit_many(DsaOpcode.MEMMOVE, source=sources, destination=targets, size=sizes)

            return {
                "single": paced(single, 1, DEPTH, seconds),
                "batch": paced(batch, BATCH, DEPTH, seconds),
                "many": paced(many, MANY, 2, seconds),
            }


def paced(start: Callable[[], Any], count: int, depth: int, seconds: float) -> float:
    """Seconds of one copy, where ``start`` begins ``count`` and ``depth`` of its kind are in flight."""
    flying: deque[Any] = deque()
    done, began = 0, time.monotonic()
    while time.monotonic() - began < seconds:
        while len(flying) < depth:
            flying.append(start())
        flying.popleft().wait()
        done += count
    spent = time.monotonic() - began
    for one in flying:
        one.wait()
    return spent / done


class Info(ctypes.Structure):
    """Of an interrupt index or a region: as lone declares it."""

    _fields_ = [(name, ctypes.c_uint32) for name in ("argsz", "flags", "index", "count")] + [
        (name, ctypes.c_uint64) for name in ("size", "offset")
    ]


def calls(address: str, rounds: int) -> dict[str, Pairs]:
    """Figures of an ioctl, of config space and of a register that the model answers."""

    def often(run: Callable[[], object]) -> Callable[[], None]:
        def loop() -> None:
            for _ in range(LOOPS):
                run()

        return loop

    with vfio_ims.open(address) as device:
        port: Any = device.port
        number = port.device.fileno()

        def ask(request: int, index: int, size: int) -> Info:
            info = Info(argsz=size, index=index)
            fcntl.ioctl(number, request, info)
            return info

        start = ask(REGION_INFO, CONFIG, 32).offset
        bar = ask(REGION_INFO, 0, 32)
        device.config.memory = True
        read, config = device.bar(0).read32, device.config
        with mmap.mmap(number, bar.size, offset=bar.offset) as area, memoryview(area) as raw, raw.cast("I") as words:
            pairs = {
                "ioctl": (lambda: port.irq_info(2), lambda: ask(IRQ_INFO, 2, 16)),
                "config": (lambda: config.read(0, 4), lambda: [os.pread(number, 1, start + at) for at in range(4)]),
                "register": (lambda: read(0), lambda: words[0]),
            }
            found = {name: paired(*map(often, pair), None, rounds) for name, pair in pairs.items()}
    return {
        name: Pairs(one.ratio, one.low, one.high, one.ours / LOOPS, one.theirs / LOOPS, one.rounds)
        for name, one in found.items()
    }


if __name__ == "__main__":
    what, where, *numbers = sys.argv[1:]
    if what == "copies":
        print(json.dumps(copies(where, float(numbers[0]))))
    else:
        print(json.dumps({name: asdict(one) for name, one in calls(where, int(numbers[0])).items()}))
