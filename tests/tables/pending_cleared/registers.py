# SPDX-License-Identifier: Apache-2.0
"""A pending bit in the control word, 0 while it pends, that a 1 clears."""

from vfio_ims.registers import Block, Doorbell, Identity, Register, SlotLayout, Store


class Bar0(Block):
    """BAR 0. A raised slot sends its message, or pends while it is masked."""

    ID = Register(0x00, access="ro", reset=0x5A0B_0001)
    RESET = Register(0x04, access="wo")
    FIRE = Register(0x08, access="wo")
    FIRE_VECTOR = Register(0x0C, access="wo")


SLOTS = SlotLayout(bar=0, offset=0x1000, count=16, mask=4, pending=5, pending_when=0, pending_access="rw1c")
STORE = Store(
    tables=(SLOTS,),
    identity=Identity.on(Bar0.ID),
    reset=Doorbell.on(Bar0.RESET, value=1),
    fire=Doorbell.on(Bar0.FIRE),
    fire_vector=Doorbell.on(Bar0.FIRE_VECTOR),
)
