# SPDX-License-Identifier: Apache-2.0
"""BAR 2 of DLB 2.0: what lies elsewhere than in DLB 2.5 (``registers.py``). Source: DPDK's dlb2_regs.h, names V2*."""

from vfio_ims.registers import Register, Repeat, bits

from .places import DOMAINS, LDB_PORTS, LDB_QUEUES, VERSION_20
from .ports import DirectedPort, LdbPort
from .queues import DirectedQueue, DirectedValid, Domain, LdbQueue, LdbValid, PortMap
from .registers import STRIDE, Bar2, Csr

__all__ = ["Bar2V20", "DirectedPort20", "DirectedQueue20", "LdbPort20", "LdbQueue20", "PortMap20"]


def moved(register: Register, offset: int) -> Register:
    """The same register at another offset."""
    return Register(
        offset,
        register.width,
        register.access,
        register.reset,
        register.__doc__ or "",
        on_read=register.on_read,
        **register.fields,
    )


class LdbPort20(LdbPort):
    """A load-balanced port."""

    CQ_AT = Register(0x1000_0F9C, kind=bits(1, 0))
    CQ_PASID = moved(LdbPort.CQ_PASID, 0x1000_0FA0)
    SN_CHK_ENBL = moved(LdbPort.SN_CHK_ENBL, 0x4020_0000)
    HIST_LIST_BASE = moved(LdbPort.HIST_LIST_BASE, 0x4070_0000)
    HIST_LIST_LIM = moved(LdbPort.HIST_LIST_LIM, 0x4078_0000)
    HIST_LIST_POP_PTR = moved(LdbPort.HIST_LIST_POP_PTR, 0x4080_0000)
    HIST_LIST_PUSH_PTR = moved(LdbPort.HIST_LIST_PUSH_PTR, 0x4088_0000)
    CQ_DEPTH = moved(LdbPort.CQ_DEPTH, 0x4090_0000)
    CQ_INT_DEPTH_THRSH = moved(LdbPort.CQ_INT_DEPTH_THRSH, 0x4098_0000)
    CQ_INT_ENB = moved(LdbPort.CQ_INT_ENB, 0x40A0_0000)
    CQ_TMR_THRSH = moved(LdbPort.CQ_TMR_THRSH, 0x40B0_0000)
    CQ_TKN_DEPTH_SEL = moved(LdbPort.CQ_TKN_DEPTH_SEL, 0x40B8_0000)
    CQ_WD_ENB = moved(LdbPort.CQ_WD_ENB, 0x40C0_0000)
    CQ_WPTR = moved(LdbPort.CQ_WPTR, 0x40C8_0000)
    CQ2VAS = moved(LdbPort.CQ2VAS, 0x40D0_0000)
    CQ2PRIOV = moved(LdbPort.CQ2PRIOV, 0xA000_0000)
    CQ2QID0 = moved(LdbPort.CQ2QID0, 0xA008_0000)
    CQ2QID1 = moved(LdbPort.CQ2QID1, 0xA010_0000)
    CQ_DSBL = moved(LdbPort.CQ_DSBL, 0xA040_0000)
    CQ_INFL_CNT = moved(LdbPort.CQ_INFL_CNT, 0xA048_0000)
    CQ_INFL_LIM = moved(LdbPort.CQ_INFL_LIM, 0xA050_0000)
    CQ_TKN_CNT = moved(LdbPort.CQ_TKN_CNT, 0xA058_0000)
    LSP_TKN_DEPTH_SEL = moved(LdbPort.LSP_TKN_DEPTH_SEL, 0xA060_0000)
    CQ_TOT_SCH_CNTL = moved(LdbPort.CQ_TOT_SCH_CNTL, 0xA068_0000)
    CQ_TOT_SCH_CNTH = moved(LdbPort.CQ_TOT_SCH_CNTH, 0xA070_0000)


