# SPDX-License-Identifier: Apache-2.0
"""Entries of 12 bytes: address and data, no control word, and no masks beside them."""

from vfio_ims.registers import Block, Doorbell, Identity, Register, SlotLayout, Store


class Bar0(Block):
    """BAR 0. A raised slot sends its message at once: nothing in the device holds it back."""

    ID = Register(0x00, access="ro", reset=0x5A04_0001)
    RESET = Register(0x04, access="wo")
    FIRE = Register(0x08, access="wo")
    FIRE_VECTOR = Register(0x0C, access="wo")


SLOTS = SlotLayout(bar=0, offset=0x1000, count=24, stride=12)
STORE = Store(
    tables=(SLOTS,),
    identity=Identity.on(Bar0.ID),
    reset=Doorbell.on(Bar0.RESET, value=1),
    fire=Doorbell.on(Bar0.FIRE),
    fire_vector=Doorbell.on(Bar0.FIRE_VECTOR),
)
