# SPDX-License-Identifier: Apache-2.0
"""One process at a time tests a device: the lock itself, and runs of pytest-xdist."""

from __future__ import annotations

import json
import os
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.behaviour.common import in_child
from vfio_ims.errors import DeviceBusy
from vfio_ims.testing.device_lock import DeviceLock
from vfio_ims.testing.server import ServedModel
from vfio_ims.testing.spread import device_of

NAME = "0000:6a:01.0"


def test_a_second_holder_is_told_who_has_it(tmp_path: Path) -> None:
    first, second = DeviceLock(NAME, tmp_path), DeviceLock(NAME, tmp_path)
    first.acquire(0)
    first.acquire(0)  # it is held already
    with pytest.raises(DeviceBusy, match=rf"{NAME}: take the lock.*: process {os.getpid()}\b.*within 0 s"):
        second.acquire(0)
    first.release()
    first.release()
    second.acquire(0)
    other = DeviceLock("0000:6a:02.0", tmp_path)
    other.acquire(0)
    other.release()
    second.release()


def test_no_file_is_left(tmp_path: Path) -> None:
    lock = DeviceLock(NAME, tmp_path)
    lock.acquire(0)
    assert [path.suffix for path in tmp_path.iterdir()] == [".lock"]
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_does_not_keep_it(tmp_path: Path) -> None:
    lock = DeviceLock(NAME, tmp_path)
    lock.acquire(0)
    assert _files_open_in(tmp_path)
    assert in_child(lambda: " ".join(_files_open_in(tmp_path))) == ""
    assert lock.held
    lock.release()


def _files_open_in(folder: Path) -> list[str]:
    """Of this process."""
    held = [Path(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]
    return [path.resolve().name for path in held if path.exists() and folder in path.resolve().parents]


def test_who_waits_is_next(tmp_path: Path) -> None:
    first, second = DeviceLock(NAME, tmp_path), DeviceLock(NAME, tmp_path)
    order = []

    def wait() -> None:
        second.acquire(60)
        order.append("second")
        second.release()

    first.acquire(0)
    waiter = threading.Thread(target=wait)
    waiter.start()
    while not _taken(tmp_path):  # until it waits
        assert waiter.is_alive()
    first.release()
    first.acquire(60)
    order.append("first")
    waiter.join()
    assert order == ["second", "first"]
    first.release()


def _taken(folder: Path) -> bool:
    """Whether the place behind the holder is taken."""
    return any(name.endswith(".next") for name in _files_open_in(folder))


def test_another_users_lock_file_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = DeviceLock(NAME, tmp_path), DeviceLock(NAME, tmp_path)
    first.acquire(0)
    really = os.open

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_RDWR and path.exists():
            raise PermissionError
        return really(path, flags, mode)

    def keep(path: Path) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(Path, "unlink", keep)
    with pytest.raises(DeviceBusy):
        second.acquire(0)
    first.release()
    second.acquire(0)
    second.release()


@pytest.mark.parametrize(
    ("parameters", "device"),
    [
        ("[0000:6a:01.0]", "0000:6a:01.0"),
        ("[3-0000:6a:01.0]", "0000:6a:01.0"),
        ("[0000:6a:01.0,iommu=type1-fast]", "0000:6a:01.0,iommu=type1"),
        ("[0000:6a:01.00]", ""),
        ("[fast]", ""),
        ("", ""),
    ],
)
def test_which_device_a_test_is_on_shows_in_its_name(parameters: str, device: str) -> None:
    assert device_of(f"test_it.py::test_it{parameters}", ["0000:6a:01.0", "0000:6a:01.0,iommu=type1"]) == device


# --- runs of pytest-xdist ---------------------------------------------------------------------------------------------

TESTS = """
    import json, os, time, pytest

    @pytest.mark.parametrize("n", range(3))
    def test_on_a_device(ims_driver, vfio_name, n):
        with open("seen", "a") as file:
            print(json.dumps([vfio_name, os.environ["PYTEST_XDIST_WORKER"]]), file=file)
        with ims_driver.ims.allocate() as irq:
            ims_driver.fire(irq.slot)
            assert irq.wait(timeout=10)
"""


@pytest.fixture
def served(pytester: pytest.Pytester) -> Iterator[list[ServedModel]]:
    servers = []
    for name in ("one", "two"):
        (pytester.path / name).mkdir()
        servers.append(ServedModel("minimal", pytester.path / name))
    yield servers
    for server in servers:
        server.close()


def run(pytester: pytest.Pytester, *arguments: str) -> tuple[pytest.RunResult, dict[str, set[str]]]:
    """The result, and by device which processes were on it."""
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-n2", *arguments)
    workers = defaultdict(set)
    for line in (pytester.path / "seen").read_text().splitlines():
        device, worker = json.loads(line)
        workers[device].add(worker)
    return result, workers


def test_each_device_has_a_process_of_its_own(pytester: pytest.Pytester, served: list[ServedModel]) -> None:
    devices = [part for server in served for part in ("--vfio-device", server.name)]
    result, workers = run(pytester, *devices)
    result.assert_outcomes(passed=6)
    assert sorted(map(sorted, workers.values())) == [["gw0"], ["gw1"]]


def test_processes_that_have_one_device_take_turns(pytester: pytest.Pytester, served: list[ServedModel]) -> None:
    result, workers = run(pytester, "--dist=each", "--vfio-device", served[0].name)
    result.assert_outcomes(passed=6)
    assert list(workers.values()) == [{"gw0", "gw1"}]


def test_who_waited_too_long_says_for_whom(pytester: pytest.Pytester, served: list[ServedModel]) -> None:
    """By the same lock as a run of another user's."""
    lock = DeviceLock(str(served[0].path.resolve()))
    lock.acquire(0)
    try:
        pytester.makepyfile("def test_it(ims_driver): pass")
        result = pytester.runpytest_subprocess("--vfio-device", served[0].name, "--vfio-wait=0")
    finally:
        lock.release()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*process {os.getpid()} has not ended its tests on it within 0 s*"])


def test_a_name_of_nothing_is_one_mistake_of_all_processes(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)
    result = pytester.runpytest_subprocess("-n2", "--vfio-device", "vfio-user:/nobody/here.sock")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert len([line for line in result.errlines if "here.sock" in line]) == 2, "the error, and what to do next"
