# SPDX-License-Identifier: Apache-2.0
"""A function behind vfio-pci is exported by one process, and used by another: exported.py FUNCTION [SELFTEST-OPTION]...

What the client's self-test found, as JSON; then the client is killed in the middle of a run and the next one starts.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import vfio_ims
from vfio_ims import selftest

function, socket, slots = sys.argv[1], Path(f"/tmp/exported-{os.getpid()}.sock"), int(sys.argv[2])


def serve() -> int:
    """A process that exports the function."""
    child = os.fork()
    if not child:
        from vfio_ims.cli.main import main

        main(["serve", function, "--socket", str(socket)])
    while not socket.exists():
        time.sleep(0.01)
        assert not os.waitpid(child, os.WNOHANG)[0], "the server did not start"
    return child


server = serve()
with vfio_ims.open_driver(f"vfio-user:{socket}") as driver:
    mapped = driver.device.bar(0).mapped(0, 4)
    report = selftest.run(driver, options=selftest.Options(timeout=20, slots=slots))
victim = os.fork()
if not victim:
    held = vfio_ims.open_driver(f"vfio-user:{socket}")
    held.ims.allocate()
    held.device.dma.allocate(1 << 20)
    os.kill(os.getpid(), signal.SIGKILL)
os.waitpid(victim, 0)
with vfio_ims.open_driver(f"vfio-user:{socket}") as driver, driver.ims.allocate() as irq:
    clean = all(driver.ims_table().read(slot).masked for slot in range(4) if slot != irq.slot)
    driver.fire(irq.slot)
    after = irq.wait(timeout=20)
os.kill(server, signal.SIGTERM)
status = os.waitstatus_to_exitcode(os.waitpid(server, 0)[1])
print(
    json.dumps(
        {
            "report": report.to_json(),
            "mapped": mapped,
            "clean": clean,
            "after": after,
            "status": status,
            "socket": socket.exists(),
            "mount": report.mount,
        }
    )
)
