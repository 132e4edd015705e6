# SPDX-License-Identifier: Apache-2.0
"""One channel as its user has it: start lists, wait for them, stop, give it back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from vfio_ims.errors import ClosedError, DeviceBusy, DeviceError
from vfio_ims.lifetime import leaving

from ..hardware.elements import Elements
from .transfer import Transfer, TransferAborted
from .work import Work

if TYPE_CHECKING:
    from vfio_ims.ims import ImsInterrupt

__all__ = ["Channel"]

_STOPS = 0.1  # seconds within which a channel stops that has nothing left to do


class Channel:
    """``number``: of its slot too. Made by the driver; ``Edma.write_channel`` and ``read_channel`` hand it to one user.

    A write channel moves from the device's memory to the host's, a read channel the other way.
    """

    def __init__(self, device: str, number: int, work: Work) -> None:
        self._device, self.number, self.work, self.label = device, number, work, work.label
        self._user: object = None
        self._owned = False

    @property
    def interrupt(self) -> ImsInterrupt | None:
        """What wakes its waiters; None: they ask the device again and again."""
        return self.work.interrupt

    # --- whose it is --------------------------------------------------------------------------------------------------

    def take(self, interrupt: Callable[[], tuple[ImsInterrupt | None, bool]]) -> Self:
        """Give it to a user, who waits for the ``interrupt``. DeviceBusy where it has one."""
        with self.work.lock:
            if self._user is not None:
                hint = "close it first, or take another: they are numbered"
                raise DeviceBusy(f"take {self.label}", device=self._device, why="it is in use", hint=hint)
            self._user = object()
        try:
            self.work.interrupt, self._owned = interrupt()
        except BaseException:
            self._user = None
            raise
        return self

    def close(self) -> None:
        """Give it back: work under way is stopped, its interrupt freed. Safe to call again."""
        if self._user is None:
            return
        try:
            self.work.halt(ClosedError("move data", device=self._device, why=f"{self.label} was closed"))
        finally:
            interrupt, self.work.interrupt = self.work.interrupt, None
            self._user = None
            if interrupt is not None and self._owned:
                interrupt.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        leaving(error)
        self.close()

    # --- work ---------------------------------------------------------------------------------------------------------

    def copy(self, source: int, target: int, size: int, timeout: float = 5.0) -> None:
        """Move ``size`` bytes from ``source`` to ``target`` and wait; DeviceTimeout after ``timeout`` seconds.

        Addresses are the device's on one side and IOVAs on the other: which is which, the channel's direction says.
        """
        self.start([source], [target], size).wait(timeout)

    def start(
        self, sources: Sequence[int], targets: Sequence[int], sizes: Sequence[int] | int, operation: str = "move data"
    ) -> Transfer:
        """Start a list of as many elements as there are ``sources``: each moves bytes to the address in ``targets``.

        ``sizes``: bytes of each, or of all. ``operation`` is what errors call it. The list is run behind what the
        channel is doing.
        """
        return self.submit(Elements(sources, targets, sizes), operation)

    def submit(self, elements: Elements, operation: str = "move data") -> Transfer:
        """Start a list that was made before, behind what the channel is doing. It is the channel's until it is done."""
        transfer = Transfer(self.work, elements, operation, interrupt=self.work.interrupt is not None)
        self.work.enter(transfer)
        return transfer

    def stop(self) -> None:
        """Stop what is under way; waits for it raise DeviceError. DeviceTimeout where the engine does not stop."""
        self.work.halt(DeviceError("move data", device=self._device, why=f"{self.label} was stopped"))

    # --- firing -------------------------------------------------------------------------------------------------------

    def fire(self, source: int, target: int, timeout: float) -> str:
        """Move 4 bytes from ``source`` to ``target`` with an interrupt, behind what is under way.

        Returns "" once that has left, else why it has not within ``timeout`` seconds. The interrupt leaves when the
        channel stops, which is after the position says that the bytes were moved.
        """
        transfer = Transfer(self.work, Elements([source], [target], 4), "fire", interrupt=True)
        self.work.enter(transfer)
        try:
            transfer.poll(timeout)
        except TransferAborted as failure:
            return failure.why
        if not self.work.busy:
            self.work.registers.wait(_STOPS)
        return ""

    def __str__(self) -> str:
        ring, state = self.work.ring, self.work.registers.state().name.lower()
        return f"{self.label}: {state}" + ("" if ring is None else f", {ring.produced} elements so far")

    def __repr__(self) -> str:
        return f"<Channel {self._device} {self.label}>"
