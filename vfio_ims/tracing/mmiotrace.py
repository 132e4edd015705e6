# SPDX-License-Identifier: Apache-2.0
"""A recording as the text of Linux' mmiotrace (version 20070824), which grep, awk and envytools' demmio read.

Source: Linux Documentation/trace/mmiotrace.rst, "Log Format". ``R`` and ``W`` lines: width, time, map id, physical
address, value, PC, PID. ``MAP``: time, map id, physical address, virtual address, length, PC, PID.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vfio_ims.tracing.words import in_words

if TYPE_CHECKING:
    from vfio_ims.tracing.format import Event, Recording

__all__ = ["single_accesses", "to_mmiotrace"]

_BASE, _SPACE = 0x1_0000_0000, 0x1_0000_0000
"""Where BAR 0 is shown, and the next one that much higher: a recording has no physical addresses."""
_MEMORY_64 = 4  # among the flags of a resource: 64-bit memory
_ACCESSES = frozenset({"r", "w", "poll", "rb", "wb", "wt"})


def to_mmiotrace(recording: Recording) -> Iterator[str]:
    """Register accesses as R and W lines, everything else as MARK. Lines end in a newline."""
    yield "VERSION 20070824\n"
    bars = {
        one["index"]: one["size"] for one in recording.header.get("regions", []) if one["index"] < 6 and one["size"]
    }
    yield _pcidev(recording.header, bars)
    for bar, size in bars.items():
        base = _BASE + bar * _SPACE
        yield f"MAP 0.000000 {bar + 1} {base:#x} 0x0 {size:#x} 0x0 0\n"
    for event in recording.events:
        at, kind = event["t"] / 1e9, event["k"]
        accesses = list(single_accesses(event))
        for verb, width, region, offset, value in accesses:
            for _ in range(event.get("times", 1)):
                address = _BASE + region * _SPACE + offset
                yield f"{verb} {width} {at:.6f} {region + 1} {address:#x} {value:#x} 0x0 0\n"
        if not accesses and kind not in ("mem", "look", "ask", "thread", "window"):
            yield f"MARK {at:.6f} {in_words(event)}\n"


def _pcidev(header: Event, bars: dict[int, int]) -> str:
    """Bus and devfn, ids, IRQ, seven resources with their flags, seven sizes, a driver's name."""
    vendor, device = header.get("id", "0000:0000").split(":")
    starts = [_BASE + bar * _SPACE | _MEMORY_64 if bar in bars else 0 for bar in range(7)]
    sizes = [bars.get(bar, 0) for bar in range(7)]
    numbers = " ".join(f"{number:x}" for number in (*starts, *sizes))
    return f"PCIDEV 0000 {vendor}{device} 0 {numbers} vfio-ims\n"


def single_accesses(event: Event) -> Iterator[tuple[str, int, int, int, int]]:
    """Verb, width in bytes, BAR, offset and value of the single accesses that an event is."""
    kind = event["k"]
    if kind not in _ACCESSES or event["region"] > 5 or "err" in event:
        return
    at, width = int(event["offset"], 16), event.get("width", 4)
    if kind in ("r", "poll"):
        yield "R", width, event["region"], at, int(event["value"], 16)
    elif kind == "w":
        yield "W", width, event["region"], at, int(event["value"], 16)
    elif kind in ("rb", "wb"):
        data = bytes.fromhex(event["data"])
        for start in range(0, len(data), width):
            value = int.from_bytes(data[start : start + width], "little")
            yield kind[0].upper(), width, event["region"], at + start, value
    elif kind == "wt":
        for place, value in event["stores"]:
            yield "W", 4, event["region"], place, value
