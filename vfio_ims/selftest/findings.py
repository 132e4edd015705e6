# SPDX-License-Identifier: Apache-2.0
"""A finding names one defect and the slots that have it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from vfio_ims.counted import counted
from vfio_ims.ranges import runs, spans

__all__ = ["Finding", "Kind", "name_slots"]

_MOST_SPANS = 8


class Kind(StrEnum):
    """Which defect. The words are part of the JSON schema."""

    RUNG = "broken rung"
    ALIAS = "alias"
    MISROUTED = "misrouted"
    DEAD = "dead"
    DEAD_AFTER_RESET = "dead after reset"
    NOT_KEPT = "entry not kept"
    DROPS = "drops messages"
    TWICE = "fires twice"
    EXTRA = "extra events"
    LATE = "late"
    IGNORES_MASK = "ignores mask"
    NO_PENDING = "no pending bit"
    STUCK = "pending not sent"
    IGNORES_PASID = "ignores PASID"
    NOT_REPORTED = "refusal not reported"
    REFUSED = "refused"
    NOT_NAMED = "source not named"
    DISTURBED = "disturbed by a neighbour"
    NOT_WOKEN = "not woken after reset"
    ERROR = "error"
    NOT_QUIET = "not quiet"


@dataclass(frozen=True, slots=True)
class Finding:
    """``text`` says it in a sentence; ``status`` is what the device's own registers said then, if anything."""

    kind: Kind
    text: str
    slots: tuple[int, ...] = ()
    status: str = ""
    hint: str = ""

    def to_json(self) -> dict[str, object]:
        """Plain values for the JSON report; slots as ranges."""
        return {
            "kind": self.kind.value,
            "text": self.text,
            "slots": spans(self.slots),
            "status": self.status,
            "hint": self.hint,
        }

    def __str__(self) -> str:
        parts = [self.text]
        if self.status:
            parts.append(f"device status: {self.status}")
        if self.hint:
            parts.append(f"next: {self.hint}")
        return "\n      ".join(parts)


def name_slots(slots: Sequence[int], size: int = 0) -> str:
    """``slot 7``, ``slots 0-15, 20``, ``slots from 8 on``; ``size``: how many there are."""
    together = runs(slots)
    if len(together) == 1:
        first, last = together[0]
        if first == last:
            return f"slot {first}"
        if last == size - 1:
            return "every slot" if first == 0 else f"slots from {first} on"
    words = spans(slots)
    more = len(words) - _MOST_SPANS
    return "slots " + ", ".join(words[:_MOST_SPANS]) + (f" and {counted(more, 'more range')}" if more > 0 else "")
