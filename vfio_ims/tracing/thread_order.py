# SPDX-License-Identifier: Apache-2.0
"""Each thread's calls in the order of then, however the threads interleave now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vfio_ims.tracing.format import Event

__all__ = ["ThreadOrder"]


@dataclass
class _Recorded:
    """One recorded thread: its name, the numbers of its calls, and how far it has come."""

    name: str = ""
    calls: list[int] = field(default_factory=list)
    at: int = 0
    repeats: int = 0


class ThreadOrder:
    """Finds the event that a call is, among those of the caller's thread.

    A thread of now is a recorded one of the same name, else the first in order of appearance that no other is; the
    thread that replays first is the recorded first. ``is_call`` says which events are calls; ``alike`` compares.
    """

    def __init__(
        self, events: Sequence[Event], is_call: Callable[[Event], bool], alike: Callable[[Event, Event], bool]
    ) -> None:
        self._events, self._alike = events, alike
        self._recorded: dict[int, _Recorded] = {}
        self._matched: dict[threading.Thread, _Recorded] = {}
        self.done = bytearray(len(events))
        """By number, whether a call has been made."""
        self.taken = 0
        for number, event in enumerate(events):
            if event["k"] == "thread":
                self._recorded.setdefault(event["th"], _Recorded()).name = event["name"]
            elif is_call(event):
                self._recorded.setdefault(event.get("th", 0), _Recorded()).calls.append(number)

    def take(self, now: Event) -> int | None:
        """The number of the event that the call ``now`` is; None: it is another than then."""
        mine = self._mine()
        while mine is not None and mine.at < len(mine.calls):
            number = mine.calls[mine.at]
            event = self._events[number]
            if self._alike(event, now):
                mine.repeats += 1
                if mine.repeats >= event.get("times", 1):
                    self._forward(mine)
                return number
            if not mine.repeats:
                break
            self._forward(mine)  # fewer equal reads than then: a loop that ended sooner
        return None if mine is None else self._last_read(mine, now)

    def _last_read(self, mine: _Recorded, now: Event) -> int | None:
        """More equal reads than then: the read before this point, if it is the same and was repeated."""
        if not mine.at:
            return None
        number = mine.calls[mine.at - 1]
        event = self._events[number]
        repeated = event["k"] == "r" and event.get("times", 1) > 1
        return number if repeated and self._alike(event, now) else None

    def _forward(self, mine: _Recorded) -> None:
        self.done[mine.calls[mine.at]] = True
        self.taken += 1
        mine.at, mine.repeats = mine.at + 1, 0

    def expected(self) -> int:
        """The number of the call that the caller's thread made then at this point; the number of events where none."""
        mine = self._matched.get(threading.current_thread())
        return mine.calls[mine.at] if mine is not None and mine.at < len(mine.calls) else len(self._events)

    def _mine(self) -> _Recorded | None:
        thread = threading.current_thread()
        found = self._matched.get(thread)
        if found is None:
            taken = {id(one) for one in self._matched.values()}
            free = [one for _, one in sorted(self._recorded.items()) if id(one) not in taken and one.calls]
            named = [one for one in free if one.name == thread.name] if self._matched else free[:1]
            found = next(iter(named or free), None)
            if found is not None:
                self._matched[thread] = found
        return found
