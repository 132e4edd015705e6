# SPDX-License-Identifier: Apache-2.0
"""One address register for all, masks in a bitmap, 16-bit data in entries of 24 bytes; vector 0 reports errors."""

from vfio_ims.messages import MessageLimits
from vfio_ims.registers import Block, Doorbell, Identity, Register, SlotLayout, Store


class Bar0(Block):
    """BAR 0. A raised slot sends its message, or pends while it is masked."""

    ID = Register(0x00, access="ro", reset=0x5A06_0001)
    RESET = Register(0x04, access="wo")
    FIRE = Register(0x08, access="wo", doc="a slot's number: raise it once")
    FIRE_VECTOR = Register(0x0C, access="wo", doc="an MSI-X vector's number: raise it once")
    BREAK = Register(0x10, access="wo", doc="any write: an error, reported on vector 0")


SLOTS = SlotLayout(
    bar=0,
    offset=0x1000,
    count=36,
    stride=24,
    data=16,
    shared_address=(0x40, 0x44),
    mask_bitmap=0x50,
    pending_bitmap=0x58,
    limits=MessageLimits(data_bits=16),
)
STORE = Store(
    tables=(SLOTS,),
    identity=Identity.on(Bar0.ID),
    reset=Doorbell.on(Bar0.RESET, value=1),
    fire=Doorbell.on(Bar0.FIRE),
    fire_vector=Doorbell.on(Bar0.FIRE_VECTOR),
    reserved_vectors=(0,),
)
