# SPDX-License-Identifier: Apache-2.0
"""Polling a register: what it returns, and what ends it."""

from __future__ import annotations

import threading
import time

import pytest

from vfio_ims.errors import ClosedError
from vfio_ims.native.window import MappedWindow


def test_poll_returns_what_it_saw_last(window: MappedWindow) -> None:
    window.write32(16, 0xA5)
    assert window.poll(16, 4, 0xF, 5, 1.0) == 0xA5
    began = time.monotonic()
    assert window.poll(16, 2, 0xF, 6, 0.15) == 0xA5
    assert 0.15 <= time.monotonic() - began < 10
    assert window.poll(16, 1, 0xF, 6, 0) == 0xA5


def test_poll_sees_a_change_and_lets_other_threads_run(window: MappedWindow) -> None:
    timer = threading.Timer(0.05, lambda: window.write8(16, 1))
    timer.start()
    assert window.poll(16, 1, 1, 1, 10.0) == 1
    timer.join()


def test_closing_ends_a_poll(window: MappedWindow) -> None:
    timer = threading.Timer(0.05, window.close)
    timer.start()
    with pytest.raises(ClosedError, match="poll"):
        window.poll(16, 1, 1, 1, 10.0)
    timer.join()
