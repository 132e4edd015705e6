# SPDX-License-Identifier: Apache-2.0
"""A BAR of 4 GiB takes memory on no side; stores to ports that are off leave nothing, whole or in pieces."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.intel_dlb.conftest import model_of
from vfio_ims.drivers.intel_dlb.driver import Dlb, Kind
from vfio_ims.drivers.intel_dlb.hardware.elements import Command, pack
from vfio_ims.drivers.intel_dlb.hardware.places import DIRECTED_PORTS_AT, LDB_PORTS_AT, PORT_PAGE
from vfio_ims.drivers.intel_dlb.model import DlbModel
from vfio_ims.errors import UsageError
from vfio_ims.vfio_user import Server

MIB = 1 << 20


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_it_takes_little_memory_on_every_side(tmp_path: Path) -> None:
    before = resident()
    model = DlbModel("mapped", map_slots=True)
    with (
        Server(model, tmp_path / "socket"),
        Dlb.open(f"vfio-user:{tmp_path}/socket") as mapped,
        Dlb.open("mock:intel-dlb") as trapped,
    ):
        for dlb in (mapped, trapped):
            bar = dlb.device.bar(2)
            assert bar.size == 1 << 32
            bar.write32(0xFFFF_FFFC, 0x1234)  # not declared: kept
            assert bar.read32(0xFFFF_FFFC) == 0x1234
            with pytest.raises(UsageError):
                bar.read32(1 << 32)
            with dlb.ims.allocate(slot=159) as irq:
                dlb.fire(159)
                assert irq.wait(10)
        assert resident() - before < 64 * MIB
    model.close()


def test_a_probe_of_every_port_leaves_nothing() -> None:
    """As DPDK probes: a completion and a token return, to ports that are off."""
    line = pack(Command.COMPLETE_POP, flow=1) + bytes(48)
    with Dlb.open("mock:intel-dlb") as dlb:
        dlb.stop()
        model, bar = model_of(dlb), dlb.device.bar(0)
        for bases, count in ((LDB_PORTS_AT, 64), (DIRECTED_PORTS_AT, 96)):
            for base in bases:
                for port in range(count):
                    bar.store64(base + PORT_PAGE * port, line)
                    bar.write64(base + PORT_PAGE * port, 1)
        assert model.core.scheduler.waiting == 0
        assert dlb.take_alarm() is None
        assert not model.producers._lines


def test_a_store_may_come_in_pieces() -> None:
    """Of 8 or 16 bytes, as from a driver without MOVDIR64B, in any order."""
    with Dlb.open("mock:intel-dlb") as dlb, dlb.domain(16) as domain:
        port = domain.directed_port(interrupt="poll")
        at, bar = DIRECTED_PORTS_AT[1] + PORT_PAGE * port.number, dlb.device.bar(0)
        line = b"".join(pack(Command.NEW, number, port.number, Kind.DIRECTED) for number in range(4))
        for word in (3, 0, 1, 7, 6, 5, 4):
            bar.write64(at + 8 * word, int.from_bytes(line[8 * word : 8 * word + 8], "little"))
        assert not port.dequeue_many()
        bar.write64(at + 16, int.from_bytes(line[16:24], "little"))
        assert list(port.dequeue_many().data) == [0, 1, 2, 3]
