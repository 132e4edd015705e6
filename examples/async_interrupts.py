# SPDX-License-Identifier: Apache-2.0
"""Four IMS interrupts, each awaited by a task of its own: first one wake-up, then a stream of them.

Needs a device with IMS, bound to vfio-pci; without a name it runs on a model in this process.

    python examples/async_interrupts.py [DEVICE]    0000:6a:01.0, vfio-user:/run/dsa.sock, mock:minimal

prints, in some order

    slot 0: woken, then 3 times more
    slot 1: woken, then 3 times more
    slot 2: woken, then 3 times more
    slot 3: woken, then 3 times more
"""

import asyncio
import sys

import vfio_ims
from vfio_ims.driver import Driver
from vfio_ims.ims import ImsInterrupt


async def serve(device: Driver, irq: ImsInterrupt) -> None:
    async with asyncio.timeout(10):
        device.fire(irq.slot)
        await irq  # one wake-up
        turns = 0
        device.fire(irq.slot)
        async for _ in irq:  # wake-ups, not counts: interrupts that are in flight together may merge
            turns += 1
            if turns == 3:
                break
            device.fire(irq.slot)
    print(f"slot {irq.slot}: woken, then {turns} times more")


async def main(name: str) -> None:
    # Opening a device takes milliseconds, a reset of silicon more: not in the loop's thread.
    device = await asyncio.to_thread(vfio_ims.open_driver, name)
    with device, device.ims.allocate_group(4) as irqs:  # all or none
        async with asyncio.TaskGroup() as tasks:
            for irq in irqs:
                tasks.create_task(serve(device, irq))


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "mock:intel-dsa"))
