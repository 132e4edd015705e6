# SPDX-License-Identifier: Apache-2.0
"""Alarms: what software did wrong, as the device's syndrome registers say it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..hardware.registers import ChpAlarm, SysAlarm, Unit

if TYPE_CHECKING:
    from ..hardware.registers import Bar2

__all__ = ["Alarm", "peek", "take"]

_SYS = {
    SysAlarm.ILLEGAL_QUEUE: "an element for a queue that does not exist",
    SysAlarm.DISABLED_QUEUE: "an element for a queue that its domain may not enqueue to",
    SysAlarm.ILLEGAL_ELEMENT: "an illegal command",
}
_CHP = {
    ChpAlarm.ILLEGAL_ENQUEUE: "a completion too many, an illegal fragment, or no credit left",
    ChpAlarm.EXCESS_POPS: "more tokens returned than there were",
}


@dataclass(frozen=True, slots=True)
class Alarm:
    """``port`` did it, with an element for ``queue``. ``more``: others came after it, and were not recorded."""

    what: str
    port: int
    load_balanced: bool
    queue: int
    unit: int
    code: int
    more: bool

    def __str__(self) -> str:
        kind = "load-balanced" if self.load_balanced else "directed"
        others = ", and more that were not recorded" if self.more else ""
        return f"{kind} port {self.port}: {self.what} (queue {self.queue}){others}"


def peek(regs: Bar2) -> Alarm | None:
    """What is recorded; it stays."""
    first = regs.ALARM_PF_SYND0.read()
    if not first.valid or first == 0xFFFF_FFFF:
        return None
    chp = first.unit == Unit.CHP
    words: dict[int, str] = {int(code): text for code, text in (_CHP if chp else _SYS).items()}
    what = words.get(first.aid, f"alarm {first.aid} of unit {first.unit}")
    return Alarm(
        what=what,
        port=first.syndrome & 0x7F,
        load_balanced=bool(first.syndrome & 0x80 if chp else first.ldb),
        queue=regs.ALARM_PF_SYND1.read().queue,
        unit=first.unit,
        code=first.aid,
        more=bool(first.more),
    )


def take(regs: Bar2) -> Alarm | None:
    """What is recorded, which is cleared; the alarm vector is acknowledged: the next one interrupts."""
    alarm = peek(regs)
    if alarm is not None:
        regs.ALARM_PF_SYND0.write(valid=1, more=1)
    regs.MSIX_ACK.write(alarm=1)
    regs.TOTAL_VAS.read()
    return alarm
