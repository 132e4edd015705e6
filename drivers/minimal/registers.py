# SPDX-License-Identifier: Apache-2.0
"""The registers of the example device, shared by its driver and its model. It exists in software only."""

from vfio_ims.registers import Block, Register, SlotLayout, bit


class Bar0(Block):
    """BAR 0. A raised slot sends its message, or pends while it is masked."""

    ID = Register(0x00, access="ro", reset=0x494D_5331)
    RESET = Register(0x04, access="wo", doc="any write: registers and slots as after power-on")
    FIRE = Register(0x08, access="wo", doc="a slot's number: raise it once")
    FIRE_VECTOR = Register(0x0C, access="wo", doc="an MSI-X vector's number: raise it once")
    STATUS = Register(0x10, access="ro", pended=bit(0), bad_slot=bit(1), doc="what became of the last FIRE")


SLOTS = SlotLayout(bar=0, offset=0x1000, count=16)  # address low, high, data, control (0 mask, 1 pending)
