# SPDX-License-Identifier: Apache-2.0
"""Slots in a context table in memory: the device loads them when it is enabled, and one at a time by a command."""

from vfio_ims.registers import MEMORY, Block, Context, Doorbell, Identity, Register, SlotLayout, Store


class Bar0(Block):
    """BAR 0. Commands work while the device is enabled; each is done when its write is followed by a read."""

    ID = Register(0x00, access="ro", reset=0x5A03_0001)
    RESET = Register(0x04, access="wo")
    BASE = Register(0x08, width=64, doc="where the table is in memory")
    ENABLE = Register(0x10, access="wo", doc="load the whole table, then take commands")
    LOAD = Register(0x14, access="wo", doc="a slot's number: load its context from memory")
    SHOW = Register(0x18, access="wo", doc="a slot's number: show its context from 0x30 on")
    FIRE = Register(0x1C, access="wo")
    FIRE_VECTOR = Register(0x20, access="wo")


CONTEXT = Context(
    bar=0,
    base=Bar0.BASE.offset,
    enable=Doorbell.on(Bar0.ENABLE, value=1),
    load=Doorbell.on(Bar0.LOAD),
    show=Doorbell.on(Bar0.SHOW),
    shown=0x30,
)
STORE = Store(
    tables=(SlotLayout(MEMORY, offset=0, count=16),),
    identity=Identity.on(Bar0.ID),
    reset=Doorbell.on(Bar0.RESET, value=1),
    fire=Doorbell.on(Bar0.FIRE),
    fire_vector=Doorbell.on(Bar0.FIRE_VECTOR),
    context=CONTEXT,
)
