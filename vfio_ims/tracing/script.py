# SPDX-License-Identifier: Apache-2.0
"""Follows a recording while it is replayed: which event a call is, and what follows from it by itself."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.locks import make_rlock
from vfio_ims.tracing.difference import Masks, ReplayDifference, alike, context_of
from vfio_ims.tracing.thread_order import ThreadOrder
from vfio_ims.tracing.values import error_from
from vfio_ims.tracing.words import in_words

if TYPE_CHECKING:
    from vfio_ims.tracing.format import Event, Recording

__all__ = ["Script"]

_NOT_CALLS = frozenset({"thread", "mark", "ask", "window", "mem", "look", "irq", "close"})
"""Kinds that are no calls of the driver: notes, questions, and what the device does by itself."""

_READS = frozenset({"r", "poll", "rb", "rr"})


class Script:
    """``events`` of a recording, taken one by one.

    ``order``: "strict"; "thread", where each thread's calls are in their order, however threads interleave; or
    "register", where each register has its own. By thread, what the device did by itself follows once every call that
    preceded it then has been made.

    By register a read answers with the register's next recorded value and then repeats its last, and writes are
    compared with the writes of the same register; all other calls are in order among their kind. ``apply`` puts a
    memory change in place, ``interrupt`` signals a vector.
    """

    def __init__(
        self,
        recording: Recording,
        name: str,
        *,
        order: str,
        masks: Mapping[str, int],
        apply: Callable[[Event], None],
        interrupt: Callable[[Event], None],
    ) -> None:
        self.events = recording.events
        self.difference: ReplayDifference | None = None
        self._path, self._name, self._strict = recording.path, name, order == "strict"
        self._masks, self._apply, self._interrupt = Masks(masks), apply, interrupt
        self._lock = make_rlock()
        self._at, self._repeats, self._taken = 0, 0, 0
        self._threads: ThreadOrder | None = None
        if order == "thread":
            self._threads = ThreadOrder(self.events, _is_call, lambda then, now: alike(then, now, self._masks))
        self._looks = self._looked = 0  # of those that are held; and how often the first has been repeated
        self._held: deque[Event] = deque()  # memory that is not to change before this process looks, or acts again
        self._answers: dict[str, deque[Event]] = defaultdict(deque)
        self._queues: dict[tuple[object, ...], deque[int]] = defaultdict(deque)
        for number, event in enumerate(self.events):
            if event["k"] == "ask":
                self._answers[_question(event)].append(event)
            elif event["k"] not in _NOT_CALLS:
                self._queues[_queue(event)].append(number)
        self.calls = sum(event["k"] not in _NOT_CALLS for event in self.events)
        self._release()

    @property
    def remaining(self) -> int:
        """Recorded calls that have not been made yet."""
        return self.calls - self._taken

    def take(self, now: Event) -> Event:
        """The recorded event that the call ``now`` is. Raises ReplayDifference, or what the call raised then."""
        with self._lock:
            if self.difference is not None:  # a new one: what handled the first is no part of this one's story
                raise ReplayDifference("replay", device=self._name, why=self.difference.why)
            while self._held:
                self._apply(self._held.popleft())
            self._looks = self._looked = 0
            if self._threads is not None:
                found = self._next_of_thread(now, self._threads)
            else:
                found = self._next_strict(now) if self._strict else self._next_of_register(now)
            if "err" in found:
                raise error_from(found["err"], self._name)
            return found

    def _next_strict(self, now: Event) -> Event:
        if self._at < len(self.events):
            event = self.events[self._at]
            if alike(event, now, self._masks):
                self._repeats += 1
                if self._repeats >= event.get("times", 1):
                    self._forward()
                return event
            if self._repeats:  # fewer equal reads than then: a loop that ended sooner
                self._forward()
                return self._next_strict(now)
        before = self._last_read(now)
        if before is not None:
            return before
        raise self._differs(now, self._at)

    def _last_read(self, now: Event) -> Event | None:
        """More equal reads than then: the read before this point, if it is the same and was repeated."""
        for event in reversed(self.events[: self._at]):
            if event["k"] not in _NOT_CALLS:
                repeated = event["k"] == "r" and event.get("times", 1) > 1
                return event if repeated and alike(event, now, self._masks) else None
        return None

    def _forward(self) -> None:
        self._taken += 1
        self._at += 1
        self._repeats = 0
        self._release()

    def _release(self) -> None:
        """What the device did by itself before the next call."""
        while self._at < len(self.events) and self.events[self._at]["k"] in _NOT_CALLS:
            self._by_itself(self.events[self._at])
            self._at += 1

    def _by_itself(self, event: Event) -> None:
        if event["k"] == "irq":
            self._interrupt(event)
        elif event["k"] == "mem" and event["when"] == "end" and not self._held:
            self._apply(event)
        elif event["k"] in ("mem", "look"):
            self._held.append(event)
            self._looks += event["k"] == "look"

    def _next_of_thread(self, now: Event, threads: ThreadOrder) -> Event:
        number = threads.take(now)
        if number is None:
            raise self._differs(now, threads.expected())
        self._taken = threads.taken
        while self._at < len(self.events) and (threads.done[self._at] or not _is_call(self.events[self._at])):
            if not _is_call(self.events[self._at]):
                self._by_itself(self.events[self._at])
            self._at += 1
        return self.events[number]

    def _next_of_register(self, now: Event) -> Event:
        queue = self._queues.get(_queue(now))
        if not queue:
            raise self._differs(now, len(self.events))
        number = queue[0]
        event = self.events[number]
        last = len(queue) == 1 and now["k"] in _READS
        if now["k"] not in _READS and not alike(event, now, self._masks):
            raise self._differs(now, number)
        self._repeats = self._repeats + 1 if number == self._at else 0
        if not last:
            queue.popleft()
            self._taken += 1
        while self._at <= number:
            at, self._at = self._at, self._at + 1
            if at < number and self.events[at]["k"] in _NOT_CALLS:
                self._by_itself(self.events[at])
        self._release()
        return event

    # --- what the device does -----------------------------------------------------------------------------------------

    def look(self) -> None:
        """This process looks at memory: put there what it may have seen at this look then."""
        with self._lock:
            while self._looks:  # or this look is one that was not there then
                event = self._held[0]
                self._apply(event)
                if event["k"] != "look":
                    self._held.popleft()
                    continue
                self._looked += 1
                if self._looked >= event.get("times", 1):
                    self._held.popleft()
                    self._looks -= 1
                    self._looked = 0
                return

    def answer(self, what: str, of: list[object]) -> Event:
        """What a question was answered with: each time the next answer, then the last again."""
        key = _question({"what": what, "of": of} if of else {"what": what})
        with self._lock:
            answers = self._answers.get(key)
            if not answers:
                why = f"the recording {self._path} has no answer to {what}{of or ''}"
                raise ReplayDifference(what, device=self._name, why=why)
            event = answers[0]
            if len(answers) > 1:
                answers.popleft()
        if "err" in event:
            raise error_from(event["err"], self._name)
        return event

    # --- the difference -----------------------------------------------------------------------------------------------

    def _differs(self, now: Event, at: int) -> ReplayDifference:
        recorded = in_words(self.events[at]) if at < len(self.events) else "nothing more"
        total = counted(len(self.events), "event")
        why = (
            f"difference at event {at + 1} of {total} in {self._path}\n"
            f"  recorded: {recorded}\n  now:      {in_words(now)}\n  around it, as recorded:\n"
            f"{context_of(self.events, at)}"
        )
        self.difference = ReplayDifference("replay", device=self._name, why=why)
        return self.difference


def _is_call(event: Event) -> bool:
    return event["k"] not in _NOT_CALLS


def _question(event: Event) -> str:
    return f"{event['what']} {event.get('of', [])}"


def _queue(event: Event) -> tuple[object, ...]:
    """By register: reads and writes of one place each have their own order."""
    kind = event["k"]
    what = "read" if kind in ("r", "poll") else kind
    if kind in ("r", "poll", "w"):
        return what, event["region"], event["offset"], event["width"]
    if kind in ("rb", "rr", "wr"):
        return what, event["region"], event["offset"], event.get("count"), event.get("size"), event.get("width")
    return (kind,)
