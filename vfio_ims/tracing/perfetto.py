# SPDX-License-Identifier: Apache-2.0
"""A recording as Chrome's JSON trace events, which ui.perfetto.dev opens: a file is dragged onto the page.

Format: "Trace Event Format" (Google); times in microseconds, slices (X), instants (i), flows (s, f), names (M).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vfio_ims.ports.values import IrqIndex
from vfio_ims.tracing.words import in_words, place_of

if TYPE_CHECKING:
    from vfio_ims.tracing.format import Event, Recording

__all__ = ["to_perfetto"]

_VECTORS = 1000  # tracks of vectors: 1000 times the kind of interrupt, and the vector's number
_SENDS = frozenset({"w", "s64", "enq", "rows", "wt", "wb", "irqs"})
"""Kinds of calls after which a device raises an interrupt."""


def to_perfetto(recording: Recording) -> dict[str, Any]:
    """One track a thread with its calls as slices, one a vector, and a flow to each interrupt.

    The flow goes from the last call that can have raised the interrupt, to its event descriptor. Which one it was no
    recording of a device knows: where several are under way, it is the last of them.
    """
    out: list[dict[str, Any]] = []
    names = {0: "calls"}
    sent: Event | None = None
    flows = 0
    latest: dict[int, dict[str, Any]] = {}
    for event in recording.events:
        kind = event["k"]
        thread, at = event.get("th", 0), event["t"] / 1000
        if kind == "thread":
            names[event["th"]] = f"calls of {event['name']}"
        elif kind == "irq":
            track = _VECTORS * (event["index"] + 1) + event["vector"]
            names[track] = f"{IrqIndex(event['index']).name} vector {event['vector']}"
            before = latest.get(track)
            if before is not None:  # slices of one track may not overlap: a viewer would drop one
                before["dur"] = min(before["dur"], at - before["ts"])
            latest[track] = _slice("interrupt", at, 1.0, track, {"count": event["count"]})
            out.append(latest[track])
            if sent is not None:
                flows += 1
                began = {"th": sent.get("th", 0), "at": sent["t"] / 1000}
                out.append(_flow("s", flows, began["at"], began["th"]))
                out.append(_flow("f", flows, at, track))
        elif kind == "mark":
            out.append({"name": event["text"], "ph": "i", "ts": at, "pid": 1, "tid": thread, "s": "p"})
        else:
            shown = {key: value for key, value in event.items() if key not in ("t", "k", "dt", "th")}
            out.append(_slice(_name(event), at, event.get("dt", 500) / 1000, thread, shown))
            if kind in _SENDS:
                sent = event
    head = [_meta("process_name", 0, str(recording.header["device"]))]
    head += [_meta("thread_name", track, name) for track, name in sorted(names.items())]
    return {"displayTimeUnit": "ns", "traceEvents": head + out}


def _name(event: Event) -> str:
    if event["k"] in ("r", "w", "poll") and event.get("name"):
        return f"{event['k']} {event['name']}"
    return f"{event['k']} {place_of(event)}" if "offset" in event else in_words(event)[:60]


def _slice(name: str, at: float, duration: float, track: int, content: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "ph": "X", "ts": at, "dur": duration, "pid": 1, "tid": track, "args": content}


def _flow(phase: str, number: int, at: float, track: int) -> dict[str, Any]:
    event = {"name": "interrupt", "cat": "interrupt", "ph": phase, "id": number, "ts": at, "pid": 1, "tid": track}
    return event | ({"bp": "e"} if phase == "f" else {})


def _meta(what: str, track: int, name: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": 1, "tid": track, "args": {"name": name}}
