# SPDX-License-Identifier: Apache-2.0
"""What a channel has to do: transfers in order, handed to the engine as its list has room, and taken back when done.

What is done is read from the position of the engine. There is no thread: a wait asks the engine.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceError, DeviceTimeout, UsageError, VfioImsError
from vfio_ims.interruption import uninterrupted
from vfio_ims.locks import make_rlock

from ..hardware.elements import LOCAL, REMOTE
from ..hardware.registers import State
from .transfer import Transfer, TransferAborted

if TYPE_CHECKING:
    from vfio_ims.ims import ImsInterrupt

    from .engine import ChannelRegisters
    from .ring import Ring

__all__ = ["Work"]

_STOP = 1.0  # seconds that a channel may take to stop


class Work:
    """``ring`` None: no memory for lists is known, and the engine moves one block at a time.

    ``acknowledge`` takes the causes of interrupts that the device has recorded. ``interrupt``: what wakes those who
    wait, while the channel has a user who wants that.
    """

    def __init__(
        self, device: str, registers: ChannelRegisters, ring: Ring | None, acknowledge: Callable[[], None]
    ) -> None:
        self._device, self.registers, self.ring, self._acknowledge = device, registers, ring, acknowledge
        self.interrupt: ImsInterrupt | None = None
        self.lock = make_rlock()
        """Held while the list and the registers change: never while anything is waited for, but for a stop."""
        self._waiting: deque[Transfer] = deque()
        self._begun = False

    @property
    def label(self) -> str:
        return self.registers.label

    @property
    def busy(self) -> bool:
        """Whether transfers wait for their end."""
        return bool(self._waiting)

    def enter(self, transfer: Transfer) -> None:
        """Do ``transfer`` behind what is there."""
        if self.ring is None and (transfer.count > 1 or self._waiting):
            why = "where its memory for lists is was not said, so that it moves one block at a time"
            raise UsageError(transfer.operation, device=self._device, why=why, hint="wait for each before the next")
        with uninterrupted(), self.lock:
            self._waiting.append(transfer)
            self._proceed()

    def _proceed(self) -> None:
        """Hand over what fits, and see that the engine runs while there is something to do."""
        if self.ring is None:
            self._proceed_singly()
            return
        ring = self.ring
        if not self._begun:
            ring.clear()
            self.registers.begin(ring.address)
            self._begun = True
        for transfer in self._waiting:
            count = min(ring.room, transfer.count - transfer.given)
            if count:
                bits = LOCAL | REMOTE if transfer.interrupt and self.registers.interrupts_by_element else 0
                ring.put(transfer.elements, transfer.given, count, bits)
                transfer.given += count
                if transfer.given == transfer.count:
                    transfer.end = ring.produced
            if transfer.given < transfer.count:
                break
        if ring.produced > ring.consumed and self.registers.state() is not State.RUNNING:
            ring.take_position(self.registers.position())  # final now: it may have stopped since the last look
            if ring.produced > ring.consumed:  # started for nothing, it would stop, and interrupt, once more
                self.registers.ring()

    def _proceed_singly(self) -> None:
        transfer = self._waiting[0]
        if not transfer.given:
            first, source, target = transfer.elements.stored(0, 1, False, 0)
            self.registers.move(source, target, first >> 32, interrupt=transfer.interrupt)
            transfer.given, transfer.end = 1, 1
            self.registers.ring()

    def advance(self) -> None:
        """Take note of what is done, and go on. What failed is in the transfers."""
        with uninterrupted(), self.lock:
            if not self._waiting:
                return
            state = self.registers.state()  # before the position: once it has stopped that is final
            if state is State.HALTED:
                why = f"{self.label} was aborted: {self.registers.error()}"
                self._acknowledge()
                self.fail(TransferAborted(self._waiting[0].operation, device=self._device, why=why))
            elif self.ring is not None:
                self._take_back(self.ring)
            elif state is State.STOPPED:
                self._waiting.popleft().end = 0

    def _take_back(self, ring: Ring) -> None:
        consumed = ring.take_position(self.registers.position())
        if consumed is None:
            why = f"{self.label} is not in its list any more: it was reset, or its link went down"
            self.fail(DeviceError(self._waiting[0].operation, device=self._device, why=why, hint="reset the device"))
            return
        while self._waiting and 0 < self._waiting[0].end <= consumed:
            self._waiting.popleft().end = 0
        if self._waiting:
            self._proceed()

    def fail(self, failure: VfioImsError) -> None:
        """Everything ends with ``failure``; the next list begins anew. The engine does not run, or is to be stopped."""
        with uninterrupted(), self.lock:
            for transfer in self._waiting:
                transfer.failure = failure
            self._waiting.clear()
            self._begun = False

    def halt(self, reason: VfioImsError) -> None:
        """Stop the engine's work, which ends with ``reason``. Nothing happens while there is none."""
        with uninterrupted(), self.lock:
            self.advance()
            if not self._waiting:
                return
            self.fail(reason)
            if self.registers.state() is State.RUNNING:
                self.registers.stop()
                deadline = time.monotonic() + _STOP
                while self.registers.state() is State.RUNNING:
                    if time.monotonic() > deadline:
                        why = f"{self.label} still runs {_STOP:g} s after its stop bit was set"
                        raise DeviceTimeout("stop a channel", device=self._device, why=why, hint="reset the device")

    def timed_out(self, transfer: Transfer, timeout: float) -> DeviceTimeout:
        """``transfer`` was not done in time: how far it is."""
        state = self.registers.state().name.lower()
        done = "" if self.ring is None else f" after {self.ring.consumed} of {self.ring.produced} elements"
        why = f"{self.label} is {state}{done}, {timeout:g} s later"
        return DeviceTimeout(transfer.operation, device=self._device, why=why, hint="stop() the channel, or reset")
