# SPDX-License-Identifier: Apache-2.0
"""The live view: what the kernel counts, what the owner knows, and how it is shown where there is no terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from rich.console import Console

import vfio_ims
from tests.host.box import DSA, Box
from vfio_ims.cli.main import cli
from vfio_ims.cli.monitor import _rates, _table
from vfio_ims.driver import Driver
from vfio_ims.host import live
from vfio_ims.host.live import DriverView, FunctionView, Published, Sample

INTERRUPTS = f"""            CPU0       CPU1
  40:        100         23  IR-PCI-MSIX-{DSA}    0-edge      vfio-msix[1]({DSA})
  41:          5          0  IR-PCI-MSIX-{DSA}    1-edge      something
  99:       1000          0  IR-PCI-MSIX-other    0-edge      vfio-msix[0](0000:01:00.0)
 NMI:          0          0   Non-maskable interrupts"""


@pytest.fixture
def driver() -> Iterator[Driver]:
    with vfio_ims.open_driver("mock:minimal") as opened:
        yield opened


def view(box: Box) -> FunctionView:
    machine = box.machine
    function = machine.function(DSA)
    assert function is not None
    return FunctionView(machine, function)


def test_what_the_kernel_counts_of_anybodys_device(box: Box) -> None:
    box.healthy()
    box.dsa(driver="vfio-pci", irqs={40: "IR-PCI-MSIX", 41: "IR-PCI-MSIX"})
    box.file("proc/interrupts", INTERRUPTS)
    box.tree.file(f"bus/pci/devices/{DSA}/aer_dev_fatal", "TOTAL_ERR_FATAL 2")
    sample = view(box).sample()
    assert sample.vectors == {"MSI-X 1": 123, "irq 41": 5}
    assert sample.slots is None
    assert sample.errors == {"AER fatal": "2"}
    assert sample.state == "vfio-pci, D0"


def test_a_device_that_goes_away(box: Box) -> None:
    box.healthy()
    seen = view(box)
    (box.root / "sys/bus/pci/devices" / DSA).unlink()
    assert seen.sample().state == "gone"


def test_the_owner_counts_slots(driver: Driver) -> None:
    seen = DriverView(driver)
    assert seen.sample().vectors == {}
    with driver.ims.allocate_group(3) as group:
        for _ in range(5):
            driver.fire(group[1].slot)
            assert group[1].wait(timeout=2)
        sample = seen.sample()
        assert sample.slots is not None
        assert sample.slots[group[1].slot] == 5
        assert sum(sample.vectors.values()) == 5
    driver.close()
    assert seen.sample().state == "closed"


def test_slots_that_share_a_donor_are_told_apart_where_the_driver_can() -> None:
    with vfio_ims.open_driver("mock:intel-dsa") as dsa:
        seen = DriverView(dsa)
        with dsa.ims.allocate_group(20) as group:
            for irq in (group[0], group[8], group[8]):
                dsa.fire(irq.slot)
                assert irq.wait(timeout=2)
            slots = seen.sample().slots
            assert slots is not None
            assert (slots[group[0].slot], slots[group[8].slot], slots[group[16].slot]) == (1, 2, 0)


def test_another_process_is_told(driver: Driver, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.healthy()
    monkeypatch.setattr(live, "claimed_by", lambda name, dev: "process 1 (owner)")
    assert view(box).sample().slots is None
    monkeypatch.setattr(driver, "label", DSA)
    with Published(driver), driver.ims.allocate() as irq:
        driver.fire(irq.slot)
        assert irq.wait(timeout=2)
        sample = view(box).sample()
        assert sample.slots == {irq.slot: 1}
        assert "open in process 1 (owner)" in sample.state
    assert view(box).sample().slots is None


def test_rates() -> None:
    before = Sample("x", {"MSI-X 1": 10}, {3: 1}, time=10.0)
    now = Sample("x", {"MSI-X 1": 30, "MSI-X 2": 4}, {3: 1}, time=12.0)
    assert _rates(before, now) == ({"MSI-X 1": 10.0, "MSI-X 2": 2.0}, {3: 0.0})
    assert _rates(None, now) == ({}, {})


@pytest.mark.parametrize("height", [5, 24, 1])
def test_a_terminal_of_any_size_is_not_overrun(height: int) -> None:
    sample = Sample("open", {"MSI-X 1": 1}, {slot: slot for slot in range(2048)}, {"device": "SWERR"})
    out = Console(width=40, height=height, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    with out.file:
        out.print(_table("dsa", sample, ({}, {2047: 9.0}), height))
        text = out.export_text()
    assert len(text.splitlines()) <= max(height, 6)
    assert "SWERR" in text
    assert "more" in text
    if height == 24:
        assert "slot 2047" in text  # the busiest one


def test_without_a_terminal_it_is_a_line_a_look() -> None:
    result = CliRunner().invoke(cli, ["monitor", "mock:minimal", "-n", "2", "--interval", "0.1"], standalone_mode=False)
    first, second = result.stdout.splitlines()
    assert "mock:minimal [open here]" in first
    assert "slot 0: " in second
    assert "/s)" in second


def test_json_is_a_document_a_line() -> None:
    words = ["monitor", "mock:minimal", "-n", "2", "--interval", "0.1", "--json"]
    result = CliRunner().invoke(cli, words, standalone_mode=False)
    documents = [json.loads(line) for line in result.stdout.splitlines()]
    assert documents[1]["slots"]["0"]["events"] > 0
    assert documents[1]["vectors"]["MSI-X 0"]["rate"] > 0


def test_events_are_lines_too(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    from vfio_ims.host import events

    box.healthy()
    monkeypatch.setattr(events, "Machine", lambda: box.machine)
    result = CliRunner().invoke(cli, ["monitor", "--existing", "-n", "3"], standalone_mode=False)
    assert [line.split()[2] for line in result.stdout.splitlines()] == ["appeared", "bound", "ready"]
