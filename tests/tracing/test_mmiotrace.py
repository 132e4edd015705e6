# SPDX-License-Identifier: Apache-2.0
"""The text of Linux' mmiotrace: what a kernel driver did, shown and compared by our registers' names."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

import vfio_ims
from vfio_ims.cli.main import cli
from vfio_ims.errors import UsageError
from vfio_ims.tracing import read_any, trace

# As trace_mmiotrace.c prints it: the example device at 00:03.0 behind a bridge that another driver reads.
KERNEL = """\
VERSION 20070824
PCIDEV 0000 80861237 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0
PCIDEV 0010 80860b60 b fb000004 0 0 0 0 0 0 1000 0 0 0 0 0 0 pcieport
PCIDEV 0018 12341a55 0 fe000000 0 fd00000c 0 c001 0 0 4000 0 1000 0 20 0 0 acme_ims
MAP 77.100000 1 0xfb000000 0xffffc90000400000 0x1000 0x0 0
MAP 77.100100 2 0xfe000000 0xffffc90000800000 0x4000 0x0 0
R 4 77.200000 2 0xfe000000 0x494d5331 0xffffffffa0001000 0
MARK 77.200100 enable the device
W 4 77.200200 2 0xfe000008 0x3 0xffffffffa0001010 0
R 4 77.200300 2 0xfe000010 0x0 0xffffffffa0001020 0
R 4 77.200310 2 0xfe000010 0x0 0xffffffffa0001020 0
R 4 77.200320 2 0xfe000010 0x0 0xffffffffa0001020 0
R 2 77.200350 1 0xfb000010 0xffff 0xffffffff81001020 0
UNKNOWN 77.200400 2 0xfd000000 66,0f,38 0xffffffffa0001030 0
MARK 0.000000 Lost 12 events.
UNMAP 77.300000 2 0x0 0
"""


def run(*words: str, status: int = 0) -> str:
    result = CliRunner().invoke(cli, [*words], standalone_mode=False)
    assert result.exception is None
    assert (result.return_value or 0) == status
    return result.stdout


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "kernel.txt"
    path.write_text(KERNEL)
    return path


def test_accesses_get_the_names_of_declared_registers(kernel: Path) -> None:
    shown = [line.split("ms  ")[1] for line in run("trace", "show", str(kernel)).splitlines()]
    assert shown == [
        "read 32 bits ID (BAR 0 +0x0) = 0x494d5331",
        "mark text enable the device",
        "write 32 bits FIRE (BAR 0 +0x8) = 0x3",
        "read 32 bits STATUS (BAR 0 +0x10) = 0x0, 3 times",
        "mark text Lost 12 events.",
    ]


def test_times_are_those_of_the_text(kernel: Path) -> None:
    events = read_any(kernel).events
    assert [round(event["t"] / 1000) for event in events if event["k"] in "rw"] == [0, 200, 300]
    assert round(events[3]["dt"] / 1000) == 20


def test_the_summary_says_what_is_left_out(kernel: Path) -> None:
    printed = run("trace", "summary", str(kernel))
    assert "00:03.0 (1234:1a55, acme_ims) (mmiotrace)" in printed
    assert "1 access to other addresses" in printed
    assert "1 access that the kernel did not decode (UNKNOWN)" in printed


@pytest.mark.parametrize("device", ["00:02.0", "0000:00:02.0", "8086:0B60"])
def test_another_device_is_chosen_by_address_or_ids(kernel: Path, device: str) -> None:
    assert "read 16 bits BAR 0 +0x10 = 0xffff" in run("trace", "show", str(kernel), "--device", device)


def test_a_drivers_initialisation_is_compared_with_ours(kernel: Path, tmp_path: Path) -> None:
    ours = tmp_path / "ours.jsonl"
    with vfio_ims.open("mock:minimal") as device:
        device.config.memory = True
        bar = device.bar(0)
        with trace(device, ours):
            bar.read32(0)
            bar.write32(0x8, 5)
            bar.poll(0x10, 4, 1, 0, 1.0)
    assert run("diff", "--registers", str(kernel), str(ours)) == ""
    printed = run("diff", str(kernel), str(ours), status=1)
    assert "- write 32 bits FIRE (BAR 0 +0x8) = 0x3" in printed
    assert "+ write 32 bits FIRE (BAR 0 +0x8) = 0x5" in printed


def test_a_recording_of_ours_survives_the_way_there_and_back(tmp_path: Path) -> None:
    path, text = tmp_path / "ours.jsonl", tmp_path / "ours.txt"
    with vfio_ims.open_driver("mock:minimal") as driver, trace(driver, path), driver.ims.allocate() as irq:
        driver.fire(irq.slot)
    run("trace", "convert", str(path), "--to", "mmiotrace", "-o", str(text))
    assert run("diff", str(path), str(text)) == ""
    assert run("trace", "show", str(text)).count("write 32 bits FIRE") == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("20070824", "20071231"), "its version is 20071231, and this program reads 20070824"),
        (("R 4 77.200000 2 0xfe000000", "R 4 77.200000 2"), "line 7 is malformed: 'R 4 77.200000 2 0x494d5331"),
        (("80860b60 b fb000004", "80860b60 b"), "line 3 is malformed"),
        (("PCIDEV", "MARK 0.0 PCIDEV"), "it has no PCIDEV line"),
        (("0xf", "0x"), "it has no access to a BAR of its devices"),
    ],
)
def test_a_text_that_is_none_is_named(kernel: Path, change: tuple[str, str], says: str) -> None:
    kernel.write_text(KERNEL.replace(*change))
    with pytest.raises(UsageError, match=r"read the mmiotrace .*kernel\.txt") as caught:
        read_any(kernel)
    assert says in str(caught.value)


def test_a_device_that_is_not_in_it_is_named_with_those_that_are(kernel: Path) -> None:
    with pytest.raises(
        UsageError, match=r"no device 8086:0b25; accessed were: 00:03\.0 .*acme_ims. with 5 accesses, 00:02"
    ):
        read_any(kernel, "8086:0b25")


def test_it_cannot_be_replayed(kernel: Path) -> None:
    with pytest.raises(UsageError, match="no answers for a replay"):
        vfio_ims.open(f"replay:{kernel}")
