# SPDX-License-Identifier: Apache-2.0
"""A function that a lab's exporter holds goes back when the exporter is killed: kept.py FUNCTION. JSON: its drivers."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ADDRESS = sys.argv[1]
HERE = Path("/sys/bus/pci/devices") / ADDRESS
EXPORTER = """
import sys, time
from vfio_ims.labs.kept import Kept
kept = Kept("function", sys.argv[1])
print(kept.ready, flush=True)
time.sleep(600)
"""


def driver() -> str:
    """What the function is bound to now."""
    return (HERE / "driver").resolve().name if (HERE / "driver").exists() else ""


def keepers() -> list[int]:
    """The processes that keep the function."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if b"vfio_ims.labs.keeper" in place.read_bytes():
                found.append(int(place.parent.name))
    return found


override = HERE / "driver_override"
override.write_text("\n")
(HERE / "driver/unbind").write_text(ADDRESS)
found = {"before": driver()}
exporter = subprocess.Popen([sys.executable, "-c", EXPORTER, ADDRESS], stdout=subprocess.PIPE, text=True)
assert exporter.stdout is not None
found["ready"] = exporter.stdout.readline()
found["lent"] = driver()
os.kill(exporter.pid, signal.SIGKILL)
exporter.wait()
deadline = time.monotonic() + 60
while keepers() and time.monotonic() < deadline:
    time.sleep(0.05)
found["after"] = driver()
found["override"] = override.read_text().strip()
override.write_text("vfio-pci\n")
Path("/sys/bus/pci/drivers/vfio-pci/bind").write_text(ADDRESS)
print(json.dumps(found))
