# SPDX-License-Identifier: Apache-2.0
"""Work that a channel was given: wait for it as a thread or as a task."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Generator
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceError, VfioImsError
from vfio_ims.interruption import break_off

if TYPE_CHECKING:
    from vfio_ims.ims import ImsInterrupt

    from ..hardware.elements import Elements
    from .work import Work

__all__ = ["Transfer", "TransferAborted"]

_TURN = 0.05  # seconds after which a waiter asks the device without an interrupt: an append may meet the end of a list
_SLICE = 0.002
_STEP, _NAP = 0.00005, 0.001


class TransferAborted(DeviceError):
    """The engine gave up. ``why`` has its error registers in words; what was moved before that is moved."""


class Transfer:
    """A list that was started. It goes on while anyone waits for anything of its channel, or calls ``done``.

    A list that is longer than the channel's memory needs that: the rest is handed over as memory becomes free.
    """

    __slots__ = ("_work", "elements", "end", "failure", "given", "interrupt", "operation")

    def __init__(self, work: Work, elements: Elements, operation: str, *, interrupt: bool) -> None:
        self._work, self.elements, self.operation, self.interrupt = work, elements, operation, interrupt
        self.given = 0
        """How many elements the engine can see."""
        self.end = -1
        """The list's count of consumed elements at which it is done; -1 until all were given, 0 once it is done."""
        self.failure: VfioImsError | None = None

    @property
    def count(self) -> int:
        """How many elements it has."""
        return self.elements.count

    @property
    def settled(self) -> bool:
        """Whether it is done or has failed, as far as is known."""
        return self.failure is not None or self.end == 0

    def done(self) -> bool:
        """Whether every element was moved, asked of the device. Raises TransferAborted, or what else ended it."""
        self._work.advance()
        self._check()
        return self.settled

    def _check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def wait(self, timeout: float = 5.0) -> None:
        """Block until every element was moved. TransferAborted, DeviceTimeout after ``timeout`` seconds."""
        self._wait(timeout, self._work.interrupt if self.interrupt else None)

    def poll(self, timeout: float) -> None:
        """``wait`` that takes no wake-up: the interrupt is someone else's."""
        self._wait(timeout, None)

    def _wait(self, timeout: float, interrupt: ImsInterrupt | None) -> None:
        work, deadline = self._work, time.monotonic() + timeout

        def settled() -> bool:
            work.advance()
            return self.settled

        while not settled():
            left = deadline - time.monotonic()
            if left <= 0:
                raise work.timed_out(self, timeout)
            if interrupt is not None:
                interrupt.wait_until(settled, min(left, _TURN))
            else:
                work.registers.wait(min(left, _SLICE))
            break_off()
        self._check()

    def __await__(self) -> Generator[object, None, None]:
        yield from self._settle().__await__()
        self._check()

    async def _settle(self) -> None:
        """Advance until it is settled, letting other tasks run meanwhile."""
        work, pause = self._work, 0.0
        work.advance()
        while not self.settled:
            if work.interrupt is not None and self.interrupt:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(work.interrupt.wakeup.wait_async(), _TURN)
            else:
                await asyncio.sleep(pause)
                pause = min(pause + _STEP, _NAP)
            work.advance()

    def __repr__(self) -> str:
        state = "failed" if self.failure else "done" if self.settled else f"{self.given} of {self.count} given"
        return f"<Transfer of {self.count} elements, {state}>"