class DirectedPort20(DirectedPort):
    """A directed port."""

    CQ_AT = Register(0x1000_0FDC, kind=bits(1, 0))
    CQ_PASID = moved(DirectedPort.CQ_PASID, 0x1000_0FE0)
    CQ_DEPTH = moved(DirectedPort.CQ_DEPTH, 0x4028_0000)
    CQ_INT_DEPTH_THRSH = moved(DirectedPort.CQ_INT_DEPTH_THRSH, 0x4030_0000)
    CQ_INT_ENB = moved(DirectedPort.CQ_INT_ENB, 0x4038_0000)
    CQ_TMR_THRSH = moved(DirectedPort.CQ_TMR_THRSH, 0x4048_0000)
    CQ_TKN_DEPTH_SEL = moved(DirectedPort.CQ_TKN_DEPTH_SEL, 0x4050_0000)
    CQ_WD_ENB = moved(DirectedPort.CQ_WD_ENB, 0x4058_0000)
    CQ_WPTR = moved(DirectedPort.CQ_WPTR, 0x4060_0000)
    CQ2VAS = moved(DirectedPort.CQ2VAS, 0x4068_0000)
    CQ_DSBL = moved(DirectedPort.CQ_DSBL, 0xA018_0000)
    CQ_TKN_CNT = moved(DirectedPort.CQ_TKN_CNT, 0xA020_0000)
    LSP_TKN_DEPTH_SEL = moved(DirectedPort.LSP_TKN_DEPTH_SEL, 0xA028_0000)
    CQ_TOT_SCH_CNTL = moved(DirectedPort.CQ_TOT_SCH_CNTL, 0xA030_0000)
    CQ_TOT_SCH_CNTH = moved(DirectedPort.CQ_TOT_SCH_CNTH, 0xA038_0000)


class PortMap20(PortMap):
    """Which ports take from a queue."""

    LSP = moved(PortMap.LSP, 0xA0E0_0000)
    LSP2 = moved(PortMap.LSP2, 0xA160_0000)


class LdbQueue20(LdbQueue):
    """A load-balanced queue."""

    ORD_QID_SN = moved(LdbQueue.ORD_QID_SN, 0x4010_0000)
    ORD_QID_SN_MAP = moved(LdbQueue.ORD_QID_SN_MAP, 0x4018_0000)
    QID_AQED_ACTIVE_CNT = moved(LdbQueue.QID_AQED_ACTIVE_CNT, 0xA0A0_0000)
    QID_AQED_ACTIVE_LIM = moved(LdbQueue.QID_AQED_ACTIVE_LIM, 0xA0A8_0000)
    QID_ATM_TOT_ENQ_CNTL = moved(LdbQueue.QID_ATM_TOT_ENQ_CNTL, 0xA0B0_0000)
    QID_ATM_TOT_ENQ_CNTH = moved(LdbQueue.QID_ATM_TOT_ENQ_CNTH, 0xA0B8_0000)
    QID_LDB_ENQUEUE_CNT = moved(LdbQueue.QID_LDB_ENQUEUE_CNT, 0xA0C8_0000)
    QID_LDB_INFL_CNT = moved(LdbQueue.QID_LDB_INFL_CNT, 0xA0D0_0000)
    QID_LDB_INFL_LIM = moved(LdbQueue.QID_LDB_INFL_LIM, 0xA0D8_0000)
    QID_NALDB_MAX_DEPTH = moved(LdbQueue.QID_NALDB_MAX_DEPTH, 0xA1F0_0000)
    QID_NALDB_TOT_ENQ_CNTL = moved(LdbQueue.QID_NALDB_TOT_ENQ_CNTL, 0xA1F8_0000)
    QID_NALDB_TOT_ENQ_CNTH = moved(LdbQueue.QID_NALDB_TOT_ENQ_CNTH, 0xA200_0000)
    QID_ATM_DEPTH_THRSH = moved(LdbQueue.QID_ATM_DEPTH_THRSH, 0xA208_0000)
    QID_NALDB_DEPTH_THRSH = moved(LdbQueue.QID_NALDB_DEPTH_THRSH, 0xA210_0000)
    QID_ATM_ACTIVE = moved(LdbQueue.QID_ATM_ACTIVE, 0xA218_0000)
    MAPS = Repeat(PortMap20, 0, count=16, stride=0x8_0000)


