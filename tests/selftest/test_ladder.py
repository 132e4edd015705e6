# SPDX-License-Identifier: Apache-2.0
"""The ladder stops at the first broken rung, names it, and says what the device says and what to read next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.selftest.devices import TestedDriver, TestedModel, make_model, open_model
from vfio_ims.errors import DeviceError
from vfio_ims.messages import INTERRUPT_RANGE, FireStatus, MessageLimits
from vfio_ims.platform import Platform
from vfio_ims.selftest import Kind, Options, Outcome, Report, run

FAST = Options(timeout=0.05, settle=0.005)
NAMES = ["verdict", "software trigger", "own MSI-X", "DMA word", "donor's message"]


class Talks(TestedDriver):
    def status(self) -> str:
        return "GENSTS=0x2 (halted)"


def stops_at(number: int, report: Report, said: str) -> None:
    assert [rung.name for rung in report.rungs] == NAMES
    assert [rung.outcome for rung in report.rungs[number:]] == [Outcome.FAILED] + [Outcome.NOT_RUN] * (4 - number)
    assert Outcome.FAILED not in [rung.outcome for rung in report.rungs[:number]]
    rung = report.broken_rung
    assert rung is report.rungs[number]
    assert rung is not None
    assert said in rung.text
    assert rung.hint
    (finding,) = report.findings
    assert finding.kind is Kind.RUNG
    assert finding.text.startswith(f"{NAMES[number]}: ")
    assert not report.passed
    assert report.steps == ()
    assert report.counts.fired == 0
    assert report.latency is None
    assert report.quiet == ()
    assert f"{NAMES[number]}" in str(report)


def test_a_table_whose_messages_cannot_be_seen_breaks_the_verdict() -> None:
    with open_model(make_model(4, 2), platform=Platform(msix_mappable=False)).driver as driver:
        stops_at(0, run(driver, options=FAST), "MSI-X table mappable: no")


def test_a_silent_eventfd_breaks_the_software_trigger(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_model(make_model(4, 2), Talks).driver as driver:
        port: Any = driver.device.port
        real: Callable[..., None] = port.set_irqs

        def swallow(index: int, flags: int, start: int, count: int, data: Any = ()) -> None:
            if data or not count:
                real(index, flags, start, count, data)

        monkeypatch.setattr(port, "set_irqs", swallow)
        report = run(driver, options=FAST)
        stops_at(1, report, "no event on vector 0 in 0.05 s")
        assert report.findings[0].status == "GENSTS=0x2 (halted)"
        assert "device status: GENSTS=0x2 (halted)" in str(report)


class NoMsix(TestedModel):
    def raise_vector(self, vector: int) -> None:
        return


def test_a_device_that_does_not_raise_its_own_vector() -> None:
    with open_model(make_model(4, 2, base=NoMsix), Talks).driver as driver:
        stops_at(2, run(driver, options=FAST), "raised by the device through its MSI-X table: no event on vector 0")


def wrong_vector(model: TestedModel, vector: int) -> None:
    super(TestedModel, model).raise_vector(1 - vector)


def test_a_message_on_another_vector_is_reported() -> None:
    crossed = type("Crossed", (TestedModel,), {"raise_vector": wrong_vector})
    with open_model(make_model(4, 2, base=crossed)).driver as driver:
        driver.ims.allocate_group(2).close()  # both donors are there
        stops_at(2, run(driver, options=FAST), "vector 1 got an event instead")


def only(allowed: Callable[[int], bool]) -> type[TestedModel]:
    """A device that sends messages to some addresses only."""

    def raise_slot(model: TestedModel, slot: int, pasid: int | None) -> FireStatus:
        if allowed(model.slots.slot(slot).message.address):
            return model.slots.fire(slot, pasid)
        return FireStatus.SENT

    return type("Choosy", (TestedModel,), {"raise_slot": raise_slot})


def test_a_device_that_takes_no_memory_address() -> None:
    kind = make_model(4, 2, base=only(lambda address: address in INTERRUPT_RANGE))
    with open_model(kind, Talks).driver as driver:
        report = run(driver, options=FAST)
        stops_at(3, report, "the word was not written in 0.05 s; the entry reads back as 0x1000/0x1 (memory)")
        assert "--no-words" in report.findings[0].hint
    with open_model(kind).driver as driver:
        report = run(driver, options=Options(timeout=0.05, settle=0.005, words=False))
        assert report.passed, report
        assert report.rungs[3].outcome is Outcome.NOT_APPLICABLE


def test_a_table_that_cannot_hold_a_memory_address_is_not_asked_to() -> None:
    limits = MessageLimits(address_mask=0x000F_FFFC, address_fixed=0xFEE0_0000)
    with open_model(make_model(4, 2, limits=limits)).driver as driver:
        report = run(driver, options=FAST)
        assert report.passed, report
        assert report.rungs[3].outcome is Outcome.NOT_APPLICABLE
        assert "own words" in report.not_applicable[1]


def test_a_device_whose_slots_raise_no_interrupt() -> None:
    kind = make_model(4, 2, base=only(lambda address: address not in INTERRUPT_RANGE))
    with open_model(kind, Talks).driver as driver:
        report = run(driver, options=FAST)
        stops_at(4, report, "no event on vector 0")
        rung = report.broken_rung
        assert rung is not None
        assert "the entry reads back as 0xfee" in rung.text
        assert "bus mastering is on" in rung.text
        assert "DMAR" in rung.hint


class Refuses(TestedModel):
    def raise_slot(self, slot: int, pasid: int | None) -> FireStatus:
        return FireStatus.REFUSED


def test_a_device_that_refuses_says_why() -> None:
    with open_model(make_model(4, 2, base=Refuses), Talks).driver as driver:
        report = run(driver, options=FAST)
        stops_at(3, report, "the device says that slot 0, unmasked, is refused (wrong PASID)")
        assert report.findings[0].status == "GENSTS=0x2 (halted)"


def test_an_error_of_the_driver_keeps_its_own_hint() -> None:
    class Fails(TestedDriver):
        def fire_vector(self, vector: int) -> None:
            raise DeviceError("fire a vector", device=self.label, why="SWERR is set", hint="read SWERR at 0xc0")

    with open_model(make_model(4, 2), Fails).driver as driver:
        report = run(driver, options=FAST)
        stops_at(2, report, "DeviceError: test: fire a vector: SWERR is set")
        assert report.findings[0].hint == "read SWERR at 0xc0"


def test_a_status_that_cannot_be_read_is_reported_too() -> None:
    class Worse(TestedDriver):
        def fire(self, slot: int, *, pasid: int | None = None) -> Any:
            raise RuntimeError("no queue")

        def status(self) -> str:
            raise OSError("all ones")

    with open_model(make_model(4, 2), Worse).driver as driver:
        report = run(driver, options=FAST)
        stops_at(3, report, "fire(slot 0) raised RuntimeError: no queue")
        assert report.findings[0].status == "status() raised OSError: all ones"
