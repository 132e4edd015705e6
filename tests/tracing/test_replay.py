# SPDX-License-Identifier: Apache-2.0
"""A recording opens as a device, answers as then, and says where a run leaves it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

import vfio_ims
from tests.tracing.conftest import Event, run_selftest
from vfio_ims import selftest
from vfio_ims.cli.main import cli
from vfio_ims.drivers.intel_idxd.driver import Dsa
from vfio_ims.drivers.intel_idxd.hardware.registers import Bar0
from vfio_ims.errors import UsageError
from vfio_ims.native.watch import watch
from vfio_ims.tracing import trace, trace_opened
from vfio_ims.tracing.difference import ReplayDifference
from vfio_ims.tracing.replay import ReplayDevice

Change = Callable[[Callable[[Event], bool], Event], Path]
SIZE = 1 << 16


def test_a_selftest_of_dsa_replays_without_a_difference(recorded: Path) -> None:
    with vfio_ims.open_driver(f"replay:{recorded}") as driver:
        port = driver.device.port
        assert isinstance(port, ReplayDevice)
        report = selftest.run(driver, options=selftest.Options(slots=6))
    assert report.passed
    assert (port.remaining, port.difference) == (0, None)
    assert watch.by is None


@pytest.mark.parametrize("model", ["minimal", "intel-dlb", "synopsys-edma"])
def test_other_devices_selftests_replay(model: str, tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl.gz"
    with trace_opened(path, contents=True):
        assert run_selftest(f"mock:{model}").passed
    assert run_selftest(f"replay:{path}").passed


def test_operations_replay_with_what_the_device_wrote_to_memory(tmp_path: Path) -> None:
    def copy(name: str) -> bytes:
        with Dsa.open(name) as dsa:
            source, target = dsa.device.dma.allocate(SIZE), dsa.device.dma.allocate(SIZE)
            source.view[:] = os.urandom(SIZE)
            with dsa.ims.allocate() as irq, dsa.wq(0, irq) as queue:
                queue.memmove(target, source, SIZE)
                parts = range(0, SIZE, SIZE // 4)
                copies = [queue.submit.memmove(target.iova + at, source.iova + at, SIZE // 4) for at in parts]
                for one in copies:
                    one.wait()
            return bytes(target.view)

    with trace_opened(tmp_path / "run.jsonl", contents=True):
        then = copy("mock:intel-dsa")
    assert copy(f"replay:{tmp_path / 'run.jsonl'}") == then


def test_one_register_that_differs_is_found_and_named(changed: Change) -> None:
    """As where a driver has changed: it writes another value than it did when this was recorded."""
    path = changed(lambda event: event["k"] == "w" and event.get("name") == "GENCFG", {"value": "0x1234"})
    with pytest.raises(ReplayDifference) as caught, vfio_ims.open_driver(f"replay:{path}"):
        pytest.fail("the driver does not start")
    text = str(caught.value)
    assert "recorded: write 32 bits GENCFG (BAR 0 +0x80) = 0x1234" in text
    assert "now:      write 32 bits GENCFG (BAR 0 +0x80) = 0x" in text
    context = [line for line in text.splitlines() if line.startswith("    ")]
    assert len(context) == 11
    assert [line.startswith("    >") for line in context].index(True) == 5


def test_what_may_differ_is_masked_by_name(changed: Change) -> None:
    path = changed(lambda event: event["k"] == "w" and event.get("name") == "GENCFG", {"value": "0x1234"})
    assert run_selftest(f"replay:{path},ignore=GENCFG").passed


def test_an_answer_that_changes_what_the_driver_does_is_a_difference(changed: Change) -> None:
    path = changed(lambda event: event["k"] == "r" and event.get("name") == "VERSION", {"value": "0xffffffff"})
    with pytest.raises(vfio_ims.VfioImsError), vfio_ims.open_driver(f"replay:{path}"):
        pytest.fail("a device of that version is not driven")


def test_a_difference_is_raised_again_by_close_where_it_was_handled(recorded: Path) -> None:
    device = vfio_ims.open(f"replay:{recorded}")
    with pytest.raises(ReplayDifference):
        device.bar(0).read32(0x7C)
    with pytest.raises(ReplayDifference, match="recorded:"):
        device.close()
    assert watch.by is None


def test_by_register_another_order_is_no_difference(recorded: Path) -> None:
    with vfio_ims.open(f"replay:{recorded},order=register") as device:
        regs = device.bar(0).bind(Bar0)
        version = [regs.VERSION.read() for _ in range(3)]  # before anything else, and more often
        assert version == [0x100] * 3
        assert regs.GENCAP.read().ims_multiplier == 8


def test_a_recording_of_a_device_in_use_is_replayed_by_register_only(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with vfio_ims.open_driver("mock:minimal") as driver, trace(driver, path):
        driver.device.bar(0).read32(0)
    with pytest.raises(UsageError, match="while the device was in use") as caught:
        vfio_ims.open(f"replay:{path}")
    assert "order=register" in caught.value.hint


def test_a_recording_is_not_recorded_again(recorded: Path, tmp_path: Path) -> None:
    with trace_opened(tmp_path / "again.jsonl"), pytest.raises(UsageError, match="its own trace"):
        vfio_ims.open(f"replay:{recorded}")


# --- the command line -------------------------------------------------------------------------------------------------


def run(*words: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, [*words], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value, result.stdout, result.stderr


def test_the_verbs_record_and_replay(tmp_path: Path) -> None:
    path = str(tmp_path / "run.jsonl")
    assert run("selftest", "mock:minimal", "--slots", "4", "--trace", path, "--trace-memory")[0] == 0
    assert run("selftest", f"replay:{path}", "--slots", "4")[0] == 0
    before = str(tmp_path / "before.jsonl")
    assert run("--trace", before, "read", "mock:minimal", "ID")[1] == run("read", f"replay:{before}", "ID")[1]


def test_twice_verbose_prints_each_access() -> None:
    status, printed, told = run("-vv", "read", "mock:minimal", "ID")
    assert status == 0
    assert "read 32 bits ID (BAR 0 +0x0) = 0x494d5331" in told
    assert "read 32 bits" not in printed


def test_a_file_that_cannot_be_written_is_said_before_anything_is_opened(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="write the recording"):
        run("selftest", "mock:minimal", "--trace", str(tmp_path / "none" / "run.jsonl"))
