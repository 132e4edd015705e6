# SPDX-License-Identifier: Apache-2.0
"""A function is removed while its slots fire: the application is notified, and the device given back.

Argument: the device's name. Leaves the function back on the bus, without a driver. Prints JSON.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time

import vfio_ims
from vfio_ims.errors import RemovedError, VfioImsError
from vfio_ims.host import RemovalWatch

touched: list[str] = []
watching = False


def audit(event: str, arguments: tuple[object, ...]) -> None:
    """What is opened in /sys while the device is being taken: it could wait for the remover, who waits for us."""
    if watching and event in ("open", "os.listdir", "os.scandir") and str(arguments[0]).startswith("/sys"):
        touched.append(str(arguments[0]))


def remover(bdf: str, go: int, report: int) -> None:
    """Another process: what an administrator does."""
    os.read(go, 1)
    began = time.monotonic()
    with open(f"/sys/bus/pci/devices/{bdf}/remove", "w") as file:
        file.write("1")
    os.write(report, str(time.monotonic() - began).encode())


def main(name: str) -> None:
    global watching
    bdf = name.partition(",")[0]
    out, into = os.pipe()
    wait, go = os.pipe()
    child = os.fork()
    if child == 0:
        remover(bdf, wait, into)
        os._exit(0)
    os.close(into)
    sys.addaudithook(audit)
    fires, ends = [0], []
    asked: list[float] = []

    def on_removal(reason: RemovedError) -> None:
        global watching
        watching = True
        asked.append(time.monotonic())

    driver = vfio_ims.open_driver(name)
    irq = driver.ims.allocate()

    def work() -> None:
        try:
            while True:
                driver.fire(irq.slot)
                irq.wait(timeout=5)
                fires[0] += 1
        except VfioImsError as error:
            ends.append(f"{type(error).__name__}: {error}")

    worker = threading.Thread(target=work)
    worker.start()
    with RemovalWatch(driver, on_removal) as watch:
        while fires[0] < 3:
            time.sleep(0.01)
        os.write(go, b"x")
        given = watch.given_back.wait(30)
        took = time.monotonic() - asked[0]
    watching = False
    worker.join(10)
    with os.fdopen(out) as answer:
        removed_after = float(answer.read())
    os.waitpid(child, 0)
    gone = not os.path.exists(f"/sys/bus/pci/devices/{bdf}")
    with open("/sys/bus/pci/rescan", "w") as file:
        file.write("1")
    found = {
        "given": given,
        "seconds": took,
        "removed_after": removed_after,
        "fires": fires[0],
        "ends": ends,
        "touched": touched,
        "gone": gone,
        "back": os.path.exists(f"/sys/bus/pci/devices/{bdf}"),
        "reason": str(watch.reason),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
