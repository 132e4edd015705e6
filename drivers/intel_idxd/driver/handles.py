# SPDX-License-Identifier: Apache-2.0
"""Interrupt handles: what a descriptor names an interrupt by.

Where the device does not offer to request them (GENCAP.4 clear: Sapphire Rapids), a handle is the index in the table,
MSI-X or IMS, that the portal's page chooses. [inferred from the drivers' logic]
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceError
from vfio_ims.locks import make_lock

from ..hardware.commands import IMS_HANDLE, Command, CommandError, error_text
from .commander import Commander

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..hardware.registers import Bar0

__all__ = ["Handles"]


class Handles:
    """Handles by table index. ``request`` False: they are the indices. A full device takes back the longest unused."""

    def __init__(self, commander: Commander, label: str, *, request: bool) -> None:
        self._commander, self._label, self.request = commander, label, request
        self._lock, self._renewing = make_lock(), make_lock()
        self._held: OrderedDict[int, int] = OrderedDict()

    def slot(self, index: int) -> int:
        """The handle of IMS slot ``index``."""
        return self._handle(index | IMS_HANDLE) if self.request else index

    def slots(self, indices: Sequence[int]) -> Sequence[int]:
        """The handles of several."""
        return [self._handle(index | IMS_HANDLE) for index in indices] if self.request else indices

    def vector(self, index: int) -> int:
        """The handle of MSI-X vector ``index``."""
        return self._handle(index) if self.request else index

    def _handle(self, operand: int) -> int:
        with self._lock:
            held = self._held.get(operand)
            if held is not None:
                self._held.move_to_end(operand)
                return held
            code, handle = self._commander.attempt(Command.REQUEST_HANDLE, operand)
            if code == CommandError.NO_HANDLE and self._held:
                self._release(next(iter(self._held)))
                code, handle = self._commander.attempt(Command.REQUEST_HANDLE, operand)
            if code:
                raise DeviceError(f"request interrupt handle {operand:#x}", device=self._label, why=error_text(code))
            self._held[operand] = handle
            return handle

    def _release(self, operand: int) -> None:
        handle = self._held.pop(operand)
        self._commander.attempt(Command.RELEASE_HANDLE, handle | operand & IMS_HANDLE)

    def release_slot(self, index: int) -> None:
        """Give the handle of slot ``index`` back, if there is one."""
        with self._lock:
            if index | IMS_HANDLE in self._held:
                self._release(index | IMS_HANDLE)

    def renew(self, regs: Bar0) -> bool:
        """Whether the device has revoked all handles (INTCAUSE.31); they are requested again when needed then.

        The cause is cleared first: a revocation that comes meanwhile sets it again.
        """
        with self._renewing:
            if not regs.INTCAUSE.read().handles_revoked:
                return False
            regs.INTCAUSE.write(handles_revoked=1)
            self.revoked()
            return True

    def revoked(self) -> None:
        """Release all: they are requested again when needed."""
        with self._lock:
            for operand in list(self._held):
                self._release(operand)

    def forget(self) -> None:
        """The device was reset: it knows no handle of ours."""
        with self._lock:
            self._held.clear()

    @property
    def held(self) -> int:
        return len(self._held)
