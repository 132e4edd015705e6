# SPDX-License-Identifier: Apache-2.0
"""The payloads of vfio-user's commands, each declared once for both directions."""

from __future__ import annotations

from enum import IntEnum
from struct import Struct

from vfio_ims.vfio_user.wire import HEADER, Layout

__all__ = [
    "CAP_HEADER",
    "DEVICE_FEATURE",
    "DEVICE_INFO",
    "DMA_ACCESS",
    "DMA_MAP",
    "DMA_UNMAP",
    "IRQ_INFO",
    "IRQ_SET",
    "REGION_ACCESS",
    "REGION_INFO",
    "REGION_IO_FDS",
    "REGION_MESSAGE",
    "SPARSE_AREA",
    "SPARSE_HEADER",
    "WORD_MESSAGE",
    "WRITE_COUNT",
    "WRITE_ONE",
    "DmaFlags",
    "DmaUnmapFlags",
]


class DmaFlags(IntEnum):
    """Bits of DMA_MAP. MMAP and FILE_IO (libvfio-user) say how to reach the file; without them mapping is meant."""

    READ = 1
    WRITE = 2
    MMAP = 4
    FILE_IO = 8


class DmaUnmapFlags(IntEnum):
    """Bits of DMA_UNMAP, those of the kernel's VFIO_IOMMU_UNMAP_DMA."""

    GET_DIRTY_BITMAP = 1
    ALL = 2


DMA_MAP = Layout("IIQQQ", "argsz flags offset address size")
DMA_UNMAP = Layout("IIQQ", "argsz flags address size")
DEVICE_INFO = Layout("IIII", "argsz flags num_regions num_irqs")
REGION_INFO = Layout("IIIIQQ", "argsz flags index cap_offset size offset")
CAP_HEADER = Layout("HHI", "id version next")
"""Of a region info reply's capability: ``next`` counts from the reply's start, 0 ends the chain."""
SPARSE_HEADER = Layout("II", "nr_areas reserved")
SPARSE_AREA = Layout("QQ", "offset size")
REGION_IO_FDS = Layout("IIII", "argsz flags index count")
IRQ_INFO = Layout("IIII", "argsz flags index count")
IRQ_SET = Layout("IIIII", "argsz flags index start count")
REGION_ACCESS = Layout("QII", "offset region count")
"""REGION_READ and REGION_WRITE, requests and replies; a write's request and a read's reply carry data after it."""
DMA_ACCESS = Layout("QQ", "address count")
"""DMA_READ and DMA_WRITE. A write's reply may be shorter: QEMU sends the header alone, the text says 12 bytes."""
WRITE_COUNT = Layout("Q", "wr_cnt")
"""REGION_WRITE_MULTI: before its writes, and its reply."""
WRITE_ONE = Struct("=" + REGION_ACCESS.form + "8s")
"""One of its writes: up to 8 bytes, in a field of 8."""
DEVICE_FEATURE = Layout("II", "argsz flags")

REGION_MESSAGE = Struct("=" + HEADER.form + REGION_ACCESS.form)
"""Header and region access in one go: what the hot path packs."""
WORD_MESSAGE = Struct("=" + HEADER.form + REGION_ACCESS.form + "I")
"""The same with one word of data: the reply to a read, the request of a write."""
