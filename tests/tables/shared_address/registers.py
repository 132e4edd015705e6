# SPDX-License-Identifier: Apache-2.0
"""As a DMA engine's channels have it: each has 16 bits of data, all share an address, and the source is masked."""

from vfio_ims.registers import Block, Register, SlotLayout, bit


class Bar0(Block):
    """BAR 0. A channel sends its message only while its source is on."""

    ID = Register(0x00, access="ro", reset=0x5A01_0001)
    RESET = Register(0x04, access="wo")
    SOURCE_ON = Register(0x08, access="wo", doc="a channel's number")
    SOURCE_OFF = Register(0x0C, access="wo", doc="a channel's number")
    FIRE = Register(0x10, access="wo", doc="a channel's number: raise it once")
    FIRE_VECTOR = Register(0x14, access="wo")
    STATUS = Register(0x18, access="ro", refused=bit(0), doc="what became of the last FIRE")


SLOTS = SlotLayout(
    bar=0,
    offset=0x70,
    count=12,
    stride=2,  # two channels a register
    low=None,
    high=None,
    data=0,
    control=None,
    mask=None,
    pending=None,
    shared_address=(0x60, 0x64),
)
