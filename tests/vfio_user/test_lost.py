# SPDX-License-Identifier: Apache-2.0
"""A server that dies under a waiting client: every wait ends at once, and says why."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import vfio_ims
from vfio_ims.driver import Driver
from vfio_ims.errors import RemovedError, VfioImsError


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Driver, subprocess.Popen[str]]]:
    """An open device of a server in another process; closing it after the loss is no error to speak of."""
    socket = tmp_path / "dev.sock"
    command = [sys.executable, "-m", "vfio_ims.cli.main", "serve", "minimal", "--socket", str(socket)]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert server.stderr is not None
    server.stderr.readline()
    driver = vfio_ims.open_driver(f"vfio-user:{socket}")
    try:
        yield driver, server
    finally:
        server.kill()
        server.wait(20)
        server.stderr.close()
        try:
            driver.close()
        except VfioImsError:
            assert driver.closed


def kill(server: subprocess.Popen[str]) -> None:
    os.kill(server.pid, signal.SIGKILL)


def test_a_waiting_thread_is_notified_at_once(served: tuple[Driver, subprocess.Popen[str]]) -> None:
    driver, server = served
    irq = driver.ims.allocate()
    threading.Timer(0.2, kill, (server,)).start()
    began = time.monotonic()
    with pytest.raises(RemovedError, match="closed the socket") as raised:
        irq.wait(timeout=30)
    assert time.monotonic() - began < 10
    assert "start the server again" in str(raised.value)
    with pytest.raises(RemovedError):  # and so is everybody who waits later
        irq.wait(timeout=30)


def test_a_waiting_task_is_notified_at_once(served: tuple[Driver, subprocess.Popen[str]]) -> None:
    driver, server = served

    async def main() -> None:
        irq = driver.ims.allocate()
        asyncio.get_running_loop().call_later(0.2, kill, server)
        async with asyncio.timeout(10):
            await irq

    with pytest.raises(RemovedError, match="closed the socket"):
        asyncio.run(main())
