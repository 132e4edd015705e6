# SPDX-License-Identifier: Apache-2.0
"""One IMS interrupt: allocate a slot, let the device raise it, receive it.

Needs a device with IMS, bound to vfio-pci; without a name it runs on a model in this process.

    python examples/ims_interrupt.py [DEVICE]       0000:6a:01.0, vfio-user:/run/dsa.sock, mock:minimal

prints

    IMS usable: 2048 slots, 8 donors, remapping on
    slot 0 <- vector 1: 0xfee00038/0x0 (VT-d handle 1)
    the device says: sent
    received on vector 1
"""

import sys

import vfio_ims

with vfio_ims.open_driver(sys.argv[1] if len(sys.argv) > 1 else "mock:intel-dsa") as device:
    print(device.verdict)
    with device.ims.allocate() as irq:  # a donor's message copied in, unmasked last
        print(irq)
        print("the device says:", device.fire(irq.slot))
        print("received" if irq.wait(timeout=1) else "LOST", "on vector", irq.donor)
