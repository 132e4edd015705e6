# SPDX-License-Identifier: Apache-2.0
"""What became of each slot, step by step and pass by pass: for the maps that a report draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from vfio_ims.ranges import spans

__all__ = ["SlotColumn", "SlotResult", "SlotResults"]


class SlotResult(StrEnum):
    """Of one slot in one part of a step, from good to bad: of two the later is kept. Part of the JSON schema.

    Withheld: fired so that nothing must arrive, and nothing did. Woken: its owner was, by the reset.
    """

    WITHHELD = "withheld"
    DELIVERED = "delivered"
    WOKEN = "woken"
    EXTRA = "extra event"
    NOT_NAMED = "source not named"
    NOT_REPORTED = "refusal not reported"
    NO_PENDING = "no pending bit"
    NOT_WOKEN = "not woken"
    UNEXPECTED = "unexpected"
    REFUSED = "refused"
    LOST = "lost"
    LATE = "late"
    STUCK = "pending not sent"
    MISROUTED = "misrouted"


_RANK = {result: number for number, result in enumerate(SlotResult)}


@dataclass(slots=True)
class SlotColumn:
    """One part of a step over the slots. ``vectors``: the donor's vector of each, where messages went to donors."""

    step: str
    part: str
    vectors: Mapping[int, int] = field(default_factory=dict)
    results: dict[int, SlotResult] = field(default_factory=dict)
    astray: dict[int, int] = field(default_factory=dict)
    """By slot: the vector that its message arrived on instead."""

    def to_json(self, size: int) -> dict[str, object]:
        """Plain values; ``size``: how many slots were tested. ``vectors`` is a list by slot, -1 where there is none."""
        by_result: dict[SlotResult, list[int]] = {}
        for slot, result in self.results.items():
            by_result.setdefault(result, []).append(slot)
        return {
            "step": self.step,
            "part": self.part,
            "results": {str(result): spans(by_result[result]) for result in SlotResult if result in by_result},
            "vectors": [self.vectors.get(slot, -1) for slot in range(size)] if self.vectors else None,
            "astray": [list(pair) for pair in sorted(self.astray.items())],
        }


class SlotResults:
    """Columns in the order in which they ran. Each step's parts are begun, and then noted slot by slot."""

    def __init__(self) -> None:
        self.columns: list[SlotColumn] = []
        self.step = ""
        """The step that runs: set by the run."""
        self._column: SlotColumn | None = None

    def begin(self, part: str = "", vectors: Mapping[int, int] | None = None) -> None:
        """A part of the step begins, all of whose slots are noted from now on."""
        self._column = SlotColumn(self.step, part, dict(vectors or {}))
        self.columns.append(self._column)

    def begin_once(self, part: str) -> None:
        """As ``begin``; a part of this step that was begun before goes on."""
        known = [column for column in self.columns if (column.step, column.part) == (self.step, part)]
        if known:
            self._column = known[0]
        else:
            self.begin(part)

    def _begun(self) -> SlotColumn:
        if self._column is None:
            self.begin()
        assert self._column is not None
        return self._column

    def note(self, slot: int, result: SlotResult, *, astray: int | None = None) -> None:
        """What became of ``slot``; the worst that is noted is kept. ``astray``: the vector that it arrived on."""
        column = self._begun()
        known = column.results.get(slot)
        if known is None or _RANK[result] > _RANK[known]:
            column.results[slot] = result
        if astray is not None:
            column.astray[slot] = astray

    def note_all(self, slots: Iterable[int], result: SlotResult) -> None:
        """As ``note`` of each."""
        column = self._begun()
        known, rank = column.results, _RANK[result]
        for slot in slots:
            if slot not in known or rank > _RANK[known[slot]]:
                known[slot] = result
