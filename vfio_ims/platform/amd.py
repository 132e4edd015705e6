# SPDX-License-Identifier: Apache-2.0
"""Interrupt remapping, AMD-Vi style: one address for all, and in the data the index into the function's own table.

The table is found by the sender's device id, so a message means something for its sender only: copied to another
function it raises that function's interrupt of the same index, or none (Linux drivers/iommu/amd/iommu.c fill_msi_msg,
alloc_irq_index, get_devid; DTE_INTTABLEN_512 and _2K in amd_iommu_types.h; drivers/iommu/amd/init.c sets
DEV_ENTRY_IRQ_TBL_EN for every device id, so that one without a table is refused. How the unit reads bits 10:9 of the
data of a table of 512 entries is inferred from the 2K feature's need for the address's DM bit).
"""

from __future__ import annotations

from vfio_ims.messages import INTERRUPT_RANGE, Format, Message
from vfio_ims.platform.controller import Claim, NumberedController, function_name
from vfio_ims.platform.vectors import Vector

__all__ = ["AmdRemapping"]

_ADDRESS, _LOGICAL = INTERRUPT_RANGE.start, 1 << 2
_INDEX, _DELIVERY = 0x7FF, 0x600


class AmdRemapping(NumberedController):
    """``entries``: of each function's table: 512, or 2048 where the unit can, which the address's bit 2 then says."""

    format = Format.AMD
    text = "AMD-Vi remaps interrupts"
    window = INTERRUPT_RANGE
    with_pasid = "a write with PASID is no interrupt"

    def __init__(self, entries: int = 512) -> None:
        super().__init__(entries, per_function=True)
        self._wide = _LOGICAL if entries > 512 else 0

    def compose(self, claim: Claim) -> Message:
        assert claim.number is not None
        return Message(_ADDRESS | self._wide, claim.number)

    def resolve(self, requester: int, address: int, data: int) -> Vector | str:
        if not address & _LOGICAL and data & _DELIVERY:
            return f"data {data:#x} asks for another delivery than fixed, which {function_name(requester)} may not"
        index = data & _INDEX
        target = self.target(requester, index)
        if target is not None:
            return target
        return f"index {index} of {function_name(requester)}'s interrupt table is not enabled"
