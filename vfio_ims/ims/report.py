# SPDX-License-Identifier: Apache-2.0
"""What a domain holds now, for people and for JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.messages import Message, MessagePlatform, Slot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vfio_ims.ims.donor import Donor
    from vfio_ims.ims.records import SlotRecords
    from vfio_ims.ims.table import ImsTable

__all__ = ["DomainReport", "DonorReport", "SlotReport"]


@dataclass(frozen=True, slots=True)
class DonorReport:
    """One donor: its vector and message, how many slots copy it, and how many events were drained."""

    vector: int
    message: Message
    exclusive: bool
    slots: int
    events: int

    def __str__(self) -> str:
        use = "exclusive" if self.exclusive else f"shared by {self.slots}"
        return f"vector {self.vector}: {self.message}, {use}, {counted(self.events, 'event')}"


@dataclass(frozen=True, slots=True)
class SlotReport:
    """One allocated slot: what it must hold, what the device has, whether an interrupt is held back."""

    slot: int
    vector: int | None
    expected: Slot
    found: Slot
    pending: bool
    cookie: object

    @property
    def in_order(self) -> bool:
        return self.found == self.expected

    def __str__(self) -> str:
        origin = "memory" if self.vector is None else f"vector {self.vector}"
        notes = [" pending"] if self.pending else []
        if not self.in_order:
            notes.append(f" BUT the device has {self.found}")
        return f"slot {self.slot} <- {origin}: {self.expected}{','.join(notes)}"


@dataclass(frozen=True, slots=True)
class DomainReport:
    """Every donor, every allocated slot."""

    device: str
    size: int
    donors: tuple[DonorReport, ...]
    slots: tuple[SlotReport, ...]

    def __str__(self) -> str:
        used = f"{len(self.slots)} of {counted(self.size, 'slot')} in use"
        first = f"{self.device}: {used}, {counted(len(self.donors), 'donor')}"
        return "\n  ".join([first, *map(str, self.donors), *map(str, self.slots)])


def report_of(
    device: str, records: SlotRecords, table: ImsTable, donors: Iterable[Donor], platform: MessagePlatform
) -> DomainReport:
    """Read the allocated entries of ``table``, and put them beside what is recorded.

    ``platform`` says what the messages are.
    """
    allocated = records.allocated
    held = set(table.pending_among(allocated))
    entries, named = table.read_many(allocated), dict[int, Slot]()
    for entry in entries:  # entries that hold the same are one object, as a rule
        if id(entry) not in named:
            named[id(entry)] = platform.of_slot(entry)
    slots = tuple(
        SlotReport(
            slot=index,
            vector=None if (donor := records.donor[index]) is None else donor.vector,
            expected=expected,
            found=named[id(found)],
            pending=index in held,
            cookie=records.cookie.get(index),
        )
        for index, expected, found in zip(allocated, records.slots(allocated), entries, strict=True)
    )
    reports = tuple(
        DonorReport(donor.vector, donor.message, donor.exclusive, donor.load, donor.count)
        for donor in sorted(donors, key=lambda donor: donor.vector)
    )
    return DomainReport(device, records.size, reports, slots)
