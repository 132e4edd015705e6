# SPDX-License-Identifier: Apache-2.0
"""Commands to the device: one at a time, polled, their errors by name."""

from __future__ import annotations

import time
from functools import lru_cache

from vfio_ims.errors import DeviceBusy, DeviceError, DeviceTimeout
from vfio_ims.locks import make_lock

from ..hardware.commands import Command, CommandError, error_text
from ..hardware.registers import Bar0
from ..hardware.software_error import describe

__all__ = ["Commander"]

_SLICE = 0.25  # seconds between two looks at the error registers while a command runs
_ACTIVE, _ERROR, _RESULT = (Bar0.CMDSTS.fields[name] for name in ("active", "error", "result"))
_STATUS_AT, _STATUS_SIZE, _RUNS = Bar0.CMDSTS.offset, Bar0.CMDSTS.size, _ACTIVE.mask


@lru_cache(maxsize=64)
def _word(command: Command, operand: int, interrupt: bool) -> int:
    """What is written to CMD. A test fires thousands of times with the same."""
    return int(Bar0.CMD.value(operand=operand, command=command, interrupt=interrupt))


class Commander:
    """The command register. ``timeout``: seconds that a command may take; a drain waits for work in flight."""

    def __init__(self, regs: Bar0, timeout: float = 10.0) -> None:
        self._regs, self._timeout = regs, timeout
        self._lock = make_lock()
        self._idle = False  # whether the last command has ended: no other program gives any

    def run(self, command: Command, operand: int = 0, *, interrupt: bool = False) -> int:
        """Issue ``command`` and wait for it; its result. ``interrupt``: raise vector 0 (INTCAUSE.command) at its end.

        DeviceError with CMDSTS' error in words, DeviceBusy where no interrupt handle is left, DeviceTimeout.
        """
        code, result = self.attempt(command, operand, interrupt=interrupt)
        if code:
            kind = DeviceBusy if code == CommandError.NO_HANDLE else DeviceError
            raise kind(self._name(command, operand), device=self._regs.label, why=error_text(code))
        return result

    def attempt(self, command: Command, operand: int = 0, *, interrupt: bool = False) -> tuple[int, int]:
        """As ``run``, but the device's refusal is returned: error code (0: none) and result."""
        with self._lock:
            if not self._idle:
                self._wait(command, operand, "an earlier command")
            self._idle = False
            self._regs.CMD.write(_word(command, operand, interrupt))
            status = self._wait(command, operand, "it")
            self._idle = True
        return (_ERROR.get(status), _RESULT.get(status)) if status else (0, 0)

    def _wait(self, command: Command, operand: int, what: str) -> int:
        """CMDSTS once it is not active."""
        regs, deadline = self._regs, time.monotonic() + self._timeout
        place = regs.base + _STATUS_AT
        while True:
            status = regs.window.poll(place, _STATUS_SIZE, _RUNS, 0, min(_SLICE, self._timeout))
            if not status & _RUNS:
                return status
            error = describe(regs.SWERR.read())
            if time.monotonic() >= deadline or regs.CMDSTS.read() == 0xFFFF_FFFF:
                state = regs.GENSTS.read()
                why = f"{what} is still active after {self._timeout:g} s; {state!r}" + (f"; {error}" if error else "")
                raise DeviceTimeout(self._name(command, operand), device=regs.label, why=why)

    @staticmethod
    def _name(command: Command, operand: int) -> str:
        return command.name.lower().replace("_", " ") + (f" {operand:#x}" if operand else "")
