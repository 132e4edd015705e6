# SPDX-License-Identifier: Apache-2.0
"""Whether what is done now is what was recorded, and the error that says where it is not."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vfio_ims.errors import VfioImsError
from vfio_ims.tracing.words import in_words

if TYPE_CHECKING:
    from vfio_ims.tracing.format import Event

__all__ = ["CONTEXT", "Masks", "ReplayDifference", "alike", "context_of"]

CONTEXT = 5
"""Events on each side of a difference that its error shows."""

_ANSWERS = frozenset({"value", "data", "taken", "err", "answer", "held", "name", "fields", "effect", "sym", "slots"})
"""What a call found out: it is the recording's to say, so it is no part of a comparison."""

_GIVEN: dict[str, set[str]] = {"w": {"value"}, "wb": {"data"}, "s64": {"data"}, "enq": {"data"}, "rows": {"data"}}
"""By kind, which of these the caller gave."""


class ReplayDifference(VfioImsError):
    """A replay met something else than what was recorded. The text has both sides, and what is around them."""


class Masks:
    """Bits of registers in which a written value may differ: by a register's name, or ``BARn+offset`` in hex."""

    def __init__(self, masks: Mapping[str, int]) -> None:
        self._masks = {name.upper(): mask for name, mask in masks.items()}

    def of(self, event: Event) -> int:
        if not self._masks:
            return 0
        name = str(event.get("name", "")).upper()
        place = f"BAR{event.get('region')}+{int(str(event.get('offset', '0x0')), 16):X}"
        plain = re.sub(r"\[\d+\]", "", name)  # a mask for every entry of a table
        return next((self._masks[one] for one in (name, place, plain) if one in self._masks), 0)


def alike(recorded: Event, now: Event, masks: Masks) -> bool:
    """Whether the same was done. Addresses in buffers are the same where buffer and offset are."""
    kind = recorded["k"]
    if kind != now["k"]:
        return False
    given = _GIVEN.get(kind, set())
    ignored = (_ANSWERS - given) | {"t", "dt", "th", "k", "times", "syms"}
    keys = (recorded.keys() | now.keys()) - ignored
    if any(recorded.get(key) != now.get(key) for key in keys - {"value", "data"}):
        return False
    if kind == "w":
        return _same_value(recorded, now, masks)
    return "data" not in given or _same_data(recorded, now)


def _same_value(recorded: Event, now: Event, masks: Masks) -> bool:
    if recorded.get("sym") and recorded.get("sym") == now.get("sym"):
        return True
    differs = int(str(recorded["value"]), 16) ^ int(str(now["value"]), 16)
    return not differs & ~masks.of(recorded)


def _same_data(recorded: Event, now: Event) -> bool:
    before, after = bytearray.fromhex(recorded["data"]), bytearray.fromhex(now["data"])
    theirs: dict[str, Any] = now.get("syms", {})
    for at, symbol in recorded.get("syms", {}).items():
        if theirs.get(at) == symbol:
            start = int(at)
            before[start : start + 8] = after[start : start + 8] = bytes(8)
    return before == after


def context_of(events: Sequence[Event], at: int) -> str:
    """The recorded events around number ``at``, an arrow at that one."""
    first = max(0, at - CONTEXT)
    lines = []
    for number, event in enumerate(events[first : at + CONTEXT + 1], first):
        lines.append(f"    {'>' if number == at else ' '} {number + 1:6d}  {in_words(event)}")
    return "\n".join(lines)
