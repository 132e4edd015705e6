# SPDX-License-Identifier: Apache-2.0
"""What a store to a producer port does: four commands, each checked, paid for by a credit and carried out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..hardware.elements import COMMANDS, ELEMENT_SIZE, Command
from ..hardware.registers import ChpAlarm, SysAlarm
from .items import Item
from .ports import LdbState
from .queues import History

if TYPE_CHECKING:
    from .alarms import Alarms
    from .interrupts import Interrupts
    from .ports import PortState
    from .scheduler import Scheduler

__all__ = ["Intake"]

_POP, _COMPLETE, _FRAGMENT, _VALID, _ARM = 1, 2, 4, 8, 16
_COUNT = 0x3FF  # tokens that one command returns: as many, and one more


class Intake:
    """``refusal(item)``: why an element may not enter its queue. ``charge(item)`` takes a credit: False without."""

    def __init__(
        self,
        scheduler: Scheduler,
        interrupts: Interrupts,
        alarms: Alarms,
        refusal: Callable[[Item], SysAlarm | None],
        charge: Callable[[Item], bool],
        credit: Callable[[Item], None],
        defect: str,
    ) -> None:
        self._scheduler, self._interrupts, self._alarms = scheduler, interrupts, alarms
        self._refusal, self._charge, self._credit, self._defect = refusal, charge, credit, defect

    def take(self, port: PortState, line: bytes) -> None:
        """A whole store of 64 bytes to a port that is valid."""
        for at in range(0, len(line), ELEMENT_SIZE):
            if line[at + 15] & 0x1F:
                self._do(port, line[at : at + ELEMENT_SIZE])

    def _do(self, port: PortState, raw: bytes) -> None:
        byte = raw[15]
        command = byte & 0xF
        if command not in COMMANDS or (not port.ldb and command not in (0, 1, 5, 8, 9)):
            self._alarms.sys(SysAlarm.ILLEGAL_ELEMENT, port, raw)
            return
        if command == Command.ARM:
            port.armed = True
            self._interrupts.check(port)
            return
        if isinstance(port, LdbState) and command & (_COMPLETE | _FRAGMENT):
            self._from_schedule(port, raw, command)
        elif command & _VALID:
            self._enter(self._admitted(port, raw))
        if command & _POP:
            count = 1 if command & _VALID else ((raw[12] | raw[13] << 8) & _COUNT) + 1
            if not port.pop(count):
                self._alarms.chp(ChpAlarm.EXCESS_POPS, port, raw)
        if byte & _ARM:
            port.armed = True
            self._interrupts.check(port)

    def _admitted(self, port: PortState, raw: bytes) -> Item | None:
        """The element in ``raw``, paid for; None where it may not enter."""
        item = Item(raw, port.domain)
        refusal = self._refusal(item)
        if refusal is not None:
            self._alarms.sys(refusal, port, raw)
            return None
        if not self._charge(item):
            self._alarms.chp(ChpAlarm.ILLEGAL_ENQUEUE, port, raw)
            return None
        return item

    def _enter(self, item: Item | None) -> None:
        if item is not None:
            self._scheduler.enter(item)

    def _from_schedule(self, port: LdbState, raw: bytes, command: int) -> None:
        """A completion, a forward or a fragment: all of the oldest element that was scheduled to the port."""
        if not port.history:
            self._alarms.chp(ChpAlarm.ILLEGAL_ENQUEUE, port, raw)
            return
        oldest: History = port.history[0]
        item = self._admitted(port, raw) if command & _VALID else None
        if command & _FRAGMENT:
            if oldest.window is None:  # only what was ordered can be replaced by several
                if item is not None:
                    self._credit(item)
                self._alarms.chp(ChpAlarm.ILLEGAL_ENQUEUE, port, raw)
            elif item is not None:
                oldest.window.add(oldest.number, item)
            return
        if oldest.window is None or self._defect == "reorders":
            self._enter(item)
        elif item is not None:
            oldest.window.add(oldest.number, item)
        done = port.complete()
        assert done is not None
        for leaving in done.queue.complete(done):
            self._scheduler.enter(leaving)
