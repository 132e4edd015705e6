# SPDX-License-Identifier: Apache-2.0
"""Slots in a context table in memory: the device loads them when it is enabled, and one at a time by a command."""

from vfio_ims.registers import Block, Register, SlotLayout, bit, bits


class Bar0(Block):
    """BAR 0. Commands work while the device is enabled; each is done when its write is followed by a read."""

    ID = Register(0x00, access="ro", reset=0x5A03_0001)
    RESET = Register(0x04, access="wo", doc="any write: disabled, its contexts forgotten")
    BASE = Register(0x08, width=64, doc="where the table is in memory")
    ENABLE = Register(0x10, access="wo", doc="any write: load the whole table, then take commands")
    LOAD = Register(0x14, access="wo", doc="a slot's number: load its context from memory")
    SHOW = Register(0x18, access="wo", doc="a slot's number: show its context in the registers below")
    FIRE = Register(0x1C, access="wo")
    FIRE_VECTOR = Register(0x20, access="wo")
    STATUS = Register(0x24, access="ro", pended=bit(0), refused=bit(1), enabled=bit(2), fault=bit(3))
    LOW = Register(0x30, access="ro")
    HIGH = Register(0x34, access="ro")
    DATA = Register(0x38, access="ro")
    CONTROL = Register(0x3C, access="ro", flags=bits(1, 0))


ENTRY = SlotLayout(bar=0, offset=0, count=16)  # of the table in memory: address low, high, data, control
