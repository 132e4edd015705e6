# SPDX-License-Identifier: Apache-2.0
"""A self-test's answer, read back from its JSON: what pages draw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from vfio_ims.html.marks import severity
from vfio_ims.ranges import numbers

__all__ = ["Part", "Run"]

AFTER = ", after it"
"""How the names of steps end that are repeated after the reset."""


@dataclass(frozen=True)
class Part:
    """A part of a step. ``results``: by slot, None where it did not take part; ``vectors``: -1 there."""

    step: str
    part: str
    results: tuple[str | None, ...]
    vectors: tuple[int, ...]
    astray: Mapping[int, int]

    @property
    def title(self) -> str:
        """As in ``donor passes, pass 1, after the reset``."""
        when = "after the reset" if self.step.endswith(AFTER) else ""
        return ", ".join(word for word in (self.step.removesuffix(AFTER), self.part, when) if word)


class Run:
    """``record``: what ``vfio-ims selftest --json`` printed."""

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.record = record
        self.slots: int = record["slots"]

    def __getitem__(self, name: str) -> Any:
        return self.record[name]

    @property
    def name(self) -> str:
        return f"{self['device']} ({self['driver']}, {self['mount']})"

    @property
    def findings(self) -> list[Mapping[str, Any]]:
        """What failed; what was not quiet afterwards is among it."""
        left = [{"text": f"not quiet afterwards: {problem}"} for problem in self["not_quiet"]]
        return [*self["findings"], *left]

    @property
    def keeps_slots(self) -> bool:
        """Whether the version that wrote it kept what became of each slot."""
        return "slot_results" in self.record

    @cached_property
    def parts(self) -> list[Part]:
        """Empty for the answer of a version that did not keep them."""
        return [self._part(column) for column in self.record.get("slot_results", ())]

    def _part(self, column: Mapping[str, Any]) -> Part:
        results: list[str | None] = [None] * self.slots
        for result, ranges in column["results"].items():
            for slot in numbers(ranges):
                results[slot] = result
        vectors = tuple(column["vectors"] or [-1] * self.slots)
        return Part(column["step"], column["part"], tuple(results), vectors, dict(column["astray"]))

    @cached_property
    def worst(self) -> list[str | None]:
        """By slot: the worst of all parts."""
        found: list[str | None] = [None] * self.slots
        for part in self.parts:
            for slot, result in enumerate(part.results):
                if result is not None and (found[slot] is None or severity(result) > severity(str(found[slot]))):
                    found[slot] = result
        return ["delivered" if one == "woken" else one for one in found]

    @property
    def samples(self) -> list[float]:
        """Latencies in microseconds, in the order of the fires."""
        return list((self["latency"] or {}).get("samples_us", ()))
