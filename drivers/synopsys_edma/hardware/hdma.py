# SPDX-License-Identifier: Apache-2.0
"""Register definitions of DesignWare HDMA in its native map: everything belongs to a channel.

Offsets and bits: Linux 7.3 drivers/dma/dw-edma/dw-hdma-v0-regs.h and dw-hdma-v0-core.c (dw_hdma_v0_core_int_setup).
"""

from vfio_ims.registers import Block, Register, Repeat, SlotLayout, bit, bits

__all__ = ["HDMA_CHANNELS", "HDMA_FILE_SIZE", "Hdma", "HdmaChannel", "hdma_slots"]

HDMA_CHANNELS = 64
HDMA_FILE_SIZE = HDMA_CHANNELS * 0x200


class HdmaChannel(Block):
    """One channel of one direction."""

    ENABLE = Register(0x00, on=bit(0))
    DOORBELL = Register(
        0x04, access="wo", start=bit(0), stop=bit(1), doc="the stop bit is inferred: Linux never uses it"
    )
    LIST_LOW = Register(0x10)
    LIST_HIGH = Register(0x14)
    CYCLE = Register(0x18, bit=bit(0), state=bit(1), doc="the consumer's cycle")
    SIZE = Register(0x1C)
    SOURCE_LOW = Register(0x20)
    SOURCE_HIGH = Register(0x24)
    TARGET_LOW = Register(0x28)
    TARGET_HIGH = Register(0x2C)
    WATERMARK_ENABLE = Register(0x30)
    CONTROL1 = Register(0x34, lle=bit(0))
    FUNCTION = Register(0x38, number=bits(7, 0))
    QOS = Register(0x3C)
    STATUS = Register(0x80, access="ro", state=bits(1, 0))
    INT_STATUS = Register(0x84, access="ro", stop=bit(0), watermark=bit(1), abort=bit(2))
    INT_SETUP = Register(
        0x88,
        mask_stop=bit(0),
        mask_watermark=bit(1),
        mask_abort=bit(2),
        remote_stop=bit(3),
        local_stop=bit(4),
        remote_abort=bit(5),
        local_abort=bit(6),
        doc="masks are of the local interrupt's pin; a cause is recorded only where its local interrupt is enabled",
    )
    INT_CLEAR = Register(0x8C, access="wo", stop=bit(0), watermark=bit(1), abort=bit(2))
    STOP_LOW = Register(0x90)
    STOP_HIGH = Register(0x94)
    WATERMARK_LOW = Register(0x98)
    WATERMARK_HIGH = Register(0x9C)
    ABORT_LOW = Register(0xA0)
    ABORT_HIGH = Register(0xA4)
    DATA = Register(0xA8, doc="of all causes")


class Hdma(Block):
    """Write and read channel n lie side by side."""

    WRITES = Repeat(HdmaChannel, 0x000, count=HDMA_CHANNELS, stride=0x200)
    READS = Repeat(HdmaChannel, 0x100, count=HDMA_CHANNELS, stride=0x200)


def hdma_slots(bar: int, base: int, count: int) -> SlotLayout:
    """The messages of ``count`` channels of one direction, the first at ``base``: each has its address and its data.

    An address for each cause, and data for all of them: a slot is a channel, and its causes send one message.
    """
    low, causes = HdmaChannel.STOP_LOW.offset, (HdmaChannel.WATERMARK_LOW, HdmaChannel.ABORT_LOW)
    return SlotLayout(
        bar=bar,
        offset=base + low,
        count=count,
        stride=0x200,
        low=0,
        high=4,
        data=HdmaChannel.DATA.offset - low,
        control=None,
        mask=None,
        pending=None,
        address_copies=tuple((cause.offset - low, cause.offset - low + 4) for cause in causes),
    )
