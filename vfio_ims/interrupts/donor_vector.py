# SPDX-License-Identifier: Apache-2.0
"""One donor vector of the device, and what it asks of the slot tables whose slots copy its message."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from vfio_ims.errors import VfioImsError
from vfio_ims.messages import Message

if TYPE_CHECKING:
    from vfio_ims.interrupts.wakeup import Wakeup
    from vfio_ims.native.events import EventFd

__all__ = ["DonorTable", "DonorUse", "DonorVector"]


class DonorUse(Protocol):
    """The slots of one table that copy one donor vector."""

    def arrived(self, count: int) -> None:
        """The vector was signalled: one or more of the slots may have fired. Runs under the hub's lock."""
        ...

    def plan_move(self, taker: DonorTable | None) -> Callable[[], None]:
        """Find other donors for the slots; returns what moves them there. DeviceBusy says why they must stay.

        ``taker``: the table that wants the vector for a slot of its own; None: it is given up.
        """
        ...

    def rewrite(self) -> None:
        """The vector's message has changed: write it to the slots and wake their owners."""
        ...


class DonorTable(Protocol):
    """A slot table that takes donors from the pool."""

    def hold(self, vector: int) -> str:
        """Why ``vector`` must stay attached though no allocated slot copies it; "" where it need not."""
        ...

    def fail(self, error: VfioImsError) -> None:
        """The donors' messages cannot be checked: every wait raises ``error`` until the device is reset."""
        ...


class DonorVector:
    """One attached vector: its event, the message that slots copy, and which tables' slots do."""

    __slots__ = ("alone", "count", "event", "exclusive", "handed_out", "load", "message", "uses", "vector")

    def __init__(self, vector: int, event: EventFd, message: Message) -> None:
        self.vector, self.event, self.message = vector, event, message
        self.count = 0
        """Events drained. Interrupts in flight together merge: this is at most the number of fires."""
        self.load = 0
        """How many slots copy it, of all tables."""
        self.exclusive = False
        """Whether the one slot that copies it wants it for itself. A state of use: it ends when that slot closes."""
        self.handed_out = False
        """Whether the event descriptor was given to the slot's owner, so that the hub does not drain it."""
        self.alone: Wakeup | None = None
        """The flag of that one slot, once there is one: every event is its."""
        self.uses: tuple[DonorUse, ...] = ()
        """Those with slots on it. Replaced, never changed: the hub reads it while a table writes it."""

    def arrived(self, count: int) -> None:
        """Count an event and dispatch it to every table with slots on this vector."""
        self.count += count
        if self.alone is not None:
            self.alone.wake()
            return
        failure: Exception | None = None
        for use in self.uses:
            try:
                use.arrived(count)
            except Exception as error:  # noqa: BLE001 - the other tables' slots do not wait for this one's driver
                failure = failure or error
        if failure is not None:
            raise failure

    def add(self, use: DonorUse) -> None:
        """Hand the vector's events to ``use`` too: a table with a slot on it."""
        self.uses, self.alone = (*self.uses, use), None

    def discard(self, use: DonorUse) -> None:
        """Hand no events to ``use`` any more; one that is being handed out may still arrive there."""
        self.uses = tuple(one for one in self.uses if one is not use)
