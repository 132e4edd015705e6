# SPDX-License-Identifier: Apache-2.0
"""Enable bits in a bitmap, and pending bits that are 0 while a message is held back."""

from vfio_ims.registers import Block, Doorbell, Identity, Register, SlotLayout, Store


class Bar0(Block):
    """BAR 0. A raised slot sends its message, or pends while it is masked."""

    ID = Register(0x00, access="ro", reset=0x5A0A_0001)
    RESET = Register(0x04, access="wo")
    FIRE = Register(0x08, access="wo")
    FIRE_VECTOR = Register(0x0C, access="wo")


SLOTS = SlotLayout(
    bar=0,
    offset=0x1000,
    count=40,
    stride=12,
    mask_bitmap=0x1800,
    masked_when=0,
    pending_bitmap=0x1810,
    pending_when=0,
)
STORE = Store(
    tables=(SLOTS,),
    identity=Identity.on(Bar0.ID),
    reset=Doorbell.on(Bar0.RESET, value=1),
    fire=Doorbell.on(Bar0.FIRE),
    fire_vector=Doorbell.on(Bar0.FIRE_VECTOR),
)
