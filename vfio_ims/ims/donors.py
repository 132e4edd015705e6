# SPDX-License-Identifier: Apache-2.0
"""Donors: MSI-X vectors whose messages the kernel wrote, and which slots copy them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from vfio_ims.errors import DeviceBusy, UnsupportedError, VfioImsError
from vfio_ims.locks import make_lock
from vfio_ims.messages import Message, MessageLimits
from vfio_ims.native.events import EventFd

if TYPE_CHECKING:
    from vfio_ims.interrupts import EventHub, MsixVectors, Wakeup

__all__ = ["Donor", "DonorPool"]


class Donor:
    """One vector, attached until the domain closes: it is silenced by not reading it, never by detaching."""

    def __init__(self, vector: int, event: EventFd, message: Message, *, exclusive: bool) -> None:
        self.vector, self.event, self.message, self.exclusive = vector, event, message, exclusive
        self.count = 0
        """Events drained. Interrupts in flight together merge: this is at most the number of fires."""
        self.told_all_at = 0
        """The last event, by the domain's count, for which the driver could not tell whose it was."""
        self._slots: set[int] = set()
        self._unmasked: Sequence[int] | None = None
        self._wakeups: dict[int, Wakeup] = {}
        self._lock = make_lock()  # innermost: taken by the hub's drains and by the domain's changes

    @property
    def load(self) -> int:
        """How many slots copy this donor."""
        return len(self._slots)

    def slots(self) -> list[int]:
        with self._lock:
            return sorted(self._slots)

    def join(self, slots: Iterable[int]) -> None:
        with self._lock:
            self._slots.update(slots)
            self._unmasked = None

    def leave(self, slots: Iterable[int]) -> None:
        with self._lock:
            for slot in slots:
                self._slots.discard(slot)
                self._wakeups.pop(slot, None)
            self._unmasked = None

    def mask_changed(self) -> None:
        self._unmasked = None

    def watch(self, slot: int, wakeup: Wakeup) -> None:
        """Wake ``wakeup`` for ``slot`` from now on."""
        with self._lock:
            self._wakeups[slot] = wakeup

    def unmasked(self, masked: bytearray) -> Sequence[int]:
        """The slots that can have fired, as native uint32."""
        found = self._unmasked
        if found is None:
            with self._lock:
                found = self._unmasked = array("I", [slot for slot in sorted(self._slots) if not masked[slot]])
        return found

    def wakeups(self, slots: Iterable[int] | None = None) -> list[Wakeup]:
        """The flags of ``slots`` that somebody holds; of all slots for None."""
        with self._lock:
            if slots is None:
                return list(self._wakeups.values())
            return [self._wakeups[slot] for slot in slots if slot in self._wakeups]


class DonorPool:
    """Takes vectors as donors, one a call, only such as the table's ``limits`` can hold the message of."""

    def __init__(
        self,
        msix: MsixVectors,
        hub: EventHub,
        arrived: Callable[[Donor, int], None],
        *,
        reserved: Collection[int],
        limits: MessageLimits,
        device: str,
    ) -> None:
        self._msix, self._hub, self._arrived = msix, hub, arrived
        self._limits, self._device = limits, device
        self.eligible = tuple(vector for vector in range(msix.count) if vector not in set(reserved))
        self.donors: dict[int, Donor] = {}
        self._unfit: dict[int, str] = {}

    def _free(self) -> list[int]:
        taken = set(self._msix.attached) | set(self._unfit)
        return [vector for vector in self.eligible if vector not in taken]

    def shared(self, wanted: int) -> list[Donor]:
        """Up to ``wanted`` shared donors, least loaded first; free vectors go before any donor's second slot."""
        idle = sum(1 for donor in self.donors.values() if not donor.exclusive and not donor.load)
        for _ in range(wanted - idle):
            if not self._grow(exclusive=False):
                break
        found = sorted(
            (donor for donor in self.donors.values() if not donor.exclusive),
            key=lambda donor: (donor.load, donor.vector),
        )
        if not found:
            raise self._none("a shared donor")
        return found[: max(wanted, 1)]

    def exclusive(self) -> Donor:
        """A donor for one slot only: an idle exclusive one, or a free vector."""
        for donor in self.donors.values():
            if donor.exclusive and not donor.load:
                return donor
        grown = self._grow(exclusive=True)
        if grown is not None:
            return grown
        for donor in self.donors.values():
            if not donor.load:
                donor.exclusive = True
                return donor
        raise self._none("an exclusive donor")

    def vector(self, vector: int) -> Donor:
        """The shared donor on this very ``vector``, taken if it is free."""
        donor = self.donors.get(vector)
        if donor is None and vector in self._free():
            donor = self._take(vector, exclusive=False)
        if donor is None or donor.exclusive:
            raise DeviceBusy(f"take vector {vector} as a shared donor", device=self._device, why=self._explain())
        return donor

    def _grow(self, *, exclusive: bool) -> Donor | None:
        for vector in self._free():
            donor = self._take(vector, exclusive=exclusive)
            if donor is not None:
                return donor
        return None

    def _take(self, vector: int, *, exclusive: bool) -> Donor | None:
        """Attach, then read the message; None where the table cannot hold it."""
        event = EventFd()
        try:
            self._msix.attach(vector, event)
            try:
                message = self._msix.message(vector)
                why = self._limits.refusal(message, tuple(donor.message for donor in self.donors.values()))
                if why is not None:
                    self._unfit[vector] = why
                    self._msix.detach(vector)
                    event.close()
                    return None
                donor = self.donors[vector] = Donor(vector, event, message, exclusive=exclusive)
                self._hub.add(event, lambda count: self._arrived(donor, count))
            except VfioImsError:
                self.donors.pop(vector, None)
                self._msix.detach(vector)
                raise
        except BaseException:
            event.close()
            raise
        return donor

    def _none(self, what: str) -> VfioImsError:
        if not self.eligible:
            return UnsupportedError(
                f"find {what}", device=self._device, why="the function has no MSI-X vector to spare"
            )
        hint = "close interrupts that hold an exclusive donor, or share: exclusive=False"
        return DeviceBusy(f"find {what}", device=self._device, why=self._explain(), hint=hint)

    def _explain(self) -> str:
        exclusive = sum(donor.exclusive for donor in self.donors.values())
        parts = [f"of {len(self.eligible)} vectors that may be donors {exclusive} are exclusive"]
        parts.append(f"{len(self.donors) - exclusive} shared")
        parts += [f"vector {vector} does not fit: {why}" for vector, why in sorted(self._unfit.items())]
        return ", ".join(parts)

    def reread(self) -> list[Donor]:
        """Read every donor's message again; those whose message has changed, changed."""
        changed = []
        for donor in self.donors.values():
            message = self._msix.message(donor.vector)
            if message != donor.message:
                donor.message = message
                changed.append(donor)
        return changed

    def close(self) -> None:
        """Detach every donor. The domain has quiesced their slots before."""
        donors, self.donors = list(self.donors.values()), {}
        with ExitStack() as each:  # one that fails to detach does not keep the others
            for donor in donors:
                each.callback(donor.event.close)
                each.callback(self._msix.detach, donor.vector)
                each.callback(self._hub.remove, donor.event)
