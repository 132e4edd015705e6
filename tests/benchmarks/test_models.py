# SPDX-License-Identifier: Apache-2.0
"""The models: an access in process, a DSA operation, a whole self-test, and a served access beside a C server's.

In process the unit is a plain method that reads a word with ``struct``: what Python itself takes for such a thing. The
limits are issue 12's seconds in that unit: on the machine that they were set on it takes 0.23 us.
"""

from __future__ import annotations

import copy
import shutil
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import vfio_ims
from tests.benchmarks.processor import one_processor
from vfio_ims import selftest
from vfio_ims.drivers.intel_idxd.hardware.descriptors import DsaOpcode, Flag, encode
from vfio_ims.vfio_user import SocketLink

_UNIT = 0.23
"""Microseconds of the plain method where the limits were set."""
_COPY = 0.008
"""Seconds of the deep copy there."""
_PLAIN = "a plain method"


class _Plain:
    """The least that a register file in Python can be."""

    def __init__(self) -> None:
        self.memory = bytearray(4096)

    def read(self, offset: int) -> Any:
        return struct.unpack_from("<I", self.memory, offset)[0]


@pytest.fixture
def plain() -> Callable[[], Any]:
    rival = _Plain()
    return lambda: rival.read(0x40)


def test_an_access_in_process(race: Any, plain: Any) -> None:
    with vfio_ims.open_driver("mock:intel-dsa") as dsa:
        bar = dsa.device.bar(0)
        read, write, limit = bar.read32, bar.write32, 1.5 / _UNIT
        race("mock: read32 of a register", lambda: read(0x10), plain, against=_PLAIN, at_most=limit)
        race("mock: write32 of a register", lambda: write(0x98, 0), plain, against=_PLAIN, at_most=limit)
        slot = dsa.ims_table().layout.offset
        race("mock: read32 of a slot's word", lambda: read(slot), plain, against=_PLAIN, at_most=limit)
        race("mock: write32 of a slot's word", lambda: write(slot, 0), plain, against=_PLAIN, at_most=limit)


def test_a_dsa_operation(race: Any, plain: Any) -> None:
    """The model's part: a descriptor stored into the portal of a queue, done and recorded when the store returns."""
    with vfio_ims.open_driver("mock:intel-dsa") as dsa, dsa.device.dma.allocate(8192) as memory:
        portal = dsa.device.bar(2)
        why = "57 to 99 units were seen: a busy machine slows it more than a plain call"
        flags = Flag.RECORD_VALID | Flag.RECORD_ALWAYS
        where = {"source": memory.iova + 4096, "destination": memory.iova + 6144, "size": 64}
        for name, opcode, given in (("no-op", DsaOpcode.NOP, {}), ("64-byte copy", DsaOpcode.MEMMOVE, where)):
            descriptor = encode(opcode, flags, record=memory.iova, **given)
            memory.view[0] = 0
            portal.store64(0, descriptor)
            assert memory.view[0] == 1
            run = lambda line=descriptor: portal.store64(0, line)  # noqa: E731
            race(f"modelled DSA: a {name}", run, plain, against=_PLAIN, at_most=25 / _UNIT, missed=why)


def _processor_seconds(run: Callable[[], object], count: int = 1) -> float:
    began = time.process_time()
    for _ in range(count):
        run()
    return (time.process_time() - began) / count


def test_a_self_test_of_every_slot(race: Any) -> None:
    """2 s of the processor for all 2048 slots, before and after a reset.

    The rival goes through as many different frames and objects: a tight loop stays in the caches on a busy machine.
    """
    document = {number: [number, str(number), (number,)] for number in range(2000)}
    copied = lambda: copy.deepcopy(document)  # noqa: E731

    def whole() -> None:
        with vfio_ims.open_driver("mock:intel-dsa") as dsa:
            assert selftest.run(dsa).passed

    def ratio() -> tuple[float, float]:
        units = [_processor_seconds(copied, 20)]
        spent = _processor_seconds(whole)
        units.append(_processor_seconds(copied, 20))
        return spent * 2 / sum(units), spent

    why = "some 35 us a fire, two thirds of them frames of model and platform: 2.2 to 2.8 s in these units"
    race.once(
        "self-test of 2048 slots, CPU", ratio, against="copy.deepcopy, 2000 lists", at_most=2.0 / _COPY, missed=why
    )


@contextmanager
def _running(command: list[str], socket: Path) -> Iterator[SocketLink]:
    server = subprocess.Popen([*command, str(socket)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not socket.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        with SocketLink(str(socket)) as link:
            yield link
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler (cc) to build the rival with: install one")
def test_a_served_access(race: Any, tmp_path: Path) -> None:
    """The rival does less than libvfio-user, whose sample checks what it is sent."""
    rival = tmp_path / "served"
    subprocess.run(["cc", "-O2", "-o", rival, Path(__file__).with_name("served.c")], check=True)
    ours = [sys.executable, "-m", "vfio_ims.cli.main", "serve", "minimal", "--socket"]
    with (
        one_processor(),
        _running(ours, tmp_path / "ours") as here,
        _running([str(rival)], tmp_path / "theirs") as there,
    ):
        why = (
            "1.13 to 1.33: a request takes 9 us of the processor in our server and 6 in the C one; what is more is "
            "Python in the server's loop, and to answer it in one compiled call was seen to take off 0.7 only"
        )
        race(
            "served read of a register",
            lambda: here.read(0, 0, 4),
            lambda: there.read(0, 0, 4),
            against="a C server",
            at_most=1.2,
            missed=why,
        )
        many = range(0, 4 * 64, 4)
        race(
            "64 served reads, sent together",
            lambda: here.read_many(0, many, 4),
            lambda: there.read_many(0, many, 4),
            against="a C server",
            missed=why,
        )
