# SPDX-License-Identifier: Apache-2.0
"""Memory for operations, and what should be in it."""

from __future__ import annotations

import random
from typing import NamedTuple

from vfio_ims.dma import Buffer
from vfio_ims.drivers.intel_idxd.driver import Idxd

PAGE = 4096


class Arena(NamedTuple):
    """One buffer that operations work in, and a copy of its bytes that plain Python works in."""

    buffer: Buffer

    def fresh(self, seed: int) -> bytearray:
        """Fill it at random; the same bytes as our own copy."""
        data = bytearray(random.Random(seed).randbytes(self.buffer.size))
        self.buffer.view[:] = data
        return data

    def at(self, offset: int) -> int:
        return self.buffer.iova + offset

    def take(self, offset: int, size: int) -> bytes:
        return bytes(self.buffer.view[offset : offset + size])

    def put(self, offset: int, data: bytes) -> None:
        self.buffer.view[offset : offset + len(data)] = data

    @property
    def all(self) -> bytes:
        return bytes(self.buffer.view)


def arena(driver: Idxd, size: int = 4 * PAGE) -> Arena:
    return Arena(driver.device.dma.allocate(size))


def hole(driver: Idxd, pages: int = 4) -> int:
    """An IOVA with ``pages`` mapped pages before it and nothing behind it."""
    space = driver.device.dma
    lower = space.allocate(pages * PAGE, iova=1 << 40)
    return lower.iova + pages * PAGE
