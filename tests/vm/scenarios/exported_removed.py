# SPDX-License-Identifier: Apache-2.0
"""A function is unbound while it is exported, and its client looks away: exported_removed.py FUNCTION.

JSON: what the server said and how it ended, what the client got, and whether the kernel was let go.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import vfio_ims
from vfio_ims.errors import RemovedError

FUNCTION = sys.argv[1]
SOCKET, LOG = Path(f"/tmp/removed-{os.getpid()}.sock"), Path(f"/tmp/removed-{os.getpid()}.log")
HERE = Path("/sys/bus/pci/devices") / FUNCTION

with LOG.open("w") as log:
    server = os.fork()
    if not server:
        os.dup2(log.fileno(), 2)
        from vfio_ims.cli.main import main

        main(["serve", FUNCTION, "--socket", str(SOCKET)])
while not SOCKET.exists():
    time.sleep(0.05)
found: dict[str, object] = {}
with vfio_ims.open_driver(f"vfio-user:{SOCKET}") as driver:
    unbind = threading.Thread(target=lambda: (HERE / "driver/unbind").write_text(FUNCTION))
    unbind.start()  # the kernel waits there for the function
    deadline = time.monotonic() + 60
    with contextlib.suppress(RemovedError):
        while time.monotonic() < deadline:
            driver.device.config.read(0, 2)
            time.sleep(0.1)
    found["client"] = "" if driver.device.loss is None else str(driver.device.loss)
unbind.join(60)
found["let_go"] = not unbind.is_alive()
found["status"] = os.waitstatus_to_exitcode(os.waitpid(server, 0)[1])
found["said"] = LOG.read_text()
subprocess.run(["sh", "-c", f"echo {FUNCTION} > /sys/bus/pci/drivers/vfio-pci/bind"], check=True)
print(json.dumps(found))
