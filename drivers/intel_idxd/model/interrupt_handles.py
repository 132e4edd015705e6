# SPDX-License-Identifier: Apache-2.0
"""Interrupt handles of the modelled device: table indices, or numbers that are given out on request."""

from __future__ import annotations

from ..hardware.commands import IMS_HANDLE, CommandError
from ..hardware.registers import Cause
from .layout import VECTORS
from .reporter import Reporter
from .state import ModelState

__all__ = ["InterruptHandles"]

_FIRST = 0x1000  # no handle equals its index: a driver that takes one for the other is found out


class InterruptHandles:
    """``requested``: handles must be requested. ``count``: how many there are. Called with the state's lock held."""

    def __init__(
        self, state: ModelState, reporter: Reporter, *, requested: bool, count: int, revoke_after: int
    ) -> None:
        self._state, self._reporter = state, reporter
        self._requested, self._count, self._revoke_after = requested, count, revoke_after
        self._index: dict[tuple[int, bool], int] = {}
        self._revoked: dict[tuple[int, bool], int] = {}
        self._next = _FIRST
        self._fires, self._slots = 0, state.slots.layout.count

    @property
    def in_use(self) -> int:
        """How many handles are given out and not revoked."""
        return len(self._index)

    def index(self, handle: int, *, ims: bool) -> int | None:
        """The table entry that ``handle`` names on this kind of portal; None where it names none."""
        if self._requested:
            return self._index.get((handle, ims))
        return handle if handle < (self._slots if ims else VECTORS) else None

    def _size(self, ims: bool) -> int:
        return self._slots if ims else VECTORS

    def request(self, operand: int) -> tuple[int, int]:
        """CMD 13: error and handle."""
        index, ims = operand & 0xFFFF, bool(operand & IMS_HANDLE)
        if index >= self._size(ims):
            return CommandError.HANDLE_INDEX, 0
        if len(self._index) >= self._count:
            return CommandError.NO_HANDLE, 0
        handle = self._next
        self._next = _FIRST + (self._next + 1 - _FIRST) % (1 << 15)
        self._index[handle, ims] = index
        return CommandError.NONE, handle

    def release(self, operand: int) -> int:
        """CMD 14: error."""
        key = operand & 0xFFFF, bool(operand & IMS_HANDLE)
        if self._index.pop(key, None) is None and self._revoked.pop(key, None) is None:
            return CommandError.HANDLE_INDEX
        return CommandError.NONE

    def fired(self) -> None:
        """An interrupt was raised: with ``revoke_after`` they are revoked now and then."""
        self._fires += 1
        if self._requested and self._revoke_after and not self._fires % self._revoke_after:
            self._state.after(self.revoke)

    def revoke(self) -> None:
        """Take all handles back, as a host does that moves a virtual device: INTCAUSE.31 and vector 0."""
        self._revoked.update(self._index)
        self._index.clear()
        self._reporter.cause(Cause.HANDLES_REVOKED)

    def reset(self) -> None:
        self._index.clear()
        self._revoked.clear()
