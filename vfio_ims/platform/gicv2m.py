# SPDX-License-Identifier: Apache-2.0
"""Arm's GICv2m frame: one doorbell, and the number of a shared interrupt (SPI) in the data. The sender is not checked.

Facts: Linux 7.3 drivers/irqchip/irq-gic-v2m.c (gicv2m_compose_msi_msg, gicv2m_irq_domain_alloc; neither
MSI_FLAG_PCI_MSIX_ALLOC_DYN nor IRQ_DOMAIN_FLAG_ISOLATED_MSI is set). Address and numbers are those of QEMU's machine
"virt"; its doorbell is as behind virtio-iommu there: at its physical address, which is reserved and not translated.
"""

from __future__ import annotations

from vfio_ims.messages import Format, Message
from vfio_ims.platform.controller import Claim, NumberedController
from vfio_ims.platform.vectors import Vector

__all__ = ["GicV2m"]

_FRAME = range(0x0802_0000, 0x0802_1000)
_SETSPI = _FRAME.start + 0x40  # V2M_MSI_SETSPI_NS
_FIRST_SPI = 80


class GicV2m(NumberedController):
    """``entries``: how many SPIs the frame has, for all functions together."""

    isolates = False
    what, whats = "SPI", "SPIs of the frame"
    format = Format.GICV2M
    text = "a GICv2m frame takes any function's messages"
    window = _FRAME
    with_pasid = "a write with PASID goes through that PASID's own table, which does not have the doorbell"

    def __init__(self, entries: int = 64) -> None:
        super().__init__(entries, first=_FIRST_SPI)

    def compose(self, claim: Claim) -> Message:
        assert claim.number is not None
        return Message(_SETSPI, claim.number)

    def resolve(self, requester: int, address: int, data: int) -> Vector | str:
        if address != _SETSPI:
            return f"the frame has its doorbell at {_SETSPI:#x}, and nothing at {address:#x}"
        if not _FIRST_SPI <= data < _FIRST_SPI + self.entries:
            return f"SPI {data} is none of the frame's {_FIRST_SPI} to {_FIRST_SPI + self.entries - 1}"
        target = self.target(requester, data)
        if target is None:
            return f"SPI {data} is not allocated; the frame drops it, and real hardware reports nothing"
        return target
