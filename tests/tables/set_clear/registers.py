# SPDX-License-Identifier: Apache-2.0
"""Enable bits that a 1 sets in one register and clears in another; pending bits that a 1 clears."""

from vfio_ims.registers import Block, Doorbell, Identity, Register, SlotLayout, Store


class Bar0(Block):
    """BAR 0. A raised slot sends its message, or pends while it is masked."""

    ID = Register(0x00, access="ro", reset=0x5A09_0001)
    RESET = Register(0x04, access="wo")
    FIRE = Register(0x08, access="wo")
    FIRE_VECTOR = Register(0x0C, access="wo")


SLOTS = SlotLayout(
    bar=0,
    offset=0x1000,
    count=40,
    stride=12,
    mask_set=0x1800,
    mask_clear=0x1810,
    masked_when=0,
    pending_bitmap=0x1820,
    pending_access="rw1c",
)
STORE = Store(
    tables=(SLOTS,),
    identity=Identity.on(Bar0.ID),
    reset=Doorbell.on(Bar0.RESET, value=1),
    fire=Doorbell.on(Bar0.FIRE),
    fire_vector=Doorbell.on(Bar0.FIRE_VECTOR),
)
