# SPDX-License-Identifier: Apache-2.0
"""Channels that share an address, twice over since each cause has its own, and queues with entries of their own."""

from vfio_ims.registers import Block, Register, SlotLayout, bit


class Bar0(Block):
    """BAR 0. A slot sends its message only while its source is on; queues are numbered after the channels."""

    ID = Register(0x00, access="ro", reset=0x5A05_0001)
    RESET = Register(0x04, access="wo")
    SOURCE_ON = Register(0x08, access="wo", doc="a slot's number")
    SOURCE_OFF = Register(0x0C, access="wo", doc="a slot's number")
    FIRE = Register(0x10, access="wo", doc="a slot's number: raise it once")
    FIRE_VECTOR = Register(0x14, access="wo")
    STATUS = Register(0x18, access="ro", refused=bit(0), doc="what became of the last FIRE")


CHANNELS = SlotLayout(
    bar=0,
    offset=0x80,
    count=6,
    stride=2,
    low=None,
    high=None,
    data=0,
    control=None,
    mask=None,
    pending=None,
    shared_address=(0x60, 0x64),
    address_copies=((0x68, 0x6C),),
)

QUEUES = SlotLayout(
    bar=2, offset=0x100, count=5, stride=0x40, low=8, high=12, data=4, control=None, mask=None, pending=None
)
