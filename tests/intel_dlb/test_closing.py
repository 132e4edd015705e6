# SPDX-License-Identifier: Apache-2.0
"""A domain that is closed while other threads use its ports: none of their stores comes after its reset."""

from __future__ import annotations

import sys
import threading
import time
from array import array
from collections.abc import Callable, Iterator

import pytest

from vfio_ims.drivers.intel_dlb.driver import Dlb
from vfio_ims.errors import ClosedError, DeviceBusy


@pytest.fixture
def quick_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_closing_waits_for_a_store_that_has_begun(dlb: Dlb) -> None:
    domain = dlb.domain()
    port = domain.directed_port(interrupt="poll")
    assert port.producer.portal.enter()  # as a store does
    closing = threading.Thread(target=domain.close)
    closing.start()
    time.sleep(0.1)
    assert closing.is_alive()
    assert port.registers.CQ_ADDR_L.read(), "the port was reset while a store to it was under way"
    with pytest.raises(ClosedError, match="domain 0 was closed"):
        port.enqueue(port.queue, 1)
    port.producer.portal.leave()
    closing.join(10)
    assert not closing.is_alive()
    for refused in (lambda: port.enqueue_many(port.queue, [1]), port.dequeue_many, lambda: port.dequeue_wait(0.1)):
        with pytest.raises(ClosedError, match="domain 0 was closed"):
            refused()


def test_users_in_other_threads_are_refused_and_the_device_sees_nothing(dlb: Dlb, quick_switches: None) -> None:
    data = array("Q", range(50))

    def again_and_again(use: Callable[[], object]) -> None:
        while True:
            try:
                use()
            except DeviceBusy:
                continue
            except ClosedError:
                return

    for _ in range(5):
        domain = dlb.domain(512)
        port = domain.directed_port(depth=1024, interrupt="poll")
        uses = (
            lambda port=port: port.enqueue(port.queue, 1),
            lambda port=port: port.enqueue_many(port.queue, data),
            lambda port=port: port.dequeue_many(7),
        )
        threads = [threading.Thread(target=again_and_again, args=(use,)) for use in uses]
        for thread in threads:
            thread.start()
        time.sleep(0.05)
        domain.close()
        for thread in threads:
            thread.join(10)
        assert not any(thread.is_alive() for thread in threads)
    assert dlb.take_alarm() is None
