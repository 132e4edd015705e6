# SPDX-License-Identifier: Apache-2.0
"""Reads the text of Linux' mmiotrace as a recording: what a kernel driver did, by our registers' names.

Sources: Linux Documentation/trace/mmiotrace.rst ("Log Format"), kernel/trace/trace_mmiotrace.c. PCIDEV: bus and devfn,
vendor and device, IRQ, seven resources with their flags in the low bits, seven sizes, the driver's name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vfio_ims.counted import counted
from vfio_ims.errors import UsageError
from vfio_ims.tracing.format import Recording
from vfio_ims.tracing.names import RegisterNames, declared_blocks

if TYPE_CHECKING:
    from vfio_ims.tracing.format import Event

__all__ = ["FIRST_WORD", "MMIOTRACE", "read_mmiotrace"]

MMIOTRACE = "mmiotrace"
"""The mount of a recording that was read from such a text."""

FIRST_WORD = "VERSION"
_VERSION = "20070824"
_FLAGS = 0xF  # PCI_REGION_FLAG_MASK: I/O or memory, 64 bits, prefetchable


@dataclass(frozen=True)
class _Function:
    """One PCIDEV line: address as bus and devfn, ids, and of each memory BAR its number, start and size."""

    address: str
    ids: str
    bars: tuple[tuple[int, int, int], ...]
    driver: str

    def place(self, address: int) -> tuple[int, int] | None:
        """The BAR of a physical address, and where in it."""
        return next(((bar, address - start) for bar, start, size in self.bars if 0 <= address - start < size), None)

    def __str__(self) -> str:
        return f"{self.address} ({self.ids}{f', {self.driver}' if self.driver else ''})"


def read_mmiotrace(path: str | Path, lines: Iterable[str], device: str = "") -> Recording:
    """The accesses to one device, in order, with the names of its family's registers; marks, and what was lost.

    ``path`` is where ``lines`` were read from. ``device``: which one, by its address (6a:01.0) or ids (8086:0b25);
    else the one that was accessed most. UsageError, with the line, where a line is malformed or no device fits.
    """
    operation = f"read the mmiotrace {path}"
    functions: list[_Function] = []
    accesses: list[tuple[str, float, int, int, int]] = []  # verb, seconds, width, address, value; in the order of lines
    marks: dict[int, tuple[float, str]] = {}  # by how many accesses came before; several are joined
    unknown = 0
    for number, line in enumerate(lines, 1):
        words = line.split()
        if words[:1] == [FIRST_WORD] and words[1:] != [_VERSION]:
            why = f"its version is {' '.join(words[1:]) or 'missing'}, and this program reads {_VERSION}"
            raise UsageError(operation, why=why)
        try:
            match words[:1]:
                case ["PCIDEV"]:
                    functions.append(_function(words))
                case ["R" | "W"]:
                    verb, width, time, _, address, value, _, _ = words
                    accesses.append((verb, float(time), int(width), int(address, 16), int(value, 16)))
                case ["MARK"]:
                    text = " ".join(words[2:])
                    before = marks.get(len(accesses))
                    marks[len(accesses)] = (float(words[1]), f"{before[1]}; {text}" if before else text)
                case ["UNKNOWN"]:
                    unknown += 1
        except (ValueError, IndexError) as error:
            raise UsageError(operation, why=f"line {number} is malformed: {line.strip()[:80]!r}") from error
    chosen = _choose(functions, accesses, device, operation)
    return _recording(str(path), chosen, accesses, marks, unknown)


def _function(words: list[str]) -> _Function:
    place, ids = int(words[1], 16), words[2]
    resources = [int(word, 16) for word in words[4:11]]
    sizes = [int(word, 16) for word in words[11:18]]
    if len(sizes) != 7 or len(ids) != 8:
        raise ValueError
    bars = tuple(
        (bar, start & ~_FLAGS, size)
        for bar, (start, size) in enumerate(zip(resources[:6], sizes, strict=False))
        if size and not start & 1
    )
    address = f"{place >> 8:02x}:{place >> 3 & 0x1F:02x}.{place & 7}"
    return _Function(address, f"{ids[:4]}:{ids[4:]}", bars, " ".join(words[18:]))


def _choose(
    functions: list[_Function], accesses: list[tuple[str, float, int, int, int]], device: str, operation: str
) -> _Function:
    if not functions:
        why = "it has no PCIDEV line, so no access belongs to a device"
        hint = "read the whole of trace_pipe: its first lines are VERSION and PCIDEV"
        raise UsageError(operation, why=why, hint=hint)
    used = Counter[_Function]()
    for *_, address, _ in accesses:
        used.update(one for one in functions if one.place(address) is not None)
    there = ", ".join(f"{one} with {counted(count, 'access')}" for one, count in used.most_common()) or "none"
    if device:
        wanted = device.lower().removeprefix("0000:")
        found = [one for one in functions if wanted in (one.address, one.ids)]
        if not found:
            raise UsageError(operation, why=f"it has no device {device}; accessed were: {there}")
        return max(found, key=lambda one: used[one])
    if not used:
        raise UsageError(operation, why="it has no access to a BAR of its devices")
    return used.most_common(1)[0][0]


def _recording(
    path: str,
    function: _Function,
    accesses: list[tuple[str, float, int, int, int]],
    marks: dict[int, tuple[float, str]],
    unknown: int,
) -> Recording:
    names = RegisterNames(declared_blocks(function.ids))
    began = min([access[1] for access in accesses], default=0.0)
    events: list[Event] = []
    elsewhere = 0
    for number, (verb, seconds, width, address, value) in enumerate(accesses):
        if number in marks:
            events.append(_mark(marks[number], began))
        place = function.place(address)
        if place is None:
            elsewhere += 1
            continue
        bar, offset = place
        event: Event = {"k": verb.lower(), "region": bar, "offset": f"{offset:#x}", "width": width}
        event |= {"value": f"{value:#x}"} | (names.describe(bar, offset, width, value, verb == "W") or {})
        at = round((seconds - began) * 1e9)
        last = events[-1] if events else {}
        if verb == "R" and {key: last[key] for key in last if key not in ("t", "dt", "times")} == event:
            last |= {"times": last.get("times", 1) + 1, "dt": at - last["t"]}
            continue
        events.append({"t": at} | event)
    if len(accesses) in marks:
        events.append(_mark(marks[len(accesses)], began))
    header: Event = {
        "device": str(function),
        "mount": MMIOTRACE,
        "id": function.ids,
        "regions": [{"index": bar, "size": size} for bar, _, size in function.bars],
        "from_open": False,
        "elsewhere": elsewhere,
        "unknown": unknown,
    }
    return Recording(path, header, events)


def _mark(mark: tuple[float, str], began: float) -> Event:
    return {"t": max(round((mark[0] - began) * 1e9), 0), "k": "mark", "text": mark[1]}
