# SPDX-License-Identifier: Apache-2.0
"""Errors of software, as the device reports them: syndrome registers and MSI-X vector 0."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..hardware.registers import ChpAlarm, Csr, SysAlarm, Unit

if TYPE_CHECKING:
    from vfio_ims.models.register_file import RegisterFile

    from .ports import PortState

__all__ = ["Alarms"]

_ENABLED = {SysAlarm.ILLEGAL_ELEMENT: "element", SysAlarm.ILLEGAL_QUEUE: "queue", SysAlarm.DISABLED_QUEUE: "disabled"}


class Alarms:
    """``interrupt``: raises the alarm vector. SYS reports what INGRESS_ALARM_ENBL lets it, CHP always."""

    def __init__(self, registers: RegisterFile, interrupt: Callable[[], None]) -> None:
        self._registers, self._interrupt = registers, interrupt

    def sys(self, alarm: SysAlarm, port: PortState, raw: bytes) -> None:
        enabled = self._registers.get(Csr.INGRESS_ALARM_ENBL)
        if getattr(enabled, _ENABLED[alarm]):
            self._report(alarm, Unit.SYS, 0, port.number, int(port.ldb), raw)

    def chp(self, alarm: ChpAlarm, port: PortState, raw: bytes) -> None:
        """The port's kind is bit 7 of the syndrome."""
        self._report(alarm, Unit.CHP, 1, port.number | port.ldb << 7, 0, raw)

    def _report(self, aid: int, unit: int, source: int, syndrome: int, ldb: int, raw: bytes) -> None:
        registers = self._registers
        if registers.get(Csr.ALARM_PF_SYND0).valid:  # the first one is kept
            registers.update(Csr.ALARM_PF_SYND0, more=1)
            return
        registers.set(Csr.ALARM_PF_SYND1, int.from_bytes(raw[8:12], "little"))
        command = raw[15]
        registers.set(
            Csr.ALARM_PF_SYND2,
            flow=raw[12] | raw[13] << 8,
            pop=command & 1,
            complete=command >> 1 & 1,
            fragment=command >> 2 & 1,
            valid=command >> 3 & 1,
            arm=command >> 4 & 1,
        )
        registers.set(Csr.ALARM_PF_SYND0, syndrome=syndrome, ldb=ldb, aid=aid, unit=unit, source=source, valid=1)
        self._interrupt()
