# SPDX-License-Identifier: Apache-2.0
"""Memory that devices may reach: I/O address spaces, IOVA allocation, buffers."""

from vfio_ims.dma.allocator import IovaAllocator
from vfio_ims.dma.buffer import Buffer, free_unmapped
from vfio_ims.dma.pasid import PasidSpace
from vfio_ims.dma.space import AddressSpace, Share

__all__ = ["AddressSpace", "Buffer", "IovaAllocator", "PasidSpace", "Share", "free_unmapped"]
