# SPDX-License-Identifier: Apache-2.0
"""As a DMA engine's channels have it: each has 16 bits of data, all share an address, and the source is masked."""

from vfio_ims.registers import Block, Doorbell, Identity, Register, SlotLayout, Store


class Bar0(Block):
    """BAR 0. A channel sends its message only while its source is on."""

    ID = Register(0x00, access="ro", reset=0x5A01_0001)
    RESET = Register(0x04, access="wo")
    SOURCE_ON = Register(0x08, access="wo", doc="a channel's number")
    SOURCE_OFF = Register(0x0C, access="wo", doc="a channel's number")
    FIRE = Register(0x10, access="wo", doc="a channel's number: raise it once")
    FIRE_VECTOR = Register(0x14, access="wo")


SLOTS = SlotLayout(bar=0, offset=0x70, count=12, stride=2, shared_address=(0x60, 0x64))  # two channels a register
STORE = Store(
    tables=(SLOTS,),
    identity=Identity.on(Bar0.ID),
    reset=Doorbell.on(Bar0.RESET, value=1),
    fire=Doorbell.on(Bar0.FIRE),
    fire_vector=Doorbell.on(Bar0.FIRE_VECTOR),
    arm=Doorbell.on(Bar0.SOURCE_ON),
    disarm=Doorbell.on(Bar0.SOURCE_OFF),
)
