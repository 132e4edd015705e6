# SPDX-License-Identifier: Apache-2.0
"""DLB 2.0, where it differs: registers elsewhere, two pools of credits, a message for each CQ, no mask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from vfio_ims.drivers.intel_dlb.driver import Dlb, Kind
from vfio_ims.drivers.intel_dlb.hardware.registers import Bar2
from vfio_ims.drivers.intel_dlb.hardware.v20 import Bar2V20
from vfio_ims.errors import DeviceBusy, UnsupportedError, UsageError
from vfio_ims.ims import FireStatus
from vfio_ims.models.sparse_registers import SparseRegisterFile
from vfio_ims.registers import Block


@pytest.fixture
def old() -> Iterator[Dlb]:
    with Dlb.open("mock:intel-dlb2") as driver:
        yield driver


def places(block: type[Block], base: int = 0) -> Iterator[int]:
    for register in block.registers.values():
        yield base + register.offset
    for repeat in block.repeats.values():
        for row in range(repeat.count):
            yield from places(repeat.block, base + repeat.offset + row * repeat.stride)


@pytest.mark.parametrize("block", [Bar2, Bar2V20])
def test_no_two_registers_are_in_one_place(block: type[Block]) -> None:
    twice = [hex(place) for place, count in Counter(places(block)).items() if count > 1]
    assert not twice
    assert isinstance(SparseRegisterFile(block, 1 << 32), SparseRegisterFile)


def test_load_balanced_and_directed_elements_have_credits_of_their_own(old: Dlb) -> None:
    with old.domain(credits=4, directed_credits=8) as domain:
        queue = domain.queue(Kind.UNORDERED)
        port = domain.directed_port(interrupt="poll")
        port.enqueue_many(queue, range(4))
        with pytest.raises(DeviceBusy, match="0 credits of 4 are left"):
            port.enqueue(queue, 0)
        port.enqueue_many(port.queue, range(8))
        with pytest.raises(DeviceBusy, match="0 credits of 8 are left"):
            port.enqueue(port.queue, 0)
        assert old.take_alarm() is None
        for number in range(8):
            assert port.dequeue_wait(1).data == number
        assert (domain.credits.left, domain.directed_credits.left) == (0, 8)


def test_a_port_raises_the_slot_of_its_own_number(old: Dlb) -> None:
    with old.domain() as domain:
        queue = domain.queue(Kind.UNORDERED)
        worker, directed = domain.port([queue]), domain.directed_port()
        assert old.ims.allocated == [worker.number, 64 + directed.number]
        directed.enqueue(queue, 7)
        assert worker.dequeue_wait(1).data == 7
        report = old.fire(worker.number)
        assert report.status is FireStatus.REFUSED
        assert "in use" in report.detail
        with old.ims.allocate(slot=20) as irq, pytest.raises(UsageError, match="this port raises slot"):
            domain.directed_port(interrupt=irq)
    with old.ims.allocate(slot=0) as irq:
        assert old.fire(0).status is FireStatus.SENT
        assert irq.wait(1)


def test_there_is_no_mask(old: Dlb) -> None:
    with old.ims.allocate() as irq, pytest.raises((UnsupportedError, UsageError)):
        irq.mask()


def test_it_has_fewer_directed_ports(old: Dlb) -> None:
    assert len(old.regs.DIR) == 64
    assert "DLB 2.0" in old.details()[0][1]
