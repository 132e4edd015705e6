# SPDX-License-Identifier: Apache-2.0
"""Register definitions of DesignWare eDMA v0, in its three maps: 32-bit accesses, 64-bit pairs low first.

Offsets and bits: Linux drivers/dma/dw-edma/dw-edma-v0-regs.h and dw-edma-v0-core.c. What Linux never touches is marked
inferred; the databook is not public.
"""

from enum import IntEnum

from vfio_ims.registers import Block, Register, Repeat, SlotLayout, bit, bits

__all__ = [
    "CHANNELS",
    "FILE_SIZE",
    "Channel",
    "Common",
    "Compatible",
    "Legacy",
    "Map",
    "Power",
    "State",
    "Unroll",
    "read_slots",
    "write_slots",
]

CHANNELS = 8
"""The most that a direction has in these maps."""

FILE_SIZE = 0x1200


class Map(IntEnum):
    """How the registers are laid out (enum dw_edma_map_format in Linux include/linux/dma/edma.h)."""

    LEGACY = 0
    UNROLL = 1
    HDMA_COMPATIBLE = 5
    HDMA = 7


class State(IntEnum):
    """What a channel does. Linux tests RUNNING and STOPPED only: the names of the others are inferred."""

    IDLE = 0
    RUNNING = 1
    HALTED = 2
    STOPPED = 3


class Channel(Block):
    """One channel: of the unroll map, or the one that the viewport shows."""

    CONTROL1 = Register(
        0x00, cb=bit(0), tcb=bit(1), llp=bit(2), lie=bit(3), rie=bit(4), status=bits(6, 5, "ro"), ccs=bit(8), lle=bit(9)
    )
    CONTROL2 = Register(0x04)
    SIZE = Register(0x08)
    SOURCE_LOW = Register(0x0C)
    SOURCE_HIGH = Register(0x10)
    TARGET_LOW = Register(0x14)
    TARGET_HIGH = Register(0x18)
    LIST_LOW = Register(0x1C, doc="the element that is being worked on")
    LIST_HIGH = Register(0x20)


_DONE, _ABORT = bits(7, 0), bits(23, 16)


class Common(Block):
    """What every map has at its start."""

    CONTROL = Register(0x008, access="ro", write_channels=bits(3, 0), read_channels=bits(19, 16))
    WRITE_ENABLE = Register(0x00C, on=bit(0))
    WRITE_DOORBELL = Register(0x010, access="wo", channel=bits(2, 0), stop=bit(31))
    READ_ENABLE = Register(0x02C, on=bit(0))
    READ_DOORBELL = Register(0x030, access="wo", channel=bits(2, 0), stop=bit(31))
    WRITE_STATUS = Register(0x04C, access="ro", done=_DONE, abort=_ABORT)
    WRITE_MASK = Register(
        0x054,
        doc="1: no interrupt to the endpoint's own processor; messages are not held back",
        done=_DONE,
        abort=_ABORT,
    )
    WRITE_CLEAR = Register(0x058, access="wo", done=_DONE, abort=_ABORT)
    WRITE_ERROR = Register(0x05C, access="ro", application=bits(7, 0), fetch=bits(23, 16), doc="names are inferred")
    WRITE_DONE_LOW = Register(0x060)
    WRITE_DONE_HIGH = Register(0x064)
    WRITE_ABORT_LOW = Register(0x068)
    WRITE_ABORT_HIGH = Register(0x06C)
    WRITE_DATA_01 = Register(0x070)
    WRITE_DATA_23 = Register(0x074)
    WRITE_DATA_45 = Register(0x078)
    WRITE_DATA_67 = Register(0x07C)
    WRITE_LIST_ERRORS = Register(0x090, remote=bits(7, 0), local=bits(23, 16), doc="abort interrupts in list mode")
    READ_STATUS = Register(0x0A0, access="ro", done=_DONE, abort=_ABORT)
    READ_MASK = Register(0x0A8, done=_DONE, abort=_ABORT)
    READ_CLEAR = Register(0x0AC, access="wo", done=_DONE, abort=_ABORT)
    READ_ERROR = Register(0x0B4, access="ro", application=bits(7, 0), fetch=bits(23, 16), doc="names are inferred")
    READ_ERROR_HIGH = Register(
        0x0B8,
        access="ro",
        unsupported=bits(7, 0),
        completer_abort=bits(15, 8),
        timeout=bits(23, 16),
        poisoned=bits(31, 24),
        doc="names are inferred",
    )
    READ_LIST_ERRORS = Register(0x0C4, remote=bits(7, 0), local=bits(23, 16))
    READ_DONE_LOW = Register(0x0CC)
    READ_DONE_HIGH = Register(0x0D0)
    READ_ABORT_LOW = Register(0x0D4)
    READ_ABORT_HIGH = Register(0x0D8)
    READ_DATA_01 = Register(0x0DC)
    READ_DATA_23 = Register(0x0E0)
    READ_DATA_45 = Register(0x0E4)
    READ_DATA_67 = Register(0x0E8)


class Legacy(Common):
    """Map 0: one channel at a time is seen through a viewport."""

    VIEWPORT = Register(0x0FC, channel=bits(2, 0), read=bit(31))
    SELECTED = Repeat(Channel, 0x100, count=1, stride=0x100)


class Unroll(Common):
    """Map 1: every channel has its place."""

    WRITES = Repeat(Channel, 0x200, count=CHANNELS, stride=0x200)
    READS = Repeat(Channel, 0x300, count=CHANNELS, stride=0x200)


class Power(Block):
    """A channel's power switch."""

    ENABLE = Register(0x0, on=bit(0))


class Compatible(Unroll):
    """Map 5: as unrolled; each channel has a power switch in place of the engines' enable bits.

    Linux 7.3, dw_edma_v0_core_dir_off, quotes the databook ("Legacy DMA and HDMA Software Compatibility").
    """

    WRITE_ENABLE = Register(0x00C, access="ro", doc="not there in this map")
    READ_ENABLE = Register(0x02C, access="ro", doc="not there in this map")
    WRITE_POWER = Repeat(Power, 0x128, count=CHANNELS, stride=4)
    READ_POWER = Repeat(Power, 0x168, count=CHANNELS, stride=4)


def _slots(bar: int, base: int, count: int, done: int, data: int) -> SlotLayout:
    return SlotLayout(
        bar=bar,
        offset=base + data,
        count=count,
        stride=2,
        low=None,
        high=None,
        data=0,
        control=None,
        mask=None,
        pending=None,
        shared_address=(base + done, base + done + 4),
        address_copies=((base + done + 8, base + done + 12),),  # aborts: a channel's data serves both causes
    )


def write_slots(bar: int, base: int, count: int) -> SlotLayout:
    """The messages of ``count`` write channels, of registers at ``base`` of ``bar``: 16-bit data, one address."""
    return _slots(bar, base, count, Common.WRITE_DONE_LOW.offset, Common.WRITE_DATA_01.offset)


def read_slots(bar: int, base: int, count: int) -> SlotLayout:
    """The messages of ``count`` read channels."""
    return _slots(bar, base, count, Common.READ_DONE_LOW.offset, Common.READ_DATA_01.offset)
