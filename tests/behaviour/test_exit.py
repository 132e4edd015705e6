# SPDX-License-Identifier: Apache-2.0
"""The end of the interpreter: what is still open is closed while threads still run, in every version of Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_TIMEOUT = 60.0  # seconds; a process that hangs at its end never ends

_SERVED = """
import atexit, vfio_ims, vfio_ims.names
from vfio_ims.vfio_user.server import Server
from vfio_ims.families import all_families
family = next(family for family in all_families() if family.name == "minimal")
server = Server(family.load_model("minimal")(), {path!r}).start()
"""


def run(code: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, timeout=_TIMEOUT, check=False
    )


@pytest.mark.parametrize(
    "code",
    [
        "",
        "driver = vfio_ims.open_driver('vfio-user:{path}')",
        "device = vfio_ims.open('vfio-user:{path}')",
        "driver = vfio_ims.open_driver('vfio-user:{path}'); irq = driver.ims.allocate(); driver.fire(irq.slot)",
        "mock = vfio_ims.open_driver('mock:intel-dsa,slots=256'); irq = mock.ims.allocate(); mock.fire(irq.slot)",
    ],
    ids=["server", "driver", "device", "slot", "mock"],
)
def test_what_is_open_at_the_end_is_closed(tmp_path: Path, code: str) -> None:
    path = str(tmp_path / "socket")
    ended = run(_SERVED.format(path=path) + code.format(path=path))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert not (tmp_path / "socket").exists(), "the server's socket goes with it"


def test_what_is_open_at_the_end_is_warned_of(tmp_path: Path) -> None:
    ended = run("import vfio_ims; driver = vfio_ims.open_driver('mock:minimal')", "-W", "always::ResourceWarning")
    assert ended.returncode == 0
    assert "minimal was not closed (opened at <string>:1)" in ended.stderr


def test_close_can_be_registered_for_the_end(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    code = """
driver = vfio_ims.open_driver('vfio-user:{path}')
atexit.register(lambda: print("closed" if driver.closed else "open"))
atexit.register(driver.close)
"""
    ended = run(_SERVED.format(path=path) + code.format(path=path))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "closed\n", "")


def test_a_thread_that_waits_does_not_keep_the_process(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    code = """
import threading
from vfio_ims.errors import ClosedError
driver = vfio_ims.open_driver('vfio-user:{path}')
irq = driver.ims.allocate()
def wait():
    try:
        irq.wait()
    except ClosedError:
        pass
threading.Thread(target=wait, daemon=True).start()
"""
    ended = run(_SERVED.format(path=path) + code.format(path=path))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
