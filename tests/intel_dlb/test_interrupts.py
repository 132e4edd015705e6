# SPDX-License-Identifier: Apache-2.0
"""What interrupts when: thresholds, arming once, slots that are shared, MSI-X vectors, the compressed mode."""

from __future__ import annotations

import gc

import pytest

import vfio_ims
from tests.intel_dlb.conftest import model_of
from vfio_ims.clock import manual_clock
from vfio_ims.drivers.intel_dlb.driver import DirectedPort, Dlb, Domain
from vfio_ims.drivers.intel_dlb.hardware.ports import CqIsr
from vfio_ims.errors import UsageError

QUIET = 0.02


@pytest.fixture
def domain(dlb: Dlb) -> Domain:
    return dlb.domain(200)


def of_slot(port: DirectedPort) -> int:
    interrupt = port.interrupt
    assert interrupt is not None
    return interrupt.slot  # type: ignore[attr-defined, no-any-return]


def test_an_element_interrupts_only_where_the_port_was_armed_and_then_once(dlb: Dlb, domain: Domain) -> None:
    with dlb.ims.allocate(exclusive=True) as irq:
        port = domain.directed_port(interrupt=irq)
        port.enqueue(port.queue, 1)
        assert not irq.wait(QUIET)
        port.producer.arm()  # what is there already counts
        assert irq.wait(1)
        port.enqueue(port.queue, 2)
        assert not irq.wait(QUIET)
        dlb.regs.DIR_ARMED_0.write(1 << port.number)
        assert irq.wait(1)
        assert not dlb.regs.DIR_ARMED_0.read()
        domain.close()


def test_a_threshold_waits_for_so_many(dlb: Dlb, domain: Domain) -> None:
    with dlb.ims.allocate(exclusive=True) as irq:
        port = domain.directed_port(interrupt=irq)
        port.registers.CQ_INT_DEPTH_THRSH.write(threshold=3 - 1)
        port.producer.arm()
        port.enqueue_many(port.queue, [1, 2])
        assert not irq.wait(QUIET)
        port.enqueue(port.queue, 3)
        assert irq.wait(1)
        domain.close()


def test_a_timer_interrupts_for_fewer_once_they_have_waited(dlb: Dlb, domain: Domain) -> None:
    with dlb.ims.allocate(exclusive=True) as irq:
        port = domain.directed_port(interrupt=irq)
        port.interrupt_at(8, timer=20_000 % (1 << 14))
        port.producer.arm()
        assert not irq.wait(QUIET)  # nothing is there
        port.enqueue(port.queue, 1)
        assert irq.wait(1)
        port.interrupt_at(8)
        port.producer.arm()
        port.enqueue(port.queue, 2)
        assert not irq.wait(QUIET)
        with pytest.raises(UsageError, match="count must be 1 to 8"):
            port.interrupt_at(9)
        domain.close()


def test_a_timer_by_a_clock_that_the_test_moves() -> None:
    with (
        manual_clock() as clock,
        vfio_ims.open_driver("mock:intel-dlb") as dlb,
        dlb.ims.allocate(exclusive=True) as irq,
    ):
        assert isinstance(dlb, Dlb)
        domain = dlb.domain(200)
        port = domain.directed_port(interrupt=irq)
        port.interrupt_at(8, timer=1000)
        port.producer.arm()
        port.enqueue(port.queue, 1)
        assert clock.pending == 1
        assert not irq.wait(0)
        clock.advance(1)
        assert irq.wait(10)
        domain.close()


def test_ports_may_share_a_slot_and_have_slots_of_their_own(dlb: Dlb, domain: Domain) -> None:
    queue = domain.queue()
    own = [domain.port([queue]) for _ in range(2)]
    assert len({one.interrupt.slot for one in own}) == 2  # type: ignore[union-attr]
    with dlb.ims.allocate() as irq:
        first, second = (domain.directed_port(interrupt=irq) for _ in range(2))
        for port in (first, second):
            port.enqueue(port.queue, port.number)
            assert port.dequeue_wait(1).data == port.number
        domain.close()
    assert dlb.ims.allocated == []


def test_a_port_interrupts_by_a_vector_of_msix(dlb: Dlb, domain: Domain) -> None:
    for vector in (1, 40, 64):
        with dlb.device.interrupts.open_msix(vector) as irq:
            port = domain.directed_port(interrupt=irq)
            port.enqueue(port.queue, vector)
            assert port.dequeue_wait(1).data == vector
            port.producer.arm()
            port.enqueue(port.queue, 0)
            assert irq.wait(1)


def test_in_compressed_mode_one_vector_says_by_occupancy_who(dlb: Dlb, domain: Domain) -> None:
    """As Intel's driver handles it: occupancy read and cleared, then the vector acknowledged."""
    regs = dlb.regs
    regs.MSIX_MODE.write(compressed=1)
    with dlb.device.interrupts.open_msix(1) as irq:
        ports = [domain.directed_port(interrupt=irq) for _ in range(3)]
        for port in ports[:2]:
            port.producer.arm()
            port.enqueue(port.queue, 0)
        assert irq.wait(1)
        assert not irq.wait(QUIET)  # one message for both, until it is acknowledged
        found = regs.DIR_OCC_0.read()
        assert found == 0b11 << ports[0].number
        regs.DIR_OCC_0.write(found)
        ports[2].producer.arm()
        ports[2].enqueue(ports[2].queue, 0)  # between the look and the acknowledgement
        assert not irq.wait(QUIET)
        regs.MSIX_ACK.write(cq=1)
        assert irq.wait(1)
        assert regs.DIR_OCC_0.read() == 1 << ports[2].number
        regs.DIR_OCC_0.write(1 << ports[2].number)
        regs.MSIX_ACK.write(cq=1)
        assert not irq.wait(QUIET)


def test_a_masked_slot_holds_back_and_a_quiesced_one_is_referred_to_by_nothing(dlb: Dlb, domain: Domain) -> None:
    port = domain.directed_port()
    slot = of_slot(port)
    irq = dlb.ims.interrupt(slot)
    irq.mask()
    port.producer.arm()
    port.enqueue(port.queue, 1)
    assert irq.pending
    assert not irq.wait(QUIET)
    irq.unmask()
    assert irq.wait(1)
    dlb.quiesce(slot)
    assert port.registers.CQ_ISR.read().mode == CqIsr.OFF


def test_slots_are_unmasked_after_power_on_and_quiet_once_the_driver_has_started(dlb: Dlb) -> None:
    model = model_of(dlb)
    model.slots_in(2).reset()
    assert not model.slots_in(2).slot(0).masked
    dlb.reset()
    assert all(model.slots_in(2).slot(slot).masked for slot in range(160))


def test_what_is_no_interrupt_is_refused(domain: Domain) -> None:
    with pytest.raises(UsageError, match='interrupt must be "ims"'):
        domain.directed_port(interrupt="irq")


def test_a_port_keeps_its_domain(dlb: Dlb) -> None:
    port = dlb.domain(16).directed_port()
    gc.collect()
    port.enqueue(port.queue, 1)
    assert port.dequeue_wait(1).data == 1
    assert len(dlb.device_domains) == 1
