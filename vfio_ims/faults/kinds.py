# SPDX-License-Identifier: Apache-2.0
"""Which faults there are, what each takes, and the verbs whose calls can fail."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["KINDS", "VERBS", "Kind"]


@dataclass(frozen=True)
class Kind:
    """A kind of fault. ``edge``: where it acts; ``lasting``: once begun it stays, unless its moment says otherwise."""

    usage: str
    doc: str
    edge: str
    """"call": what is asked of the kernel or device; "register": what a read returns; "event": beside any access;
    "message", "dma": what the device sends."""
    lasting: bool = False
    fewest: int = 0
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> list[str]:
        return [word.strip("[]") for word in self.usage.replace("[:", ":[").split(":")[1:]]


_EIO = {"number": errno.EIO}
KINDS: dict[str, Kind] = {
    "fail": Kind("fail:VERB[:ERRNO]", "the call fails with ERRNO (EIO), and nothing is done", "call", False, 1, _EIO),
    "short": Kind("short[:BYTES]", "a read through the kernel gives BYTES (0) of what was asked for", "call"),
    "slow": Kind("slow:SECONDS", "the call is answered so much later", "call", True, 1),
    "lost": Kind("lost", "off the bus: reads give all ones, writes, messages and DMA vanish, a reset fails", "event"),
    "req": Kind("req", "the host wants the device back: REQ is signalled", "event"),
    "err": Kind("err", "the host reports an error of the device: ERR is signalled", "event"),
    "reset": Kind("reset", "the device is reset, and its user is not asked", "event"),
    "stuck": Kind(
        "stuck:REGISTER:VALUE", "a register, or one field of it, reads as VALUE whatever it holds", "register", True, 2
    ),
    "flip": Kind("flip:REGISTER[:MASK]", "bits of a register are read inverted (bit 0)", "register", False, 1),
    "drop": Kind("drop", "a message of the device never arrives", "message"),
    "double": Kind("double", "a message arrives twice", "message"),
    "late": Kind(
        "late:SECONDS", "a message arrives later, and what the device sends after it too", "message", False, 1
    ),
    "refuse": Kind("refuse", "interrupt remapping refuses a message; the platform's fault log has it", "message"),
    "dma": Kind("dma", "the IOMMU refuses a request of the device; the platform's fault log has it", "dma"),
    "delay": Kind(
        "delay:SECONDS",
        "what the device writes to memory lands later: a completion, and all behind it",
        "dma",
        False,
        1,
    ),
}

_DEVICE = (
    "device_info region_info irq_info window read_region write_region set_irqs reset hot_reset_scope hot_reset "
    "feature affinity set_affinity error_counts interrupt_remapping message_platform pasid_bits new_space "
    "attach_pasid detach_pasid"
)
_SPACE = "ranges page_sizes map map_file map_region unmap contiguous pin unmap_all"
_WINDOW = "read write poll read_block write_block read_table write_table store64 enqueue64"
VERBS: dict[str, str] = {
    "any": "any",
    **{verb: verb for verb in f"{_DEVICE} {_SPACE} {_WINDOW}".split()},
    "VFIO_DEVICE_GET_INFO": "device_info",
    "VFIO_DEVICE_GET_REGION_INFO": "region_info",
    "VFIO_DEVICE_GET_IRQ_INFO": "irq_info",
    "VFIO_DEVICE_SET_IRQS": "set_irqs",
    "VFIO_DEVICE_RESET": "reset",
    "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO": "hot_reset_scope",
    "VFIO_DEVICE_PCI_HOT_RESET": "hot_reset",
    "VFIO_DEVICE_FEATURE": "feature",
    "VFIO_DEVICE_ATTACH_IOMMUFD_PT": "attach_pasid",
    "VFIO_DEVICE_DETACH_IOMMUFD_PT": "detach_pasid",
    "VFIO_IOMMU_MAP_DMA": "map",
    "VFIO_IOMMU_UNMAP_DMA": "unmap",
    "IOMMU_IOAS_MAP": "map",
    "IOMMU_IOAS_UNMAP": "unmap",
    "IOMMU_IOAS_IOVA_RANGES": "ranges",
    "IOMMU_IOAS_ALLOC": "new_space",
    "pread": "read_region",
    "pwrite": "write_region",
    "mmap": "window",
}
"""A verb by its name at the seam, and by the request to the kernel that it is there."""
