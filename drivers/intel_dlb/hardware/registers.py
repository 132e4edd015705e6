# SPDX-License-Identifier: Apache-2.0
"""BAR 2 of DLB 2.5: the register address is the offset in the BAR. Names are Intel's, without the prefixes.

Source: DPDK drivers/event/dlb2/pf/base/dlb2_regs.h; WRITE_BUFFER_CTL, the second of ARMED and occupancy: Intel's driver
8.1 (dlb2_regs.h). What is not declared here keeps what is written in the model, and has no effect.
"""

from enum import IntEnum

from vfio_ims.registers import Block, Register, Repeat, bit, bits

from .places import DOMAINS, LDB_PORTS, LDB_QUEUES, VERSION_25
from .ports import DirectedPort, DirectedPort25, LdbPort, LdbPort25
from .queues import DirectedQueue, DirectedValid, Domain, LdbQueue, LdbValid

__all__ = ["ALARMS", "STRIDE", "Bar2", "ChpAlarm", "Csr", "SysAlarm", "Unit"]

STRIDE = 0x1000
"""From one port, queue or domain to the next."""

ALARMS = 0x3F
"""Every alarm of INGRESS_ALARM_ENBL."""


class Unit(IntEnum):
    """Who raised an alarm: the field ``unit`` of a syndrome. SYS says so by its source 0."""

    SYS = 0
    CHP = 4


class SysAlarm(IntEnum):
    """``aid`` of a syndrome of SYS."""

    ILLEGAL_QUEUE = 3
    DISABLED_QUEUE = 4
    ILLEGAL_ELEMENT = 5
    """An invalid command, or a completion, forward or fragment through a directed port."""


class ChpAlarm(IntEnum):
    """``aid`` of a syndrome of CHP."""

    ILLEGAL_ENQUEUE = 1
    """A completion too many, an illegal fragment, or no credit left."""
    EXCESS_POPS = 2


