# SPDX-License-Identifier: Apache-2.0
"""DPDK's case of shared virtual addresses; its others are in ``test_engine_cases``."""

from __future__ import annotations

from tests.intel_idxd.memory import PAGE
from vfio_ims.drivers.intel_idxd.driver import Dsa


def test_enqueue_sva_copies(dsa: Dsa) -> None:
    """Work tagged with a PASID, by the process's own addresses."""
    plain = dsa.device.dma.allocate(2 * PAGE)
    address = plain.address
    dsa.device.dma.port.map(address, address, 2 * PAGE, read=True, write=True)
    data = bytes(range(256)) * 8
    plain.view[: len(data)] = data
    with dsa.wq(1, "ims", pasid=0x77) as wq:
        for size in (1, 63, 2048):
            wq.memmove(address + PAGE, address, size)
            assert bytes(plain.view[PAGE : PAGE + size]) == data[:size]
    dsa.device.dma.port.unmap(address, 2 * PAGE)
