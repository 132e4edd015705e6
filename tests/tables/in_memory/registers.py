# SPDX-License-Identifier: Apache-2.0
"""Entries in our DMA memory, as in a queue's context: the device reads one each time that it raises its slot."""

from vfio_ims.registers import MEMORY, Block, Context, Doorbell, Identity, Register, SlotLayout, Store


class Bar0(Block):
    """BAR 0. Until BASE is written nothing is raised."""

    ID = Register(0x00, access="ro", reset=0x5A08_0001)
    RESET = Register(0x04, access="wo")
    BASE = Register(0x08, width=64, doc="where the entries are in memory")
    FIRE = Register(0x10, access="wo")
    FIRE_VECTOR = Register(0x14, access="wo")


SLOTS = SlotLayout(MEMORY, offset=0x40, count=8, stride=32, data=16, control=20, pending=None)
STORE = Store(
    tables=(SLOTS,),
    identity=Identity.on(Bar0.ID),
    reset=Doorbell.on(Bar0.RESET, value=1),
    fire=Doorbell.on(Bar0.FIRE),
    fire_vector=Doorbell.on(Bar0.FIRE_VECTOR),
    context=Context(bar=0, base=Bar0.BASE.offset),
)
