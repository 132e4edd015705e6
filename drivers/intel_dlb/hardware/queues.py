# SPDX-License-Identifier: Apache-2.0
"""Registers of the queues and of the domains (VAS). Names are Intel's, without the prefixes.

Offsets are in BAR 2, those of DLB 2.5; ``v20.py`` has what DLB 2.0 has elsewhere.
Source: DPDK drivers/event/dlb2/pf/base/dlb2_regs.h.
"""

from vfio_ims.registers import Block, Register, Repeat, bit, bits

__all__ = ["DirectedQueue", "DirectedValid", "Domain", "LdbQueue", "LdbValid", "PortMap"]


class PortMap(Block):
    """Which ports take from a queue, four ports a register: byte ``port % 4``, one bit a queue slot of the port."""

    ATM = Register(0x3008_0000)
    LSP = Register(0x90F8_0000)
    LSP2 = Register(0x9178_0000)


class LdbQueue(Block):
    """A load-balanced queue (QID)."""

    QID_V = Register(0x1000_0F50, valid=bit(0))
    QID_ITS = Register(0x1000_0F54, timestamps=bit(0))
    QID_CFG_V = Register(0x1000_0F58, ordered=bit(0), atomic=bit(1))
    QID_FID_LIM = Register(0x2000_0000, reset=0x7FF, limit=bits(12, 0), doc="flows under way")
    QID_HID_WIDTH = Register(0x2008_0000, code=bits(2, 0), doc="bits of a flow that are compared: 5 + code; 0: all")
    ORD_QID_SN = Register(0x4008_0000, number=bits(9, 0))
    ORD_QID_SN_MAP = Register(0x4010_0000, mode=bits(2, 0), slot=bits(6, 3), group=bit(8))
    QID_AQED_ACTIVE_CNT = Register(0x90B8_0000, count=bits(11, 0), access="ro")
    QID_AQED_ACTIVE_LIM = Register(0x90C0_0000, limit=bits(11, 0))
    QID_ATM_TOT_ENQ_CNTL = Register(0x90C8_0000)
    QID_ATM_TOT_ENQ_CNTH = Register(0x90D0_0000)
    QID_LDB_ENQUEUE_CNT = Register(0x90E0_0000, count=bits(13, 0), access="ro")
    QID_LDB_INFL_CNT = Register(0x90E8_0000, count=bits(11, 0), access="ro")
    QID_LDB_INFL_LIM = Register(0x90F0_0000, limit=bits(11, 0))
    QID_NALDB_MAX_DEPTH = Register(0x9208_0000)
    QID_NALDB_TOT_ENQ_CNTL = Register(0x9210_0000)
    QID_NALDB_TOT_ENQ_CNTH = Register(0x9218_0000)
    QID_ATM_DEPTH_THRSH = Register(0x9220_0000, threshold=bits(13, 0))
    QID_NALDB_DEPTH_THRSH = Register(0x9228_0000, threshold=bits(13, 0))
    QID_ATM_ACTIVE = Register(0x9230_0000, count=bits(13, 0), access="ro")
    MAPS = Repeat(PortMap, 0, count=16, stride=0x8_0000)


class DirectedQueue(Block):
    """A directed queue (QID): its elements go to the port of the same number."""

    QID_V = Register(0x1000_0F60, valid=bit(0))
    QID_ITS = Register(0x1000_0F64, timestamps=bit(0))
    QID_MAX_DEPTH = Register(0x9080_0000)
    QID_TOT_ENQ_CNTL = Register(0x9088_0000)
    QID_TOT_ENQ_CNTH = Register(0x9090_0000)
    QID_ENQUEUE_CNT = Register(0x9098_0000, count=bits(12, 0), access="ro")
    QID_DEPTH_THRSH = Register(0x90A0_0000, threshold=bits(12, 0))


class LdbValid(Block):
    """Whether a domain may enqueue to a load-balanced queue: row ``domain * 32 + queue``."""

    VASQID_V = Register(0x1000_0F24, valid=bit(0))


class DirectedValid(Block):
    """Whether a domain may enqueue to a directed queue: row ``domain * 96 + queue`` (DLB 2.0: ``* 64``)."""

    VASQID_V = Register(0x1000_0F28, valid=bit(0))


class Domain(Block):
    """A scheduling domain's credits: what it may have in queues."""

    CFG_VAS_CRD = Register(0x4000_0000, count=bits(14, 0), doc="DLB 2.0: of directed elements")
