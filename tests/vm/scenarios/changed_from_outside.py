# SPDX-License-Identifier: Apache-2.0
"""What others change, through sysfs, of a device that is open here: check() reports it, the driver's reset() undoes it.

Argument: the device's name. Prints JSON.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import vfio_ims
from vfio_ims.driver import Driver
from vfio_ims.errors import DeviceError, VfioImsError
from vfio_ims.ims import ImsInterrupt
from vfio_ims.pci.capabilities import PowerManagement

TIMEOUT = 20


class Hands:
    """What another program does as root: through sysfs, unknown to VFIO."""

    def __init__(self, driver: Driver) -> None:
        self.folder = Path("/sys/bus/pci/devices", driver.label)
        power = driver.device.capabilities.find(PowerManagement)
        self.pmcsr = None if power is None else power.offset + 4

    def config(self, offset: int, clear: int, put: int) -> None:
        with (self.folder / "config").open("r+b", buffering=0) as file:
            file.seek(offset)
            value = int.from_bytes(file.read(2), "little") & ~clear | put
            file.seek(offset)
            file.write(value.to_bytes(2, "little"))

    def reset(self) -> None:
        (self.folder / "reset").write_text("1")

    def decoding_off(self) -> None:
        self.config(4, 2, 0)

    def mastering_off(self) -> None:
        self.config(4, 4, 0)

    def asleep(self) -> None:
        assert self.pmcsr is not None
        self.config(self.pmcsr, 3, 3)

    def awake(self) -> None:
        assert self.pmcsr is not None
        self.config(self.pmcsr, 3, 0)


def attempt(driver: Driver, act: Callable[[], None]) -> tuple[ImsInterrupt, dict[str, object]]:
    irq = driver.ims.allocate()
    seen: list[str] = []

    def wait() -> None:
        try:
            irq.wait()
            seen.append("woken")
        except VfioImsError as error:
            seen.append(type(error).__name__)

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    driver.ims.check()
    act()
    try:
        driver.ims.check()
        found = "nothing"
    except DeviceError as error:
        found = f"{type(error).__name__}: {error.why}"
    waiter.join(TIMEOUT)
    return irq, {"found": found, "waiter": seen}


def main(name: str) -> None:
    found: dict[str, object] = {}
    with vfio_ims.open_driver(name) as driver:
        hands = Hands(driver)
        acts: dict[str, Callable[[], None]] = {
            "reset": hands.reset,
            "decoding": hands.decoding_off,
            "mastering": hands.mastering_off,
        }
        if hands.pmcsr is not None:
            acts["asleep"] = hands.asleep
        for what, act in acts.items():
            irq, answer = attempt(driver, act)
            if what == "asleep":
                hands.awake()
            driver.reset()
            irq.wait(0)
            driver.fire(irq.slot)
            answer["works_again"] = irq.wait(timeout=TIMEOUT)
            irq.close()
            found[what] = answer
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
