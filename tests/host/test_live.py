# SPDX-License-Identifier: Apache-2.0
"""The live view: what the kernel counts, what the owner knows, and how it is shown where there is no terminal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from click.testing import CliRunner
from rich.console import Console

import vfio_ims
from tests.host.box import DSA, Box
from vfio_ims.backends.kernel.claim import Claimant
from vfio_ims.cli.main import cli
from vfio_ims.cli.monitor import _rates, _table
from vfio_ims.driver import Driver
from vfio_ims.errors import DeviceBusy
from vfio_ims.host import activity as live
from vfio_ims.host.activity import DriverView, FunctionView, Published, Sample

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


def test_what_the_kernel_counts_of_any_device(box: Box) -> None:
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


def test_slots_that_share_a_donor_are_distinguished_where_the_driver_can() -> None:
    with vfio_ims.open_driver("mock:intel-dsa") as dsa:
        seen = DriverView(dsa)
        with dsa.ims.allocate_group(20) as group:
            for irq in (group[0], group[8], group[8]):
                dsa.fire(irq.slot)
                assert irq.wait(timeout=2)
            slots = seen.sample().slots
            assert slots is not None
            assert (slots[group[0].slot], slots[group[8].slot], slots[group[16].slot]) == (1, 2, 0)


def test_another_process_is_shown_the_counts(driver: Driver, box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.healthy()
    monkeypatch.setattr(live, "claimed_by", lambda name, dev: Claimant(1, "owner"))
    assert view(box).sample().slots is None
    monkeypatch.setattr(driver, "label", DSA)
    with Published(driver), driver.ims.allocate() as irq:
        driver.fire(irq.slot)
        assert irq.wait(timeout=2)
        sample = view(box).sample()
        assert sample.slots == {irq.slot: 1}
        assert "open in process 1 (owner)" in sample.state
    assert view(box).sample().slots is None


# What a stranger may do with the name of a device: bind it first.


class Stranger:
    """A process of another user that has bound the name of the DSA, and answers with ``data``, as often as it says."""

    PROGRAM = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
os.setuid(int(sys.argv[1])) if int(sys.argv[1]) else None
listener.bind("\\0vfio-ims-live-" + sys.argv[2])
listener.listen()
print("bound", flush=True)
data = sys.argv[3].encode()
while True:
    connection, _ = listener.accept()
    try:
        for _ in range(int(sys.argv[4])):
            connection.sendall(data)
    except OSError:
        pass
    connection.close()
"""

    def __init__(self, user: int, data: str, times: int = 1) -> None:
        command = [sys.executable, "-c", self.PROGRAM, str(user), DSA, data, str(times)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> int:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "bound\n"
        return self.process.pid

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


PUBLISHED = json.dumps({"vectors": {}, "slots": {"3": 7}, "errors": {"x\x1b[2J\n": "y\x07"}})


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user too: sudo pytest tests/host/test_live.py")
def test_a_stranger_who_has_bound_the_name_is_not_believed(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.healthy()
    with Stranger(65534, PUBLISHED) as pid:
        monkeypatch.setattr(live, "claimed_by", lambda name, dev: Claimant(1, "owner"))
        assert view(box).sample().slots is None
        monkeypatch.setattr(live, "claimed_by", lambda name, dev: Claimant(pid, "owner"))  # it has the device
        assert view(box).sample().slots == {3: 7}


def test_what_is_published_is_printable(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    box.healthy()
    monkeypatch.setattr(live, "claimed_by", lambda name, dev: Claimant(1, "owner"))
    with Stranger(0, PUBLISHED):
        assert view(box).sample().errors == {r"x\x1b[2J\n": r"y\x07"}


@pytest.mark.parametrize(
    ("data", "times"),
    [
        ("[" * 50_000, 1),
        (" " * 65536, 1 << 20),  # without an end
        ('{"vectors": {}, "slots": {"x": 1}, "errors": {}}', 1),
        ('{"vectors": {"a": "1"}, "slots": {}, "errors": {}}', 1),
        ('{"vectors": {}, "slots": {}, "errors": {"a": []}}', 1),
        ('{"vectors": []}', 1),
        ("[]", 1),
    ],
)
def test_whatever_is_published_is_bounded_and_checked(
    box: Box, monkeypatch: pytest.MonkeyPatch, data: str, times: int
) -> None:
    box.healthy()
    monkeypatch.setattr(live, "claimed_by", lambda name, dev: Claimant(1, "owner"))
    with Stranger(0, data, times):
        assert view(box).sample().slots is None


def test_a_name_that_is_taken_is_said_and_monitoring_goes_on(driver: Driver) -> None:
    with Published(driver):
        with pytest.raises(DeviceBusy, match="another process publishes under this name"):
            Published(driver)
        words = ["monitor", "mock:minimal", "-n", "1"]
        result = CliRunner().invoke(cli, words, standalone_mode=False, catch_exceptions=False)
    assert "mock:minimal [open here]" in result.stdout
    assert "Not shown to other processes: " in result.stderr


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
        out.print(_table("dsa", sample, ({}, {2047: 9.0}), height, None))
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
