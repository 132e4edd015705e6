# SPDX-License-Identifier: Apache-2.0
"""A client that fires its slots and takes their interrupts, round after round: firing_client.py DEVICE SECONDS

When it is ready it says so, waits for a line, and prints how many interrupts it took a second.
"""

import sys
import time

import vfio_ims

SLOTS = 8


def main(name: str, seconds: float) -> None:
    with vfio_ims.open_driver(name) as driver, driver.ims.allocate_group(SLOTS) as group:
        slots = [irq.slot for irq in group]
        print("ready", flush=True)
        sys.stdin.readline()
        taken, began = 0, time.monotonic()
        while time.monotonic() < began + seconds:
            driver.fire_many(slots)
            for irq in group:
                assert irq.wait(10)
                taken += 1
        print(taken / (time.monotonic() - began))


main(sys.argv[1], float(sys.argv[2]))