class Csr(Block):
    """The registers that there is one of."""

    TOTAL_CREDITS = Register(0x1000_0100, access="ro", reset=0x4000)
    TOTAL_LDB_CRDS = Register(0x1000_0104, access="ro", reset=0x2000)
    TOTAL_DIR_CRDS = Register(0x1000_0108, access="ro", reset=0x1000)
    TOTAL_VAS = Register(0x1000_0114, access="ro", reset=0x20, doc="read after writes, to flush them")
    INGRESS_ALARM_ENBL = Register(
        0x1000_0300, element=bit(0), port=bit(1), pasid=bit(2), queue=bit(3), disabled=bit(4), configuration=bit(5)
    )
    MSIX_ACK = Register(0x1000_0400, access="rw1c", alarm=bit(0), cq=bit(1))
    MSIX_PASSTHRU = Register(0x1000_0404, alarm=bit(0), cq=bit(1))
    MSIX_MODE = Register(0x1000_0408, compressed=bit(0), ims_polling=bit(1), doc="compressed: vector 1 for all CQs")
    DIR_OCC_0 = Register(0x1000_0440, access="rw1c", doc="compressed mode: directed CQs 0 to 31 that interrupted")
    DIR_OCC_1 = Register(0x1000_0444, access="rw1c")
    DIR_OCC_2 = Register(0x1000_0448, access="rw1c")
    LDB_OCC_0 = Register(0x1000_0460, access="rw1c")
    LDB_OCC_1 = Register(0x1000_0464, access="rw1c")
    ALARM_PF_SYND0 = Register(
        0x1000_0500, access="ro", syndrome=bits(7, 0), rtype=bits(9, 8), ldb=bit(13), cls=bits(15, 14),
        aid=bits(21, 16), unit=bits(25, 22, enum=Unit), source=bits(29, 26), more=bit(30, "rw1c"),
        valid=bit(31, "rw1c"),
    )  # fmt: skip
    ALARM_PF_SYND1 = Register(
        0x1000_0504, access="ro", opaque=bits(15, 0), queue=bits(23, 16), kind=bits(25, 24), priority=bits(28, 26),
        message=bits(31, 29),
    )  # fmt: skip
    ALARM_PF_SYND2 = Register(
        0x1000_0508, access="ro", flow=bits(15, 0), measure=bit(16), debug=bits(23, 17), pop=bit(24), complete=bit(25),
        fragment=bit(26), valid=bit(27), arm=bit(28), error=bit(29),
    )  # fmt: skip
    ALARM_HW_SYND = Register(
        0x1000_050C, access="ro", syndrome=bits(7, 0), rtype=bits(9, 8), alarm=bit(10), watchdog=bit(11),
        mailbox=bit(12), cls=bits(15, 14), aid=bits(21, 16), unit=bits(25, 22), source=bits(29, 26),
        more=bit(30, "rw1c"), valid=bit(31, "rw1c"),
    )  # fmt: skip
    WRITE_BUFFER_CTL = Register(0x1800_1040)
    ARB_WEIGHTS_ATM = Register(0x2400_0004, reset=0xFEFC_FAF8)
    ARB_WEIGHTS_RDY = Register(0x3400_0004, reset=0xFFFE_FDFC)
    ARB_WEIGHTS_SCHED = Register(0x3400_0008, reset=0xFFFE_FDFC)
    CHP_CSR_CTRL = Register(
        0x4400_0008, reset=0x18_0002, wide_ldb=bit(17), wide_directed=bit(18), doc="wide: one entry in 64 bytes of a CQ"
    )
    DIR_ARMED_0 = Register(0x4400_004C, doc="write 1 to arm; reads which CQs are")
    DIR_ARMED_1 = Register(0x4400_0050)
    DIR_ARMED_2 = Register(0x4400_0054)
    DIR_TIMER_CTL = Register(0x4400_0088, interval=bits(7, 0), on=bit(8))
    DIR_WD_DISABLE_0 = Register(0x4400_00A4, reset=0xFFFF_FFFF)
    DIR_WD_DISABLE_1 = Register(0x4400_00A8, reset=0xFFFF_FFFF)
    DIR_WD_INTERVAL = Register(0x4400_00B0, interval=bits(27, 0), on=bit(28))
    DIR_WD_THRESHOLD = Register(0x4400_00C0, threshold=bits(7, 0))
    LDB_ARMED_0 = Register(0x4400_00C4, doc="write 1 to arm; reads which CQs are")
    LDB_ARMED_1 = Register(0x4400_00C8)
    LDB_TIMER_CTL = Register(0x4400_00EC, interval=bits(7, 0), on=bit(8))
    LDB_WD_DISABLE_0 = Register(0x4400_0100, reset=0xFFFF_FFFF)
    LDB_WD_DISABLE_1 = Register(0x4400_0104, reset=0xFFFF_FFFF)
    LDB_WD_INTERVAL = Register(0x4400_0108, interval=bits(27, 0), on=bit(28))
    LDB_WD_THRESHOLD = Register(0x4400_0114, threshold=bits(7, 0))
    CHP_DIAG_02 = Register(0x4C00_0028, access="ro", reset=0x1555)
    GRP_SN_MODE = Register(
        0x8400_0000, group0=bits(2, 0), group1=bits(10, 8), doc="64 << mode sequence numbers a queue"
    )
    LDB_SCHED_CTRL = Register(
        0x9400_002C, cq=bits(7, 0), slot=bits(10, 8), value=bit(11), unordered=bit(12), ready=bit(13),
        scheduled=bit(14), inflight=bit(15), room=bit(16), doc="what a CQ's slot has: models look for themselves",
    )  # fmt: skip
    RESET_STS = Register(0xA400_0000, access="ro", reset=0x8000_0BFF)
    IDLE_STATUS = Register(0xA400_0004, access="ro", reset=0x9D0F_FFFF, idle=bit(31))
    PM_STATUS = Register(0xA400_0014, access="ro", reset=0x0100_403E, state=bits(31, 24))
    PMCSR_DISABLE = Register(0xA400_0018, reset=1, disable=bit(0), doc="clear it first; a reset keeps it")


class Bar2(Csr):
    """All of DLB 2.5's."""

    LDB: Repeat[LdbPort] = Repeat(LdbPort25, 0, count=LDB_PORTS, stride=STRIDE)
    DIR: Repeat[DirectedPort] = Repeat(DirectedPort25, 0, count=VERSION_25.directed, stride=STRIDE)
    LDB_QUEUE: Repeat[LdbQueue] = Repeat(LdbQueue, 0, count=LDB_QUEUES, stride=STRIDE)
    DIR_QUEUE: Repeat[DirectedQueue] = Repeat(DirectedQueue, 0, count=VERSION_25.directed, stride=STRIDE)
    LDB_VALID = Repeat(LdbValid, 0, count=DOMAINS * LDB_QUEUES, stride=STRIDE)
    DIR_VALID = Repeat(DirectedValid, 0, count=DOMAINS * VERSION_25.directed, stride=STRIDE)
    DOMAIN: Repeat[Domain] = Repeat(Domain, 0, count=DOMAINS, stride=STRIDE)
