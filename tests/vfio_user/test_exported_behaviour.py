# SPDX-License-Identifier: Apache-2.0
"""The behavioural suite's core on a device that another process has opened: a model, and one behind a socket."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = {"mock:minimal": ("test_ims_slots.py", "test_donors.py", "test_reset.py"), "a socket": ("test_ims_slots.py",)}


@contextmanager
def serving(device: str, path: Path) -> Iterator[str]:
    """``vfio-ims serve``; the name of what it serves."""
    command = [str(Path(sys.executable).parent / "vfio-ims"), "serve", device, "--socket", str(path)]
    server = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while not path.exists():
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield f"vfio-user:{path}"
    finally:
        server.terminate()
        _, said = server.communicate(timeout=60)
    assert server.returncode == 0, said
    assert "WARNING" not in said


@pytest.mark.parametrize("behind", CORE)
def test_the_suite_passes_on_an_exported_device(behind: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        device = behind
        if behind == "a socket":
            device = stack.enter_context(serving("minimal", tmp_path / "model.sock"))
        served = stack.enter_context(serving(device, tmp_path / "served.sock"))
        suite = ROOT / "tests/behaviour"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--vfio-device={served}"]
        ran = subprocess.run(
            [*command, *(str(suite / module) for module in CORE[behind])],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=240,
        )
    assert ran.returncode == 0, ran.stdout[-4000:]
    passed = re.search(r"(\d+) passed", ran.stdout)
    assert passed is not None
    assert int(passed[1]) > 20, ran.stdout
