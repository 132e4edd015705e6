# SPDX-License-Identifier: Apache-2.0
"""Registers of the ports: each has a producer side and a consumer queue (CQ). Names are Intel's, without the prefixes.

Offsets are in BAR 2, those of DLB 2.5; ``v20.py`` has what DLB 2.0 has elsewhere. One port's registers lie in several
units' ranges (SYS at 0x10000000, CHP at 0x40000000, LSP at 0x90000000), 0x1000 apart from the next port's.
Source: DPDK drivers/event/dlb2/pf/base/dlb2_regs.h.
"""

from enum import IntEnum

from vfio_ims.registers import Block, Register, bit, bits

__all__ = ["CqIsr", "DirectedPort", "DirectedPort25", "LdbPort", "LdbPort25"]


class CqIsr(IntEnum):
    """How a consumer queue interrupts: the field ``mode`` of CQ_ISR."""

    OFF = 0
    MSI = 1
    """Of a virtual function."""
    MSIX = 2
    IMS = 3


class LdbPort(Block):
    """A load-balanced port."""

    CQ_ADDR_L = Register(0x1000_0F80, address=bits(31, 6), doc="of the consumer queue in our memory")
    CQ_ADDR_U = Register(0x1000_0F84)
    PP2VAS = Register(0x1000_0F88, domain=bits(4, 0))
    PP2VDEV = Register(0x1000_0F8C, vdev=bits(3, 0))
    PP_V = Register(0x1000_0F90, valid=bit(0))
    CQ2VF_PF_RO = Register(0x1000_0F94, vf=bits(3, 0), pf=bit(4), relaxed=bit(5))
    CQ_ISR = Register(0x1000_0F98, vector=bits(9, 0), mode=bits(11, 10, enum=CqIsr), doc="vector: or the IMS slot")
    CQ_PASID = Register(0x1000_0F9C, pasid=bits(19, 0), execute=bit(20), privileged=bit(21), format2=bit(22))
    SN_CHK_ENBL = Register(0x4018_0000, on=bit(0))
    HIST_LIST_BASE = Register(0x4078_0000, entry=bits(12, 0))
    HIST_LIST_LIM = Register(0x4080_0000, entry=bits(12, 0), doc="the last entry")
    HIST_LIST_POP_PTR = Register(0x4088_0000, entry=bits(12, 0), generation=bit(13))
    HIST_LIST_PUSH_PTR = Register(0x4090_0000, entry=bits(12, 0), generation=bit(13))
    CQ_DEPTH = Register(0x40A8_0000, access="ro", depth=bits(10, 0), doc="entries that were not popped")
    CQ_INT_DEPTH_THRSH = Register(0x40B0_0000, threshold=bits(10, 0), doc="one less than how many interrupt")
    CQ_INT_ENB = Register(0x40B8_0000, timer=bit(0), depth=bit(1))
    CQ_TMR_THRSH = Register(0x40C8_0000, reset=1, threshold=bits(13, 0))
    CQ_TKN_DEPTH_SEL = Register(0x40D0_0000, select=bits(3, 0), doc="entries of the queue: 4 << select")
    CQ_WD_ENB = Register(0x40D8_0000, on=bit(0))
    CQ_WPTR = Register(0x40E0_0000, pointer=bits(10, 0))
    CQ2VAS = Register(0x40E8_0000, domain=bits(4, 0))
    CQ2PRIOV = Register(0x9000_0000, priorities=bits(23, 0), valid=bits(31, 24), doc="3 bits and a bit each queue slot")
    CQ2QID0 = Register(0x9008_0000, doc="7 bits in a byte for each of the queue slots 0 to 3")
    CQ2QID1 = Register(0x9010_0000, doc="queue slots 4 to 7")
    CQ_DSBL = Register(0x9040_0000, reset=1, disabled=bit(0))
    CQ_INFL_CNT = Register(0x9048_0000, access="ro", count=bits(11, 0), doc="scheduled and not completed")
    CQ_INFL_LIM = Register(0x9050_0000, limit=bits(11, 0))
    CQ_TKN_CNT = Register(
        0x9060_0000, count=bits(10, 0), doc="entries that were not popped, and what the driver put in"
    )
    LSP_TKN_DEPTH_SEL = Register(0x9068_0000, select=bits(3, 0), doc="scheduling stops at 4 << select tokens")
    CQ_TOT_SCH_CNTL = Register(0x9070_0000)
    CQ_TOT_SCH_CNTH = Register(0x9078_0000)


class LdbPort25(LdbPort):
    """With what DLB 2.0 has not."""

    WB_CQ_STATE = Register(0x11D0_0000, wb0=bit(0), wb1=bit(1), wb2=bit(2), clear=bit(4))
    CQ_INFL_THRESH = Register(0x9058_0000, threshold=bits(11, 0))
    CFG_CQ_WU_LIMIT = Register(0x90B0_0000, limit=bits(14, 0), valid=bit(15))


class DirectedPort(Block):
    """A directed port: its consumer queue takes from the directed queue of the same number, and nothing else."""

    CQ_ADDR_L = Register(0x1000_0FC0, address=bits(31, 6), doc="of the consumer queue in our memory")
    CQ_ADDR_U = Register(0x1000_0FC4)
    PP2VAS = Register(0x1000_0FC8, domain=bits(4, 0))
    PP2VDEV = Register(0x1000_0FCC, vdev=bits(3, 0))
    PP_V = Register(0x1000_0FD0, valid=bit(0))
    CQ2VF_PF_RO = Register(0x1000_0FD4, vf=bits(3, 0), pf=bit(4), relaxed=bit(5))
    CQ_ISR = Register(0x1000_0FD8, vector=bits(9, 0), mode=bits(11, 10, enum=CqIsr), doc="vector: or the IMS slot")
    CQ_PASID = Register(0x1000_0FDC, pasid=bits(19, 0), execute=bit(20), privileged=bit(21), format2=bit(22))
    CQ_FMT = Register(0x1000_0FEC, keep_port=bit(0))
    CQ_DEPTH = Register(0x4030_0000, access="ro", depth=bits(12, 0), doc="entries that were not popped")
    CQ_INT_DEPTH_THRSH = Register(0x4038_0000, threshold=bits(12, 0), doc="one less than how many interrupt")
    CQ_INT_ENB = Register(0x4040_0000, timer=bit(0), depth=bit(1))
    CQ_TMR_THRSH = Register(0x4050_0000, reset=1, threshold=bits(13, 0))
    CQ_TKN_DEPTH_SEL = Register(0x4058_0000, select=bits(3, 0), doc="entries of the queue: 4 << select")
    CQ_WD_ENB = Register(0x4060_0000, on=bit(0))
    CQ_WPTR = Register(0x4068_0000, pointer=bits(12, 0))
    CQ2VAS = Register(0x4070_0000, domain=bits(4, 0))
    CQ_DSBL = Register(0x9018_0000, reset=1, disabled=bit(0))
    CQ_TKN_CNT = Register(
        0x9020_0000, count=bits(12, 0), doc="entries that were not popped, and what the driver put in"
    )
    LSP_TKN_DEPTH_SEL = Register(0x9028_0000, select=bits(3, 0), plain=bit(4), doc="scheduling stops at 4 << select")
    CQ_TOT_SCH_CNTL = Register(0x9030_0000)
    CQ_TOT_SCH_CNTH = Register(0x9038_0000)


class DirectedPort25(DirectedPort):
    """With what DLB 2.0 has not."""

    WB_CQ_STATE = Register(0x11C0_0000, wb0=bit(0), wb1=bit(1), wb2=bit(2), optimised=bit(3), clear=bit(4))
