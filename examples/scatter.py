# SPDX-License-Identifier: Apache-2.0
"""Gather and scatter by a DesignWare eDMA, whose slots share an address, keep 16 bits of data and have no mask.

Pieces from all over the host's memory are gathered into the device's, and scattered back in another order. Each channel
has a slot of its own, and is awaited. Needs a DesignWare eDMA or HDMA endpoint bound to vfio-pci; without a name it
runs on a model in this process.

    python examples/scatter.py [DEVICE]             0000:01:00.0, vfio-user:/run/edma.sock, mock:amd-hdma

prints

    mock:synopsys-edma: 4 slots, each keeps 16 bits of data, shared addresses, no mask
    read channel 0: 32 pieces in, completion through slot 2 <- vector 0: 0xfee00018/0x0 (VT-d handle 0)
    write channel 0: 32 pieces out, completion through slot 0 <- vector 1: 0xfee00038/0x0 (VT-d handle 1)
    all there, in reverse
"""

import asyncio
import os
import sys

import vfio_ims
from vfio_ims.drivers.synopsys_edma.driver import Edma

PIECE, APART = 64, 4096  # bytes


async def main(edma: Edma) -> None:
    table = edma.ims.table
    shared = "shared addresses" if table.limits.one_address else "an address each"
    masks = "masks" if table.has_mask else "no mask"
    print(f"{edma.label}: {table.size} slots, each keeps {table.limits.data_bits} bits of data, {shared}, {masks}")
    with edma.read_channel(0) as inwards, edma.write_channel(0) as outwards:
        inside = edma.window(inwards)  # the device's own memory
        count = min(inside.size // PIECE, 1000)
        source, target = (edma.device.dma.allocate(count * APART) for _ in range(2))
        source.view[:] = os.urandom(len(source.view))

        pieces = range(count)
        there = [inside.address + PIECE * n for n in pieces]
        await inwards.start([source.iova + APART * n for n in pieces], there, PIECE)
        print(f"{inwards.label}: {count} pieces in, completion through {inwards.interrupt}")
        await outwards.start(there, [target.iova + APART * n for n in reversed(pieces)], PIECE)
        print(f"{outwards.label}: {count} pieces out, completion through {outwards.interrupt}")

        for n in pieces:
            sent, back = APART * n, APART * (count - 1 - n)
            assert target.view[back : back + PIECE] == source.view[sent : sent + PIECE], f"piece {n} differs"
        print("all there, in reverse")


with vfio_ims.open_driver(sys.argv[1] if len(sys.argv) > 1 else "mock:synopsys-edma") as device:
    if not isinstance(device, Edma):
        sys.exit(f"{device.label} is no DesignWare eDMA: nothing here gathers")
    asyncio.run(main(device))
