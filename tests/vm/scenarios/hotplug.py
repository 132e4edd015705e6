# SPDX-License-Identifier: Apache-2.0
"""A function is unplugged while it is open, and plugged in again. Argument: its address. Prints JSON.

The files "open" and "given" in the shared folder tell the host's side when to pull and when to push.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import vfio_ims
from vfio_ims.host import Binder, DeviceEvents, Machine, RemovalWatch


def main(address: str) -> None:
    shared = Path(os.environ["VFIO_IMS_VM_RWDIR"])
    heard: list[str] = []
    machine = Machine()
    with DeviceEvents() as events:

        def until(kind: str) -> None:
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline:
                event = events.poll(1)
                if event is not None and str(event.address) == address:
                    heard.append(str(event.kind) + (f" {event.driver}" if event.kind == "bound" else ""))
                    if event.kind == kind:
                        return
            raise TimeoutError(f"no {kind} of {address}; heard {heard}")

        def bind() -> None:
            function = machine.function(address)
            assert function is not None
            binder = Binder(machine)
            binder.carry_out(binder.plan_bind([function]))

        bind()
        until("ready")
        device = vfio_ims.open(address)
        vendor = device.config.read(0, 2)
        with RemovalWatch(device) as watch:
            (shared / "open").touch()
            given = watch.given_back.wait(60)
            reason = str(watch.reason)
        until("removed")
        (shared / "given").touch()
        until("appeared")
        time.sleep(0.5)
        bind()
        until("ready")
        with vfio_ims.open(address) as again:
            same = again.config.read(0, 2) == vendor
    restored = [one.text for one in Binder(machine).restore()]
    print(json.dumps({"given": given, "reason": reason, "heard": heard, "same": same, "restored": restored}))


if __name__ == "__main__":
    main(sys.argv[1])
