# SPDX-License-Identifier: Apache-2.0
"""A function behind this guest's vfio-pci is exported to a QEMU that runs in the guest: nested.py FUNCTION QEMU.

The inner machine's firmware finds the function and places its BARs; no system is booted there. What it saw, as JSON.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

function, qemu = sys.argv[1:]
socket = Path(f"/tmp/nested-{os.getpid()}.sock")
server = os.fork()
if not server:
    from vfio_ims.cli.main import main

    main(["serve", function, "--socket", str(socket)])
while not socket.exists():
    time.sleep(0.05)
    assert not os.waitpid(server, os.WNOHANG)[0], "the server did not start"

device = {"driver": "vfio-user-pci", "id": "inner", "socket": {"type": "unix", "path": str(socket)}}
machine = subprocess.Popen(
    [
        qemu,
        *("-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35,accel=tcg,memory-backend=ram"),
        *("-m", "8M", "-object", "memory-backend-memfd,share=on,id=ram,size=8M"),
        *("-device", json.dumps(device), "-qmp", "stdio", "-S"),
    ],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
)


def ask(command: str, **arguments: object) -> object:
    """One QMP command; events are passed over."""
    assert machine.stdin is not None
    assert machine.stdout is not None
    machine.stdin.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    machine.stdin.flush()
    while line := machine.stdout.readline():
        said = json.loads(line)
        if "return" in said:
            return said["return"]
        assert "error" not in said, said
    raise AssertionError("the inner QEMU ended")


def found() -> dict[str, object]:
    """The function as the inner machine has it."""
    devices = [one for bus in ask("query-pci") for one in bus["devices"]]  # type: ignore[attr-defined]
    return next(one for one in devices if one["qdev_id"] == "inner")


ask("qmp_capabilities")
before = found()
ask("cont")
deadline = time.monotonic() + 120
while (now := found())["regions"] and now["regions"][0]["address"] in (-1, 0) and time.monotonic() < deadline:  # type: ignore[index]
    time.sleep(0.5)
ask("quit")
machine.wait()
os.kill(server, signal.SIGTERM)
status = os.waitstatus_to_exitcode(os.waitpid(server, 0)[1])
print(json.dumps({"before": before, "after": now, "status": status}))
