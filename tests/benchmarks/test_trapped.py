# SPDX-License-Identifier: Apache-2.0
"""One trapped access: over our vfio-user server in another process, against the same access in process."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import vfio_ims


def test_a_trapped_access(race: Any, tmp_path: Path) -> None:
    socket = tmp_path / "s"
    server = subprocess.Popen(
        [sys.executable, "-m", "vfio_ims.cli.main", "serve", "minimal", "--socket", str(socket)],
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 20
        while not socket.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        with vfio_ims.open(f"vfio-user:{socket}") as there, vfio_ims.open("mock:minimal") as here:
            there.config.memory = here.config.memory = True
            far, near = there.bar(0).read32, here.bar(0).read32
            race("trapped read32 over vfio-user", lambda: far(0), lambda: near(0), against="the mock, in process")
    finally:
        server.terminate()
        server.wait(20)
