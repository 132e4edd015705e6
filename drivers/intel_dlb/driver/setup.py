# SPDX-License-Identifier: Apache-2.0
"""A port's registers: configuration, interrupt and reset (DPDK: dlb2_ldb_port_configure_cq and others)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..hardware.ports import CqIsr, DirectedPort, LdbPort
from .power import flush

if TYPE_CHECKING:
    from vfio_ims.registers import BoundRegister

    from ..hardware.registers import Bar2

__all__ = ["configure_port", "interrupt_by", "map_queue", "reset_port", "set_enabled"]

_SMALLEST = 8  # entries that a consumer queue has at least, whatever depth it is used with


def configure_port(
    regs: Bar2, port: LdbPort | DirectedPort, domain: int, iova: int, depth: int, history: tuple[int, int] = (0, 0)
) -> None:
    """All but its queues. ``depth``: entries until scheduling stops. ``history``: first entry and count.

    Under 8 entries the others of 8 are written as taken already.
    """
    select = max(depth, _SMALLEST).bit_length() - 3
    port.CQ_ADDR_L.write(iova & 0xFFFF_FFFF)
    port.CQ_ADDR_U.write(iova >> 32)
    port.CQ2VF_PF_RO.write(pf=1, relaxed=1)
    port.CQ_TKN_DEPTH_SEL.write(select=select)
    port.CQ_TKN_CNT.write(count=max(0, _SMALLEST - depth))
    port.LSP_TKN_DEPTH_SEL.write(select=select)
    port.CQ_WPTR.write(0)
    if isinstance(port, LdbPort):
        first, count = history
        port.HIST_LIST_LIM.write(entry=first + count - 1)
        port.HIST_LIST_BASE.write(entry=first)
        port.CQ_INFL_LIM.write(limit=count)
        port.HIST_LIST_PUSH_PTR.write(entry=first)
        port.HIST_LIST_POP_PTR.write(entry=first)
        port.CQ2PRIOV.write(0)
    else:
        port.CQ_FMT.write(0)
    port.CQ_PASID.write(0)
    port.CQ2VAS.write(domain=domain)
    port.PP2VAS.write(domain=domain)
    port.PP_V.write(valid=1)
    port.CQ_DSBL.write(0)
    flush(regs)


def map_queue(regs: Bar2, port: LdbPort, number: int, slot: int, queue: int, priority: int) -> None:
    """Let the port's queue slot ``slot`` take from load-balanced ``queue`` (DPDK: dlb2_ldb_port_map_qid_static)."""
    priorities = port.CQ2PRIOV.read()
    port.CQ2PRIOV.write(priorities & ~(7 << 3 * slot) | priority << 3 * slot | 1 << 24 + slot)
    register, place = (port.CQ2QID0, slot) if slot < 4 else (port.CQ2QID1, slot - 4)
    register.write(register.read() & ~(0xFF << 8 * place) | queue << 8 * place)
    four = regs.LDB_QUEUE[queue].MAPS[number // 4]
    for bitmap in (four.ATM, four.LSP, four.LSP2):
        bitmap.write(bitmap.read() | 1 << 8 * (number % 4) + slot)
    flush(regs)


def interrupt_by(regs: Bar2, port: LdbPort | DirectedPort, mode: CqIsr, vector: int = 0, threshold: int = 1) -> None:
    """Where the port interrupts when it is armed and has ``threshold`` elements: an IMS slot, or an MSI-X vector - 1.

    On return nothing refers to the former place any more.
    """
    port.CQ_INT_ENB.write(0)
    port.CQ_ISR.write(0)
    if mode is not CqIsr.OFF:
        port.CQ_INT_DEPTH_THRSH.write(threshold=threshold - 1)
        port.CQ_ISR.write(vector=vector, mode=mode)
        port.CQ_INT_ENB.write(depth=1)
    flush(regs)


def set_enabled(regs: Bar2, port: LdbPort | DirectedPort, enabled: bool) -> None:
    """Whether elements are scheduled to the port."""
    port.CQ_DSBL.write(disabled=not enabled)
    flush(regs)


def reset_port(regs: Bar2, port: LdbPort | DirectedPort) -> None:
    """Every register of the port to its value after reset, its switches first."""
    registers: list[BoundRegister] = [port.CQ_DSBL, port.PP_V, port.CQ_INT_ENB, port.CQ_WD_ENB, port.CQ_ISR]
    if isinstance(port, LdbPort):
        registers += [
            port.CQ_INFL_LIM, port.HIST_LIST_LIM, port.HIST_LIST_BASE, port.HIST_LIST_POP_PTR, port.HIST_LIST_PUSH_PTR,
            port.SN_CHK_ENBL, port.CQ2QID0, port.CQ2QID1, port.CQ2PRIOV,
        ]  # fmt: skip
    else:
        registers += [port.CQ_FMT]
    registers += [
        port.PP2VAS, port.CQ2VAS, port.PP2VDEV, port.CQ_INT_DEPTH_THRSH, port.CQ_TMR_THRSH, port.LSP_TKN_DEPTH_SEL,
        port.CQ_TKN_DEPTH_SEL, port.CQ_WPTR, port.CQ_TKN_CNT, port.CQ_ADDR_L, port.CQ_ADDR_U, port.CQ_PASID,
        port.CQ2VF_PF_RO, port.CQ_TOT_SCH_CNTL, port.CQ_TOT_SCH_CNTH,
    ]  # fmt: skip
    for register in registers:
        register.write(register.register.reset)
    flush(regs)
