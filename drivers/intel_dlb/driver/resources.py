# SPDX-License-Identifier: Apache-2.0
"""What the device has of each thing, and who has it: numbers of domains, queues and ports, and shares of its pools."""

from __future__ import annotations

from vfio_ims.counted import counted
from vfio_ims.errors import DeviceBusy

from ..hardware.places import (
    DIRECTED_CREDITS,
    DOMAINS,
    HISTORY,
    LDB_CREDITS,
    LDB_PORTS,
    LDB_QUEUES,
    SEQUENCES,
    Version,
)

__all__ = ["Numbers", "Resources", "Room", "SequenceGroup", "Share"]


class Numbers:
    """The numbers 0 to ``count`` - 1 of one thing, the lowest free one first."""

    def __init__(self, device: str, name: str, count: int) -> None:
        self._device, self._name, self._count, self._taken = device, name, count, set[int]()

    def take(self, number: int | None = None) -> int:
        """A free one, or exactly ``number``. DeviceBusy without."""
        free = [one for one in range(self._count) if one not in self._taken] if number is None else [number]
        if not free or free[0] in self._taken or free[0] not in range(self._count):
            which = f"a {self._name}" if number is None else f"{self._name} {number}"
            why = f"the device has {self._count} of them, and {'all are' if number is None else 'it is'} in use"
            raise DeviceBusy(f"take {which}", device=self._device, why=why, hint="close a domain")
        self._taken.add(free[0])
        return free[0]

    def give(self, number: int) -> None:
        self._taken.discard(number)


class Share:
    """So many of a thing without numbers, as credits."""

    def __init__(self, device: str, name: str, total: int) -> None:
        self._device, self._name, self.left = device, name, total

    def take(self, count: int) -> int:
        if not 0 <= count <= self.left:
            why = f"{count} are asked for, and {self.left} are left"
            raise DeviceBusy(
                f"take {self._name}", device=self._device, why=why, hint="ask for fewer, or close a domain"
            )
        self.left -= count
        return count

    def give(self, count: int) -> None:
        self.left += count


class Room:
    """Stretches of one list: each taken from the first gap that is long enough."""

    def __init__(self, device: str, name: str, size: int) -> None:
        self._device, self._name, self._size = device, name, size
        self._taken: dict[int, int] = {}

    def take(self, length: int) -> int:
        """Where the stretch begins. DeviceBusy where no gap is so long."""
        start = 0
        for taken in sorted(self._taken):
            if taken - start >= length:
                break
            start = taken + self._taken[taken]
        if length < 1 or start + length > self._size:
            why = f"no {counted(length, 'entry')} of {self._size} are free in a row"
            raise DeviceBusy(
                f"take {self._name}", device=self._device, why=why, hint="ask for fewer, or close a domain"
            )
        self._taken[start] = length
        return start

    def give(self, start: int) -> None:
        self._taken.pop(start, None)


class SequenceGroup:
    """1024 sequence numbers, cut into equal slots: 64 << ``mode`` for each queue."""

    def __init__(self) -> None:
        self.mode, self._used = 0, set[int]()

    def take(self, numbers: int) -> int | None:
        """A slot of so many numbers; None where there is none: an empty group is cut anew."""
        mode = {64 << mode: mode for mode in range(5)}[numbers]
        if mode != self.mode and self._used:
            return None
        free = [slot for slot in range(SEQUENCES // numbers) if slot not in self._used]
        if not free:
            return None
        self.mode = mode
        self._used.add(free[0])
        return free[0]

    def give(self, slot: int) -> None:
        self._used.discard(slot)


class Resources:
    """All of a device's. Under the driver's lock."""

    def __init__(self, device: str, version: Version) -> None:
        self.domains = Numbers(device, "domain", DOMAINS)
        self.ldb_queues = Numbers(device, "load-balanced queue", LDB_QUEUES)
        self.ldb_ports = Numbers(device, "load-balanced port", LDB_PORTS)
        self.directed = Numbers(device, "directed port", version.directed)
        self.credits = Share(device, "credits", version.credits or LDB_CREDITS)
        self.directed_credits = Share(device, "directed credits", 0 if version.combined else DIRECTED_CREDITS)
        self.history = Room(device, "entries of the history list", HISTORY)
        self.storage = Share(device, "storage for atomic elements", HISTORY)
        self.sequences = (SequenceGroup(), SequenceGroup())
