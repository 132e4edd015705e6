# SPDX-License-Identifier: Apache-2.0
"""What a recording holds of what was done with a device."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

import vfio_ims
from tests.tracing.conftest import lines
from vfio_ims.drivers.minimal.registers import Bar0
from vfio_ims.errors import UsageError
from vfio_ims.native.memory import SharedMemory
from vfio_ims.native.watch import watch
from vfio_ims.native.window import MappedWindow, Piece
from vfio_ims.registers import Block
from vfio_ims.tracing import read_recording, trace, trace_opened


def events(path: Path, *kinds: str) -> list[dict[str, object]]:
    return [event for event in read_recording(path).events if event["k"] in kinds]


def test_registers_in_hand_already_are_recorded_with_their_names(tmp_path: Path) -> None:
    with vfio_ims.open_driver("mock:minimal") as driver:
        regs = driver.device.bar(0).bind(Bar0)
        read, write = regs.STATUS.read, driver.device.bar(0).write32  # bound before
        with trace(driver, tmp_path / "run.jsonl") as recording:
            recording.mark("begin")
            write(Bar0.FIRE.offset, 99)
            read()
        read()  # after the end
    found = events(tmp_path / "run.jsonl", "r", "w", "mark")
    assert [(one["k"], one.get("name")) for one in found] == [("mark", None), ("w", "FIRE"), ("r", "STATUS")]
    assert found[1]["value"] == "0x63"
    assert found[2]["fields"] == {"bad_slot": "1"}
    header = read_recording(tmp_path / "run.jsonl").header
    assert (header["device"], header["mount"], header["id"]) == ("mock:minimal", "mock", "1234:1a55")


def test_equal_reads_that_follow_each_other_are_one_line(tmp_path: Path) -> None:
    with vfio_ims.open_driver("mock:minimal") as driver:
        bar = driver.device.bar(0)
        with trace(driver, tmp_path / "run.jsonl"):
            for _ in range(100):
                bar.read32(Bar0.ID.offset)
            bar.read32(Bar0.STATUS.offset)
    first, second = events(tmp_path / "run.jsonl", "r")
    assert (first["name"], first["times"], second["name"]) == ("ID", 100, "STATUS")
    assert "times" not in second


def test_a_slot_its_message_and_its_interrupt_are_told_by_name(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with vfio_ims.open_driver("mock:minimal") as driver, trace(driver, path), driver.ims.allocate() as irq:
        slot, vector = irq.slot, irq.donor
        driver.fire(slot)
        assert irq.wait(1)
    written = [one["slots"] for one in events(path, "wt") if "slots" in one]
    assert {str(slot): f"vector {vector}"} in written
    assert [(one["index"], one["vector"]) for one in events(path, "irq")] == [(2, vector)]
    assert f"slot[{slot}].control" in {one.get("name") for one in events(path, "r")}
    assert "MSIX[0].low" in {one.get("name") for one in events(path, "r")}


def test_memory_is_named_by_buffer_and_its_contents_are_kept_only_when_asked(tmp_path: Path) -> None:
    secret = b"not for others"
    for contents in (False, True):
        path = tmp_path / f"{contents}.jsonl"
        with vfio_ims.open("mock:minimal") as device, trace(device, path, contents=contents):
            buffer = device.dma.allocate(4096)
            buffer.view[: len(secret)] = secret
            buffer.close()
        assert (secret.hex() in path.read_text()) == contents
        assert [one["size"] for one in events(path, "map", "unmap")] == [4096, 4096]
        assert bool(events(path, "unmap")[0].get("held")) != contents  # a hash in place of the bytes


def test_an_error_is_recorded_with_the_call_that_raised_it(tmp_path: Path) -> None:
    with vfio_ims.open("mock:minimal") as device, trace(device, tmp_path / "run.jsonl"), pytest.raises(UsageError):
        device.bar(0).read32(3)
    (failed,) = [one for one in events(tmp_path / "run.jsonl", "r") if "err" in one]
    assert failed["offset"] == "0x3"
    assert failed["err"]["type"] == "UsageError"  # type: ignore[index]


def test_threads_are_told_apart(tmp_path: Path) -> None:
    with vfio_ims.open("mock:minimal") as device, trace(device, tmp_path / "run.jsonl"):
        bar = device.bar(0)
        bar.read32(0)
        other = threading.Thread(target=bar.read32, args=(0x10,), name="other")
        other.start()
        other.join()
    names = {one["th"]: one["name"] for one in events(tmp_path / "run.jsonl", "thread")}
    assert [names[one.get("th", 0)] for one in events(tmp_path / "run.jsonl", "r")][-2:] == ["MainThread", "other"]


def test_each_device_that_is_opened_has_its_own_file(tmp_path: Path) -> None:
    with trace_opened(tmp_path / "run.jsonl"), vfio_ims.open("mock:minimal"), vfio_ims.open("mock:intel-dsa"):
        pass
    with vfio_ims.open("mock:minimal"):
        pass
    assert sorted(one.name for one in tmp_path.iterdir()) == ["run.2.jsonl", "run.jsonl"]
    assert read_recording(tmp_path / "run.2.jsonl").header["device"] == "mock:intel-dsa"


def test_a_recording_that_ends_in_the_middle_of_a_line_is_read_up_to_there(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl.gz"
    with vfio_ims.open("mock:minimal") as device, trace(device, path):
        device.bar(0).read32(0)
    whole = read_recording(path)
    assert not whole.cut
    cut = tmp_path / "cut.jsonl"
    cut.write_text("\n".join(['{"format":"vfio-ims-trace","version":"1.0"}', '{"k":"mark"}', '{"k":']))
    assert read_recording(cut).cut
    assert len(read_recording(cut).events) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1 is not JSON"),
        ("[]\n", "must be an object"),
        ('{"format":"other"}\n', "must say 'vfio-ims-trace'"),
        ('{"format":"vfio-ims-trace","version":"2.0"}\n', "reads 1.0"),
    ],
)
def test_what_is_no_recording_is_refused_with_the_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "run.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match=says):
        read_recording(path)


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz"])
def test_a_forked_child_writes_nothing_into_the_recording(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"run.{ending}"
    with vfio_ims.open("mock:minimal") as device, trace(device, path) as recording:
        recording.mark("before")  # still in the buffer when the process forks
        child = os.fork()
        if not child:
            try:
                recording.mark("in the child")
                recording.recorder._file.flush()  # as the end of an interpreter does
                recording.close()
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        recording.mark("after")
    assert [one["text"] for one in events(path, "mark")] == ["before", "after"]


def test_nothing_stays_when_a_recording_ends(tmp_path: Path) -> None:
    with vfio_ims.open_driver("mock:minimal") as driver:
        before = dict(vars(driver.device.port)), dict(vars(driver.device.port.space))
        with trace(driver, tmp_path / "run.jsonl", contents=True):
            assert vars(driver.device.port).keys() > before[0].keys()
            assert watch.by is not None
        assert vars(driver.device.port).keys() == before[0].keys()
        assert vars(driver.device.port.space).keys() == before[1].keys()
    assert watch.by is None
    assert Block.on_bind is None


def test_a_mapped_window_is_diverted_and_brought_back() -> None:
    page = 0x1000
    seen: list[str] = []

    class Taker:
        def __init__(self, inner: MappedWindow) -> None:
            self.inner = inner

        def __getattr__(self, name: str) -> object:
            seen.append(name)
            return getattr(self.inner, name)

    with SharedMemory(page) as memory, MappedWindow(page, [Piece(memory.fd, 0, 0, page)]) as window:
        read, write = window.read64, window.write64
        window.divert(Taker(window.undiverted()))  # type: ignore[arg-type]
        seen.clear()
        write(8, (1 << 64) - 1)
        assert read(8) == (1 << 64) - 1
        assert window.read_block(8, 2) == b"\xff" * 8
        assert window.poll(8, 4, 1, 1, 0) == 0xFFFF_FFFF
        with pytest.raises(UsageError, match="multiple"):
            read(3)
        assert seen == ["read_block", "poll"]  # single accesses were bound when it was diverted
        window.divert(None)
        seen.clear()
        assert read(8) == (1 << 64) - 1
        assert window.read_block(8, 1) == b"\xff" * 4
        assert seen == []


def test_the_file_says_which_format_it_is(recorded: Path) -> None:
    header = lines(recorded)[0]
    assert (header["format"], header["version"], header["contents"]) == ("vfio-ims-trace", "1.0", True)
    assert header["from_open"]
