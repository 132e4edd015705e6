# SPDX-License-Identifier: Apache-2.0
"""``order=thread``: each thread's calls are those of then, however the threads interleave."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import vfio_ims
from vfio_ims.device import Device
from vfio_ims.tracing import trace_opened
from vfio_ims.tracing.difference import ReplayDifference

ID, FIRE, STATUS = 0x0, 0x8, 0x10


def in_turn(device: Device, *parts: tuple[str, Callable[[], object]]) -> None:
    """Each part in a thread of its own, one after the other; a failure is raised here."""
    for name, part in parts:
        failures: list[BaseException] = []

        def call(part: Callable[[], object] = part, failures: list[BaseException] = failures) -> None:
            try:
                part()
            except BaseException as failure:  # noqa: BLE001 - it is raised where the test sees it
                failures.append(failure)

        thread = threading.Thread(target=call, name=name)
        thread.start()
        thread.join()
        if failures:
            raise failures[0]


def readers(device: Device) -> tuple[Callable[[], object], Callable[[], object]]:
    bar = device.bar(0)
    return lambda: [bar.read32(ID) for _ in range(3)], lambda: [bar.write32(FIRE, 1), bar.read32(STATUS)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "run.jsonl"
    with trace_opened(found, contents=True), vfio_ims.open("mock:minimal") as device:
        device.config.memory = True
        first, second = readers(device)
        in_turn(device, ("reads", first), ("fires", second))
    return found


@pytest.mark.parametrize("names", [("fires", "reads"), ("fires", "other")])
def test_another_interleaving_is_no_difference(path: Path, names: tuple[str, str]) -> None:
    """By name; and a thread of another name is the one that is left."""
    with vfio_ims.open(f"replay:{path},order=thread") as device:
        device.config.memory = True
        first, second = readers(device)
        in_turn(device, (names[0], second), (names[1], first))
    assert device.port.remaining == 0


def test_threads_without_their_names_are_matched_as_they_appear(path: Path) -> None:
    with vfio_ims.open(f"replay:{path},order=thread") as device:
        device.config.memory = True
        first, second = readers(device)
        in_turn(device, ("a", first), ("b", second))


def test_strict_order_refuses_the_other_interleaving(path: Path) -> None:
    device = vfio_ims.open(f"replay:{path}")
    device.config.memory = True
    first, second = readers(device)
    with pytest.raises(ReplayDifference):
        in_turn(device, ("fires", second), ("reads", first))
    with pytest.raises(ReplayDifference):
        device.close()


def test_another_order_in_one_thread_is_a_difference(path: Path) -> None:
    device = vfio_ims.open(f"replay:{path},order=thread")
    device.config.memory = True
    bar = device.bar(0)
    with pytest.raises(ReplayDifference, match=r"recorded: write 32 bits FIRE .*\n.*now: +read 32 bits STATUS"):
        in_turn(device, ("fires", lambda: bar.read32(STATUS)))
    with pytest.raises(ReplayDifference):
        device.close()


def test_a_thread_too_many_is_a_difference(path: Path) -> None:
    device = vfio_ims.open(f"replay:{path},order=thread")
    device.config.memory = True
    bar = device.bar(0)
    first, second = readers(device)
    in_turn(device, ("reads", first), ("fires", second))
    with pytest.raises(ReplayDifference, match="recorded: nothing more"):
        in_turn(device, ("third", lambda: bar.read32(ID)))
    with pytest.raises(ReplayDifference):
        device.close()


def test_interrupts_of_two_threads_replay_with_their_waits(tmp_path: Path) -> None:
    """Each thread waits for its own slot; which fires first may differ from then."""

    def work(name: str, order: list[str]) -> None:
        with vfio_ims.open_driver(name) as driver:
            slots = {one: driver.ims.allocate(exclusive=True) for one in ("one", "two")}

            def fire(one: str) -> None:
                driver.fire(slots[one].slot)
                assert slots[one].wait(timeout=30)

            in_turn(driver.device, *[(one, lambda one=one: fire(one)) for one in order])  # type: ignore[misc]

    recorded = tmp_path / "run.jsonl"
    with trace_opened(recorded, contents=True):
        work("mock:minimal", ["one", "two"])
    work(f"replay:{recorded},order=thread", ["one", "two"])
    with pytest.raises(ReplayDifference):
        work(f"replay:{recorded},order=thread", ["one", "one"])
