# SPDX-License-Identifier: Apache-2.0
"""How the completion of operations is noticed: by polling, or by an interrupt that several of them may share."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

from vfio_ims.errors import DeviceTimeout, UsageError
from vfio_ims.ims import ImsInterrupt
from vfio_ims.interruption import break_off
from vfio_ims.interrupts.vector import VectorInterrupt
from vfio_ims.native.access import load

from ..hardware.descriptors import Flag
from ..hardware.software_error import describe
from .work_queue import wait_for_record

if TYPE_CHECKING:
    from ..hardware.registers import Bar0
    from .handles import Handles
    from .pasids import Pasids
    from .records import Record
    from .resources import Resources

__all__ = ["Interrupting", "Notifier", "Polling", "notifier_for"]

_TURN = 0.1  # seconds after which a waiting thread looks at its record without an interrupt
_NAP = 0.001


class Notifier(Protocol):
    """Made for a session. ``flags``, ``handle``, ``ims`` go into its descriptors; ``slot`` is the IMS slot, or None."""

    flags: int
    ims: bool
    slot: int | None

    def handle(self) -> int: ...
    def wait(self, record: Record, timeout: float, operation: str) -> None: ...
    async def wait_async(self, record: Record) -> None: ...
    def close(self) -> None: ...


class Polling:
    """A compiled loop over the record. In a task: looks between other tasks, then ever more rarely."""

    flags, ims = 0, False
    slot: int | None = None

    def __init__(self, regs: Bar0) -> None:
        self._regs = regs

    def handle(self) -> int:
        return 0

    def wait(self, record: Record, timeout: float, operation: str) -> None:
        wait_for_record(self._regs, record, timeout, operation)

    async def wait_async(self, record: Record) -> None:
        pause = 0.0
        while not load(record.address, 1):
            await asyncio.sleep(pause)
            pause = min(pause + _NAP / 20, _NAP)

    def close(self) -> None:
        """Nothing to give back."""


class Interrupting:
    """One interrupt for all operations of a session (and of others that share it).

    A wake-up says only that something may have completed: each thread that waits looks at its own record then. Tasks
    have one reader in their loop.
    """

    flags: int = Flag.INTERRUPT

    def __init__(
        self,
        interrupt: ImsInterrupt | VectorInterrupt,
        regs: Bar0,
        handles: Handles,
        pasids: Pasids,
        pasid: int | None,
        *,
        owned: bool,
    ) -> None:
        self._interrupt, self._regs, self._handles, self._pasids = interrupt, regs, handles, pasids
        self._owned = owned
        self.ims = isinstance(interrupt, ImsInterrupt)
        self.slot = interrupt.slot if isinstance(interrupt, ImsInterrupt) else None
        self._pasid = pasid
        if pasid is not None and isinstance(interrupt, VectorInterrupt):
            pasids.allow(interrupt.vector, pasid)
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._reader: asyncio.Task[None] | None = None

    def handle(self) -> int:
        if isinstance(self._interrupt, ImsInterrupt):
            return self._handles.slot(self._interrupt.slot)
        return self._handles.vector(self._interrupt.vector)

    def wait(self, record: Record, timeout: float, operation: str) -> None:
        deadline = time.monotonic() + timeout
        address = record.address

        def completed() -> bool:
            self._resume_completed()  # it may have been another's interrupt, whose task this thread took it from
            return load(address, 1) != 0

        while not load(address, 1):
            left = deadline - time.monotonic()
            if left <= 0:
                raise self._late(operation, timeout)
            self._interrupt.wait_until(completed, min(left, _TURN))
            break_off()

    def _late(self, operation: str, timeout: float) -> DeviceTimeout:
        text = describe(self._regs.SWERR.read())
        why = f"no completion after {timeout:.3g} s" + (f"; {text}" if text else "")
        return DeviceTimeout(operation, device=self._regs.label, why=why)

    async def wait_async(self, record: Record) -> None:
        loop = asyncio.get_running_loop()
        while not load(record.address, 1):
            future = loop.create_future()
            self._waiting[future] = record.address
            if self._reader is None or self._reader.done():
                self._reader = loop.create_task(self._read())
            try:
                await future
            finally:
                self._waiting.pop(future, None)
                if not self._waiting and self._reader is not None:
                    self._reader.cancel()
                    self._reader = None

    async def _read(self) -> None:
        while True:
            await self._interrupt
            self._resume_completed()

    def _resume_completed(self) -> None:
        """Resume the tasks whose records are there."""
        for future, record in list(self._waiting.items()):
            if load(record, 1):
                loop = future.get_loop()
                if not loop.is_closed():
                    loop.call_soon_threadsafe(_resume, future)

    def close(self) -> None:
        if self._pasid is not None and isinstance(self._interrupt, VectorInterrupt):
            self._pasids.allow(self._interrupt.vector, None)
        if self._owned:
            self._interrupt.close()


def _resume(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def notifier_for(resources: Resources, completion: object, pasid: int | None = None) -> Notifier:
    """What ``Idxd.wq``'s argument means, for work tagged ``pasid``."""
    interrupts, regs = resources.device.interrupts, resources.regs

    def interrupting(interrupt: ImsInterrupt | VectorInterrupt, *, owned: bool) -> Interrupting:
        return Interrupting(interrupt, regs, resources.handles, resources.pasids, pasid, owned=owned)

    if completion == "poll":
        return Polling(regs)
    if completion == "ims":
        return interrupting(resources.allocate(pasid), owned=True)
    if completion == "msix":
        msix = interrupts.msix
        free = [n for n in range(1, msix.count) if n not in msix.attached]
        if not free:
            why = "every vector is taken as a donor of IMS slots, or by others"
            raise UsageError("complete by MSI-X", device=resources.label, why=why, hint='completion="ims"')
        return interrupting(interrupts.open_msix(free[-1]), owned=True)
    if isinstance(completion, (ImsInterrupt, VectorInterrupt)):
        return interrupting(completion, owned=False)
    why = f'completion must be "poll", "ims", "msix" or an interrupt, not {completion!r}'
    raise UsageError("use a work queue", device=resources.label, why=why)
