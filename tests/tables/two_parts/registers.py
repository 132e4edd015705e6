# SPDX-License-Identifier: Apache-2.0
"""Channels that share an address, twice over since each cause has its own, and queues with entries of their own."""

from vfio_ims.registers import Block, Doorbell, Identity, Register, SlotLayout, Store


class Bar0(Block):
    """BAR 0. A slot sends its message only while its source is on; queues are numbered after the channels."""

    ID = Register(0x00, access="ro", reset=0x5A05_0001)
    RESET = Register(0x04, access="wo")
    SOURCE_ON = Register(0x08, access="wo", doc="a slot's number")
    SOURCE_OFF = Register(0x0C, access="wo", doc="a slot's number")
    FIRE = Register(0x10, access="wo", doc="a slot's number: raise it once")
    FIRE_VECTOR = Register(0x14, access="wo")


CHANNELS = SlotLayout(
    bar=0, offset=0x80, count=6, stride=2, shared_address=(0x60, 0x64), address_copies=((0x68, 0x6C),)
)
QUEUES = SlotLayout(bar=2, offset=0x100, count=5, stride=0x40, low=8, data=4, control=None)
STORE = Store(
    tables=(CHANNELS, QUEUES),
    identity=Identity.on(Bar0.ID),
    reset=Doorbell.on(Bar0.RESET, value=1),
    fire=Doorbell.on(Bar0.FIRE),
    fire_vector=Doorbell.on(Bar0.FIRE_VECTOR),
    arm=Doorbell.on(Bar0.SOURCE_ON),
    disarm=Doorbell.on(Bar0.SOURCE_OFF),
)