class DirectedQueue20(DirectedQueue):
    """A directed queue."""

    QID_MAX_DEPTH = moved(DirectedQueue.QID_MAX_DEPTH, 0xA078_0000)
    QID_TOT_ENQ_CNTL = moved(DirectedQueue.QID_TOT_ENQ_CNTL, 0xA080_0000)
    QID_TOT_ENQ_CNTH = moved(DirectedQueue.QID_TOT_ENQ_CNTH, 0xA088_0000)
    QID_ENQUEUE_CNT = moved(DirectedQueue.QID_ENQUEUE_CNT, 0xA090_0000)
    QID_DEPTH_THRSH = moved(DirectedQueue.QID_DEPTH_THRSH, 0xA098_0000)


class _Csr20(Csr):
    """The registers that there is one of."""

    TOTAL_VAS = moved(Csr.TOTAL_VAS, 0x1000_011C)
    DIR_ARMED_0 = moved(Csr.DIR_ARMED_0, 0x4400_005C)
    DIR_ARMED_1 = moved(Csr.DIR_ARMED_1, 0x4400_0060)
    DIR_TIMER_CTL = moved(Csr.DIR_TIMER_CTL, 0x4400_0084)
    DIR_WD_DISABLE_0 = moved(Csr.DIR_WD_DISABLE_0, 0x4400_0098)
    DIR_WD_DISABLE_1 = moved(Csr.DIR_WD_DISABLE_1, 0x4400_009C)
    DIR_WD_INTERVAL = moved(Csr.DIR_WD_INTERVAL, 0x4400_00A0)
    DIR_WD_THRESHOLD = moved(Csr.DIR_WD_THRESHOLD, 0x4400_00AC)
    LDB_ARMED_0 = moved(Csr.LDB_ARMED_0, 0x4400_00B0)
    LDB_ARMED_1 = moved(Csr.LDB_ARMED_1, 0x4400_00B4)
    LDB_TIMER_CTL = moved(Csr.LDB_TIMER_CTL, 0x4400_00D8)
    LDB_WD_DISABLE_0 = moved(Csr.LDB_WD_DISABLE_0, 0x4400_00EC)
    LDB_WD_DISABLE_1 = moved(Csr.LDB_WD_DISABLE_1, 0x4400_00F0)
    LDB_WD_INTERVAL = moved(Csr.LDB_WD_INTERVAL, 0x4400_00F4)
    LDB_WD_THRESHOLD = moved(Csr.LDB_WD_THRESHOLD, 0x4400_0100)
    GRP_SN_MODE = moved(Csr.GRP_SN_MODE, 0x9400_0000)
    LDB_SCHED_CTRL = moved(Csr.LDB_SCHED_CTRL, 0xA400_002C)
    RESET_STS = moved(Csr.RESET_STS, 0xB400_0000)
    IDLE_STATUS = moved(Csr.IDLE_STATUS, 0xB400_0004)
    PM_STATUS = moved(Csr.PM_STATUS, 0xB400_0014)
    PMCSR_DISABLE = moved(Csr.PMCSR_DISABLE, 0xB400_0018)
    DIR_CQ_OPT_CLR = Register(0x1000_04C0, cq=bits(5, 0))


class Domain20(Domain):
    """A scheduling domain's credits: load-balanced elements have their own."""

    CFG_LDB_VAS_CRD = Register(0x4008_0000, count=bits(14, 0))


class Bar2V20(_Csr20, Bar2):
    """All of DLB 2.0's."""

    LDB: Repeat[LdbPort] = Repeat(LdbPort20, 0, count=LDB_PORTS, stride=STRIDE)
    DIR: Repeat[DirectedPort] = Repeat(DirectedPort20, 0, count=VERSION_20.directed, stride=STRIDE)
    LDB_QUEUE: Repeat[LdbQueue] = Repeat(LdbQueue20, 0, count=LDB_QUEUES, stride=STRIDE)
    DIR_QUEUE: Repeat[DirectedQueue] = Repeat(DirectedQueue20, 0, count=VERSION_20.directed, stride=STRIDE)
    LDB_VALID = Repeat(LdbValid, 0, count=DOMAINS * LDB_QUEUES, stride=STRIDE)
    DIR_VALID = Repeat(DirectedValid, 0, count=DOMAINS * VERSION_20.directed, stride=STRIDE)
    DOMAIN: Repeat[Domain] = Repeat(Domain20, 0, count=DOMAINS, stride=STRIDE)
