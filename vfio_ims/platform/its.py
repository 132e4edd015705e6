# SPDX-License-Identifier: Apache-2.0
"""Arm's GICv3 ITS: one doorbell for all, event ids in the data, a table of them for each device id.

A message is a write to GITS_TRANSLATER; its data is the event, and the interconnect adds who sent it (Arm IHI 0069,
"GITS_TRANSLATER"; Linux 7.3 drivers/irqchip/irq-gic-v3-its.c its_irq_compose_msi_msg, its_irq_get_msi_base,
its_alloc_device_irq, its_set_affinity; irq-gic-its-msi-parent.c its_pci_msi_prepare). Behind an SMMU the function
writes to an I/O address that Linux maps to the doorbell's page, in a window that it keeps free for that
(drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3.c arm_smmu_get_resv_regions, drivers/iommu/dma-iommu.c iommu_dma_sw_msi,
drivers/iommu/iommufd/driver.c iommufd_sw_msi). Addresses are those of QEMU's machine "virt"; without an SMMU its
doorbell is as behind virtio-iommu there: at its physical address, which is reserved and not translated.

Device ids are requester ids here, as where firmware's msi-map or IORT maps them one to one.
"""

from __future__ import annotations

import mmap

from vfio_ims.messages import Format, Message
from vfio_ims.platform.controller import Claim, NumberedController, function_name
from vfio_ims.platform.vectors import Vector

__all__ = ["GicIts"]

_FRAME = range(0x0809_0000, 0x080A_0000)  # the translation frame, 64 KiB, the second of the ITS's two
_SW_MSI = range(0x0800_0000, 0x0810_0000)  # MSI_IOVA_BASE and MSI_IOVA_LENGTH in Linux' SMMU drivers
_TRANSLATER = 0x40


class GicIts(NumberedController):
    """``smmu``: functions write to the window of I/O addresses, in which one page is the doorbell's.

    ``entries``: events of each device; the hardware's depends on the ITS, 2048 is all that MSI-X can use. ``page``: how
    much is mapped at once.
    """

    what, whats = "event", "events of the function"
    format = Format.ITS
    with_pasid = "a write with PASID goes through that PASID's own table, which does not have the doorbell"

    def __init__(self, entries: int = 2048, *, smmu: bool, page: int = mmap.PAGESIZE) -> None:
        super().__init__(entries, per_function=True)
        self.text = "a GICv3 ITS translates messages" + (", its doorbell mapped by the SMMU" if smmu else "")
        self.window = _SW_MSI if smmu else _FRAME
        self._page = range(self.window.start, self.window.start + page) if smmu else _FRAME
        self.doorbell = self.window.start + _TRANSLATER

    def compose(self, claim: Claim) -> Message:
        assert claim.number is not None
        return Message(self.doorbell, claim.number)

    def resolve(self, requester: int, address: int, data: int) -> Vector | str:
        if address not in self._page or (self.window is _SW_MSI and not self.allocated(requester)):
            return f"the SMMU maps nothing at {address:#x} for {function_name(requester)} (F_TRANSLATION)"
        if address != self.doorbell:
            return f"the ITS has its doorbell at {self.doorbell:#x}, and nothing at {address:#x}"
        target = self.target(requester, data)
        if target is None:
            who = function_name(requester)
            return f"event {data} of device {who} is not mapped; the ITS drops it, and real hardware reports nothing"
        return target
