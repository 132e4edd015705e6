# SPDX-License-Identifier: Apache-2.0
"""Two recordings side by side: two steppings of a device, two versions of a driver, a vendor's driver and ours."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from vfio_ims.tracing.words import in_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vfio_ims.tracing.format import Event, Recording

__all__ = ["CALLS", "compare"]

CALLS = frozenset({"r", "w", "rb", "wb", "rt", "wt", "poll", "s64", "enq", "rows", "rr", "wr", "irqs", "reset"})
"""The kinds that are compared: what was done with the device, and what it answered."""


def compare(left: Recording, right: Recording, *, values: bool = True, around: int = 3) -> Iterator[str]:
    """Lines as ``diff -u`` prints them; none where both did the same. ``values`` False: only which registers, in order.

    Times, threads and how often a read was repeated are no differences.
    """
    ours, theirs = (_lines(one, values) for one in (left, right))
    matcher = SequenceMatcher(None, ours, theirs, autojunk=False)
    for group in matcher.get_grouped_opcodes(around):
        yield f"@@ event {group[0][1] + 1} of {len(ours)}, event {group[0][3] + 1} of {len(theirs)} @@"
        for verdict, first, last, their_first, their_last in group:
            if verdict == "equal":
                yield from (f"  {line}" for line in ours[first:last])
                continue
            yield from (f"- {line}" for line in ours[first:last])
            yield from (f"+ {line}" for line in theirs[their_first:their_last])


def _lines(recording: Recording, values: bool) -> list[str]:
    lines: list[str] = []
    for event in recording.events:
        if event["k"] in CALLS:
            line = _line(event, values)
            if values or event["k"] != "r" or lines[-1:] != [line]:  # a loop that waits reads other values meanwhile
                lines.append(line)
    return lines


def _line(event: Event, values: bool) -> str:
    shown = {key: value for key, value in event.items() if key != "times"}
    text = in_words(shown)
    return text if values else text.partition(" = ")[0].partition(": ")[0]
