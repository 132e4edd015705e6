# SPDX-License-Identifier: Apache-2.0
"""What a recording shows at a glance: the registers that are used most, the loops that poll, how a run begins."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.tracing.words import in_words, place_of

if TYPE_CHECKING:
    from vfio_ims.tracing.format import Event, Recording

__all__ = ["Summary", "summarise"]

_ACCESSES = {"r": "reads", "w": "writes", "poll": "polls"}
_FEW = 10
_KINDS = {
    "r": "register read", "w": "register write", "poll": "poll", "rb": "block read", "wb": "block write",
    "rt": "table read", "wt": "table write", "rr": "trapped read", "wr": "trapped write",
    "s64": "64-byte store", "enq": "64-byte enqueue", "rows": "row store",
    "irqs": "vector change", "irq": "interrupt", "map": "DMA map", "unmap": "DMA unmap",
    "mem": "memory change", "look": "memory look", "ask": "query",
}  # fmt: skip
"""Words for kinds of events; the others are words already."""


@dataclass(frozen=True)
class Summary:
    """What there is of a recording.

    ``hot``: registers with their numbers of reads and writes, most used first. ``polls``: repeated reads, with how
    often and for how many nanoseconds. ``beginning``: the first calls that change something.
    """

    kinds: dict[str, int]
    hot: list[tuple[str, int, int]]
    polls: list[tuple[str, int, int]]
    beginning: list[str]
    seconds: float

    def __str__(self) -> str:
        kinds = (counted(number, _KINDS.get(kind, kind)) for kind, number in self.kinds.items())
        width = max((len(name) for name, *_ in (*self.hot, *self.polls)), default=0) + 2
        lines = [f"{self.seconds:.3f} s: {', '.join(kinds)}", "", f"{'most used registers':<{width}}   reads  writes"]
        lines += [f"  {name:<{width}} {reads:>6}  {writes:>6}" for name, reads, writes in self.hot]
        if self.polls:
            lines += ["", f"{'polling':<{width}}   times        in all"]
            lines += [f"  {name:<{width}} {times:>6}  {spent / 1e6:>9.3f} ms" for name, times, spent in self.polls]
        return "\n".join([*lines, "", "how it begins", *(f"  {line}" for line in self.beginning)])


def summarise(recording: Recording, most: int = _FEW) -> Summary:
    """The summary, with at most ``most`` lines of each kind."""
    reads, writes, times, spent = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    kinds = Counter[str]()
    beginning: list[str] = []
    for event in recording.events:
        kind = event["k"]
        kinds[kind] += event.get("times", 1)
        if kind in _ACCESSES:
            place = place_of(event)
            (writes if kind == "w" else reads)[place] += event.get("times", 1)
            if kind == "poll" or event.get("times", 1) > 1:
                times[place] += event.get("times", 1)
                spent[place] += event.get("dt", 0)
        if kind in ("w", "wb", "wt", "wr", "irqs", "s64", "enq") and len(beginning) < most:
            beginning.append(in_words(event))
    used = (reads + writes).most_common(most)
    return Summary(
        dict(kinds.most_common()),
        [(place, reads[place], writes[place]) for place, _ in used],
        [(place, times[place], nanoseconds) for place, nanoseconds in spent.most_common(most)],
        beginning,
        _end(recording.events) / 1e9,
    )


def _end(events: list[Event]) -> int:
    return max((event["t"] + event.get("dt", 0) for event in events), default=0)
