# SPDX-License-Identifier: Apache-2.0
"""DMA maps: what must be refused, and how many there may be."""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from vfio_ims.counted import by_count
from vfio_ims.errors import DeviceError, RemovedError, VfioImsError
from vfio_ims.selftest.server.asked import Asked, Wrong

__all__ = ["dma_maps", "many_dma_maps"]

_IOVA, _MANY = 0x1000_0000, 256
_PAGE = mmap.PAGESIZE


def dma_maps(asked: Asked) -> str:
    link = asked.link
    with _memory(_PAGE * 2) as fd:
        link.map(_IOVA, 2 * _PAGE, fd, 0, read=True, write=True)
        asked.refused(
            "a map that overlaps another", lambda: link.map(_IOVA + _PAGE, 2 * _PAGE, fd, 0, read=True, write=True)
        )
        asked.refused("an unmap that cuts a map", lambda: link.unmap(_IOVA, _PAGE))
        link.unmap(_IOVA, 2 * _PAGE)
        asked.refused("an unmap of what is not mapped", lambda: link.unmap(_IOVA, 2 * _PAGE))
        asked.refused("a map of nothing", lambda: link.map(_IOVA, 0, fd, 0, read=True, write=True))
    return "overlaps, cuts and unmaps of nothing are refused"


def many_dma_maps(asked: Asked) -> str:
    link, made = asked.link, 0
    with _memory(_PAGE) as fd:
        try:
            for number in range(_MANY):
                link.map(_IOVA + number * 2 * _PAGE, _PAGE, fd, 0, read=True, write=True)
                made += 1
        except DeviceError as error:
            if isinstance(error, RemovedError):
                raise
            raise Wrong(f"map {made + 1} was refused: {error.why}") from error
        finally:
            with suppress(VfioImsError):
                for number in range(made):
                    link.unmap(_IOVA + number * 2 * _PAGE, _PAGE)
    return f"{made} {by_count(made, 'map', 'maps')} at once"


@contextmanager
def _memory(size: int) -> Iterator[int]:
    fd = os.memfd_create("checked memory", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(fd, size)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)
        yield fd
    finally:
        os.close(fd)
