# SPDX-License-Identifier: Apache-2.0
"""The moment between a thread's last look at its flag and its sleep in the kernel."""

from __future__ import annotations

import threading
import time

import pytest

import vfio_ims
from tests.behaviour.common import TIMEOUT, arrives, fire


@pytest.mark.parametrize("looks", [1, 3])
def test_an_event_that_another_thread_drains_in_that_moment_wakes_the_thread(
    monkeypatch: pytest.MonkeyPatch, looks: int
) -> None:
    with vfio_ims.open_driver("mock:minimal") as driver, driver.ims.allocate() as irq:
        hub = driver.ims.hub
        really_sleep = hub._poller.sleep
        late = [True]

        def others() -> None:
            fire(driver, irq)
            for _ in range(looks):  # the later ones find nothing, and must not take the wake-up away
                hub.drain()

        def sleep(epoch: int, timeout: float | None = None) -> bool:
            if late:
                late.clear()
                thread = threading.Thread(target=others)
                thread.start()
                thread.join()
            return really_sleep(epoch, timeout)

        monkeypatch.setattr(hub._poller, "sleep", sleep)
        began = time.monotonic()
        assert arrives(irq)
        assert time.monotonic() - began < TIMEOUT / 2
