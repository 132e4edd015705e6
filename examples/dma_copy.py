# SPDX-License-Identifier: Apache-2.0
"""A copy by Intel's Data Streaming Accelerator, whose completion arrives as an IMS interrupt.

Needs a DSA (8086:0b25 and later) bound to vfio-pci; without a name it runs on a model in this process.

    python examples/dma_copy.py [DEVICE]            0000:6a:01.0, vfio-user:/run/dsa.sock

prints

    mock:intel-dsa: 1048576 bytes copied, completion through slot 0 <- vector 1: 0xfee00038/0x0 (VT-d handle 1)
    4 copies in flight at once: done
"""

import os
import sys

import vfio_ims
from vfio_ims.drivers.intel_idxd.driver import Dsa

SIZE = 1 << 20

with vfio_ims.open_driver(sys.argv[1] if len(sys.argv) > 1 else "mock:intel-dsa") as dsa:
    if not isinstance(dsa, Dsa):
        sys.exit(f"{dsa.label} is no DSA: nothing here copies memory")
    source, target = dsa.device.dma.allocate(SIZE), dsa.device.dma.allocate(SIZE)
    source.view[:] = os.urandom(SIZE)
    with dsa.ims.allocate() as irq, dsa.wq(0, irq) as queue:
        queue.memmove(target, source, SIZE)  # sleeps until the slot fires
        assert target.view == source.view
        print(f"{dsa.label}: {SIZE} bytes copied, completion through {irq}")

        quarter = SIZE // 4
        target.view[:] = bytes(SIZE)
        parts = range(0, SIZE, quarter)
        copies = [queue.submit.memmove(target.iova + at, source.iova + at, quarter) for at in parts]
        for copy in copies:
            copy.wait()
        assert target.view == source.view
        print(f"{len(copies)} copies in flight at once: done")
