# SPDX-License-Identifier: Apache-2.0
"""One modelled HDMA channel's registers (native map), as its work reads and updates them; its interrupts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ..hardware.elements import REMOTE, Element
from ..hardware.hdma import HdmaChannel
from ..hardware.registers import State
from .channel_registers import Abort

if TYPE_CHECKING:
    from vfio_ims.models.register_file import View
    from vfio_ims.registers import Register

__all__ = ["HdmaRegisters"]

_STOP = (HdmaChannel.STOP_LOW, HdmaChannel.STOP_HIGH)
_WATERMARK = (HdmaChannel.WATERMARK_LOW, HdmaChannel.WATERMARK_HIGH)
_ABORT = (HdmaChannel.ABORT_LOW, HdmaChannel.ABORT_HIGH)


class HdmaRegisters:
    """``Registers`` of one channel. A cause is recorded where its local interrupt is on; masks are of a pin only."""

    def __init__(self, channel: View, send: Callable[[int, int], None], defect: str = "none") -> None:
        self._channel, self._send, self._defect = channel, send, defect

    def list_mode(self) -> bool:
        return bool(self._channel.get(HdmaChannel.CONTROL1).lle)

    def block(self) -> Element:
        source = self._wide(HdmaChannel.SOURCE_LOW, HdmaChannel.SOURCE_HIGH)
        target = self._wide(HdmaChannel.TARGET_LOW, HdmaChannel.TARGET_HIGH)
        return Element(0, self._channel.get(HdmaChannel.SIZE), source, target)

    def _wide(self, low: Register, high: Register) -> int:
        return self._channel.get(high) << 32 | self._channel.get(low)

    def pointer(self) -> int:
        return self._wide(HdmaChannel.LIST_LOW, HdmaChannel.LIST_HIGH)

    def set_pointer(self, address: int) -> None:
        self._channel.set(HdmaChannel.LIST_LOW, address & 0xFFFF_FFFF)
        self._channel.set(HdmaChannel.LIST_HIGH, address >> 32)

    def cycle(self) -> bool:
        return bool(self._channel.get(HdmaChannel.CYCLE).state)

    def set_cycle(self, cycle: bool) -> None:
        self._channel.update(HdmaChannel.CYCLE, state=int(cycle))

    def set_state(self, state: State) -> None:
        self._channel.update(HdmaChannel.STATUS, state=int(state))

    def done(self, control: int, *, stopped: bool) -> None:
        setup = self._channel.get(HdmaChannel.INT_SETUP)
        if control & REMOTE:  # an element's own interrupt is the watermark's
            self._note("watermark")
            self._message(_WATERMARK)
        if not stopped:
            return
        if setup.remote_stop and self._defect == "late-status":
            self._message(_STOP)
        if setup.local_stop:
            self._note("stop")
        if setup.remote_stop and self._defect not in ("late-status", "loses-done"):
            self._message(_STOP)

    def aborted(self, control: int, why: Abort) -> None:
        setup = self._channel.get(HdmaChannel.INT_SETUP)
        if setup.local_abort:
            self._note("abort")
        if setup.remote_abort:
            self._message(_ABORT)

    def _note(self, cause: str) -> None:
        self._channel.update(HdmaChannel.INT_STATUS, **{cause: 1})

    def _message(self, address: tuple[Register, Register]) -> None:
        low, high = (self._channel.get(register) for register in address)
        self._send(high << 32 | low, self._channel.get(HdmaChannel.DATA))
