# SPDX-License-Identifier: Apache-2.0
"""What the steps of a self-test saw, slot by slot, before it is given a name."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields

from vfio_ims.selftest.slot_results import SlotResults

__all__ = ["SlotEvidence"]


@dataclass(slots=True)
class SlotEvidence:
    """Of the whole table, before the reset or after it."""

    after_reset: bool = False
    results: SlotResults = field(default_factory=SlotResults)
    """Slot by slot and step by step, for the report."""
    sent: Counter[int] = field(default_factory=Counter)
    """How often each slot was fired so that it must arrive."""
    lost: Counter[int] = field(default_factory=Counter)
    worked: set[int] = field(default_factory=set)
    """Slots of which a message arrived where it must, also when asked again."""
    routes: dict[int, dict[int, int]] = field(default_factory=dict)
    """By slot: in which pass its message arrived on which donor (by its place among the donors)."""
    misrouted_on: dict[int, set[tuple[int, int]]] = field(default_factory=dict)
    """By slot: vectors that its message arrived on and that it must have used."""
    answers: dict[int, int] = field(default_factory=dict)
    """By slot: the slot whose word was written when it fired."""
    holds: dict[int, int] = field(default_factory=dict)
    """By slot: the slot whose message its entry reads back."""
    unkept: dict[int, str] = field(default_factory=dict)
    """By slot: what its entry reads back instead of what was written."""
    echoes: Counter[int] = field(default_factory=Counter)
    """By slot: extra events while it was the last to have fired there."""
    twice: set[int] = field(default_factory=set)
    cleared: set[int] = field(default_factory=set)
    """Suspected of an echo, and fired alone without one."""
    suspects: set[int] = field(default_factory=set)
    """Slots that were alone in flight when another donor counted."""
    besides: dict[int, set[int]] = field(default_factory=dict)
    """By slot: vectors that it raises beside its own."""
    strays: Counter[int] = field(default_factory=Counter)
    """By vector: events although none of its slots had fired."""
    late: set[int] = field(default_factory=set)
    refusals: dict[int, str] = field(default_factory=dict)
    """By slot: what the device objected to in a fire that it must accept."""
    unnamed: set[int] = field(default_factory=set)
    """Slots whose event came while ``fired`` did not name them."""
    leaks: set[int] = field(default_factory=set)
    no_pending: set[int] = field(default_factory=set)
    stuck: set[int] = field(default_factory=set)
    pasid_leaks: set[int] = field(default_factory=set)
    unreported: set[int] = field(default_factory=set)
    not_woken: set[int] = field(default_factory=set)
    disturbed: dict[int, tuple[str, str]] = field(default_factory=dict)
    """By slot: what was done to its neighbours before it fell silent, and what its entry held then if it was wrong."""

    def weight(self) -> int:
        """Grows with every fault that is recorded."""
        harmless = ("after_reset", "results", "sent", "worked", "routes", "cleared")
        return sum(len(getattr(self, each.name)) for each in fields(self) if each.name not in harmless)

    @property
    def dead(self) -> set[int]:
        """Slots that never delivered, though they must have."""
        return {slot for slot in self.lost if slot not in self.worked} - set(self.answers) - set(self.misrouted_on)

    @property
    def excluded(self) -> set[int]:
        """Slots that later steps leave out, because what they would show is reported already."""
        aliased = set(self.answers) | set(self.answers.values()) | set(self.holds) | set(self.holds.values())
        return aliased | set(self.misrouted_on) | set(self.unkept) | self.dead
