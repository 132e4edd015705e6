# SPDX-License-Identifier: Apache-2.0
"""Root opens a device and hands it over; a process of nobody's uses it. Argument: the device's name. Prints JSON."""

from __future__ import annotations

import json
import os
import socket
import sys

import vfio_ims
from vfio_ims.backends.kernel.claim import claimed_by
from vfio_ims.errors import ClosedError, DeviceBusy
from vfio_ims.families import family_for
from vfio_ims.host.handover import hand_over, take_over

NOBODY = 65534


def receive(connection: socket.socket, report: int) -> None:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    device = take_over(connection)
    header = device.config.header
    with family_for(header.vendor, header.device).load_driver().start_on(device) as driver:
        with driver.ims.allocate_group(4) as irqs:
            woken = []
            for irq in irqs:
                driver.fire(irq.slot)
                woken.append(irq.wait(timeout=5))
        word = driver.device.dma.allocate(4096)
        word.close()
        try:
            vfio_ims.open(device.name).close()
            second = "opened"
        except DeviceBusy as error:
            second = str(error)
        except OSError as error:
            second = f"{type(error).__name__}: {error}"
        owner = str(claimed_by(device.name))
        can_reset = device.can_reset
        if can_reset:
            driver.reset()
    found = {"uid": os.geteuid(), "mount": device.mount, "woken": woken, "second": second, "owner": owner}
    os.write(report, json.dumps(found | {"pid": os.getpid(), "reset": can_reset}).encode())


def main(name: str) -> None:
    os.makedirs("/run/lock", exist_ok=True)  # the guest's /run is new
    os.chmod("/run/lock", 0o1777)
    ours, theirs = socket.socketpair()
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        ours.close()
        try:
            receive(theirs, into)
            os._exit(0)
        except BaseException as error:
            os.write(into, json.dumps({"error": repr(error), "text": str(error)}).encode())
            raise
    theirs.close()
    os.close(into)
    device = vfio_ims.open(name)
    device.dma.allocate(1 << 16)  # forgotten: the hand-over closes it
    device.interrupts.open_msix(0)
    hand_over(device, ours, uid=None)
    try:
        device.config.read(0, 2)
        after = "works"
    except ClosedError:
        after = "closed"
    with os.fdopen(out) as answer:
        found = json.loads(answer.read())
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    left = sum(
        _link(fd).startswith(("/dev/vfio", "/dev/iommu", "anon_inode:[vfio")) for fd in os.listdir("/proc/self/fd")
    )
    with vfio_ims.open(name) as again:  # given up by the other: it can be had again
        vendor = again.config.read(0, 2)
    print(json.dumps(found | {"after": after, "status": status, "left": left, "vendor": vendor}))


def _link(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return ""


if __name__ == "__main__":
    main(sys.argv[1])
