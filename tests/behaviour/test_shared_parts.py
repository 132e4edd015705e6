# SPDX-License-Identifier: Apache-2.0
"""What threads share of a device is there once, and is not copied."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
from collections.abc import Callable

import pytest

import vfio_ims
from tests.behaviour.common import EVERYWHERE, TIMEOUT, delivered
from vfio_ims.driver import Driver
from vfio_ims.errors import UsageError
from vfio_ims.locks import held_together, made_once, make_lock

pytestmark = EVERYWHERE

_THREADS = 4
_TOGETHER = 0.2  # seconds that one maker waits for another to come in, which must not happen


class Crowd:
    """Who is inside at one time: each waits a while for a second one."""

    def __init__(self) -> None:
        self.entered, self.second = 0, threading.Event()
        self._lock = threading.Lock()

    def enter(self) -> None:
        with self._lock:
            self.entered += 1
            if self.entered > 1:
                self.second.set()
        self.second.wait(_TOGETHER)


def in_threads(look: Callable[[], object]) -> list[object]:
    found: list[object] = []
    start = threading.Barrier(_THREADS)

    def run() -> None:
        start.wait(TIMEOUT)
        found.append(look())

    threads = [threading.Thread(target=run) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert len(found) == _THREADS
    return found


@pytest.mark.vfio(model="minimal", mount="mock")
def test_several_locks_are_held_together_or_not_at_all(vfio_name: str) -> None:
    class Broken:
        def acquire(self) -> None:
            raise KeyboardInterrupt

    locks = [make_lock() for _ in range(3)]
    with held_together(locks):
        assert all(lock.locked() for lock in locks)
    assert not any(lock.locked() for lock in locks)
    with pytest.raises(KeyboardInterrupt), held_together([*locks, Broken()]):  # type: ignore[list-item]
        pytest.fail("it was entered")
    assert not any(lock.locked() for lock in locks)


@pytest.mark.vfio(model="minimal", mount="mock")
def test_threads_that_meet_make_a_part_once(vfio_name: str) -> None:
    """From Python 3.12 on functools.cached_property makes one a thread."""
    crowd = Crowd()

    class Holder:
        @made_once
        def part(self) -> object:
            crowd.enter()
            return object()

    holder = Holder()
    parts = in_threads(lambda: holder.part)
    assert all(part is parts[0] for part in parts)
    assert crowd.entered == 1


@pytest.mark.parametrize("part", ["interrupts", "dma"])
def test_threads_that_meet_get_one_part(vfio_name: str, part: str) -> None:
    with vfio_ims.open(vfio_name) as device:
        parts = in_threads(lambda: getattr(device, part))
        assert all(one is parts[0] for one in parts)
        hubs = in_threads(lambda: device.interrupts.hub)
        assert all(hub is hubs[0] for hub in hubs)


@pytest.mark.vfio(model="minimal", mount="mock")
def test_a_part_that_could_not_be_made_is_tried_again(vfio_name: str) -> None:
    class Holder:
        tries = 0

        @made_once
        def part(self) -> str:
            self.tries += 1
            if self.tries == 1:
                raise ZeroDivisionError
            return "made"

    holder = Holder()
    with pytest.raises(ZeroDivisionError):
        _ = holder.part
    assert (holder.part, holder.part, holder.tries) == ("made", "made", 2)


@pytest.mark.parametrize("how", [copy.copy, copy.deepcopy, pickle.dumps], ids=["copy", "deepcopy", "pickle"])
def test_copies_are_refused(ims_driver: Driver, how: Callable[[object], object]) -> None:
    """A copy would close the original when it is collected."""
    with ims_driver.ims.allocate() as irq:
        for owner in (ims_driver, ims_driver.device, ims_driver.ims, ims_driver.device.interrupts.hub):
            with pytest.raises(UsageError, match="copy or pickle"):
                how(owner)
        gc.collect()
        assert delivered(ims_driver, irq)
