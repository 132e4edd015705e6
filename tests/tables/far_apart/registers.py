# SPDX-License-Identifier: Apache-2.0
"""Per-queue registers: the message's words lie among others of the queue, and two kinds of queues share a BAR."""

from vfio_ims.messages import MessageLimits
from vfio_ims.registers import Block, Doorbell, Identity, Register, Repeat, SlotLayout, Store, bits


class Bar0(Block):
    """BAR 0."""

    ID = Register(0x00, access="ro", reset=0x5A07_0001)
    RESET = Register(0x04, access="wo")
    FIRE_VECTOR = Register(0x0C, access="wo")


class Queue(Block):
    """One queue. Its message: address at 0x3c and 0x40, 16 bits of data and an enable bit in one word at 0x64."""

    HEAD = Register(0x00)
    TAIL = Register(0x50, doc="any write raises the queue's slot")


class Queues(Block):
    """BAR 2: queues of both kinds, 4 KiB apart."""

    QUEUE = Repeat(Queue, 0x0000, count=10, stride=0x1000)


PLACES = {"bar": 2, "stride": 0x1000, "low": 0x3C, "high": 0x40, "data": 0x64, "control": 0x64}
X86 = MessageLimits(address_mask=0xF_FFFC, address_fixed=0xFEE0_0000)  # 20 bits of an interrupt address, no memory
PLAIN = SlotLayout(offset=0x0000, count=6, mask=31, pending=30, masked_when=0, data_bits=bits(15, 0), **PLACES)
SMALL = SlotLayout(
    offset=0x6000, count=4, mask=31, pending=30, masked_when=0, data_bits=bits(15, 0), limits=X86, **PLACES
)
STORE = Store(
    tables=(PLAIN, SMALL),
    identity=Identity.on(Bar0.ID),
    reset=Doorbell.on(Bar0.RESET, value=1),
    fire=Doorbell(2, 0x50, stride=0x1000),
    fire_vector=Doorbell.on(Bar0.FIRE_VECTOR),
)
