# SPDX-License-Identifier: Apache-2.0
"""Interrupt remapping, VT-d style: handles, who may use them, and where they lead.

A message's handle names an entry of one table that all functions share. An entry belongs to a requester id and is
checked against the sender's (VT-d specification, "Interrupt Remapping", source validation; Linux
drivers/iommu/intel/irq_remapping.c fill_msi_msg, set_msi_sid). Freed entries are handed out again, lowest first.
"""

from __future__ import annotations

from vfio_ims.messages import INTERRUPT_RANGE, Format, Message
from vfio_ims.platform.controller import Claim, NumberedController, function_name
from vfio_ims.platform.vectors import Vector

__all__ = ["VtdRemapping"]

_FORMAT = 1 << 4
_SUBHANDLE_VALID = 1 << 3


class VtdRemapping(NumberedController):
    """``entries``: 65,536 in the hardware.

    ``subhandles``: messages have SHV set, and their data is added to the handle: a block of MSI vectors shares an
    address. Linux sets it always. Without it the data has no meaning, and each vector needs an address of its own (VT-d
    specification, "Interrupt Requests in Remappable Format").
    """

    format = Format.VTD
    window = INTERRUPT_RANGE
    with_pasid = "a write with PASID is no interrupt"

    def __init__(self, entries: int = 1 << 16, *, subhandles: bool = True) -> None:
        super().__init__(entries, blocks=subhandles)
        self._subhandles = subhandles
        self.text = "VT-d remaps interrupts" + ("" if subhandles else ", by handles without subhandles")

    def compose(self, claim: Claim) -> Message:
        assert claim.number is not None
        handle = claim.number - claim.subhandle
        return Message.remappable(handle, claim.subhandle if self._subhandles else None)

    def resolve(self, requester: int, address: int, data: int) -> Vector | str:
        if not address & _FORMAT:
            return "compatibility format, which is blocked while remapping is on"
        number = address >> 5 & 0x7FFF | address << 13 & 0x8000
        if address & _SUBHANDLE_VALID:
            number += data & 0xFFFF
        claim = self.entry(requester, number)
        if claim is None:
            return f"entry {number} is not present"
        if claim.requester != requester:
            return f"entry {number} belongs to requester {function_name(claim.requester)}"
        assert claim.target is not None
        return claim.target
