# SPDX-License-Identifier: Apache-2.0
"""The exact accesses that a piece of a driver makes, as lines to compare: width, count, order, values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import ndiff
from io import StringIO
from typing import TYPE_CHECKING

from vfio_ims.tracing.attach import Trace, trace

if TYPE_CHECKING:
    from vfio_ims.device import Device
    from vfio_ims.tracing.attach import HasDevice
    from vfio_ims.tracing.format import Event

__all__ = ["Accesses", "expect_accesses", "record_accesses"]


class Accesses:
    """``lines``: an access each, once the block has ended.

    ``read32 GENSTS = 0x1``, ``write32 BAR0+4000 = 0x12000``, ``poll32 CMDSTS & 0x80000000 == 0x0``, ``store64
    BAR2+2000``, ``config read16 +0x4 = 0x6``: the declared name, else the BAR and the offset in hex. A block or a table
    is a line for each register of it, in order. Errors are no accesses.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []


class _Kept(StringIO):
    """A file that can be read after it was closed."""

    def close(self) -> None:
        """The text stays."""


@contextmanager
def record_accesses(device: Device | HasDevice) -> Iterator[Accesses]:
    """Take the accesses to an open device, or a driver's, while the block runs."""
    found, file = Accesses(), _Kept()
    with trace(device, file) as recording:
        yield found
    events = [json.loads(line) for line in file.getvalue().splitlines()[1:]]
    found.lines += [line for event in events if "err" not in event for line in _lines(event, recording)]


@contextmanager
def expect_accesses(device: Device | HasDevice, expected: str) -> Iterator[None]:
    """AssertionError, with the differing lines marked, unless the block makes exactly these accesses.

    ``expected`` has a line for each, as in ``Accesses``; blank lines are left out. A line without ``= value`` fits any
    value.
    """
    with record_accesses(device) as found:
        yield
    wanted = [line for raw in expected.splitlines() if (line := raw.strip())]
    if len(wanted) == len(found.lines) and all(map(_fits, wanted, found.lines)):
        return
    shown = [_nearest(line, found.lines) for line in wanted]
    text = "\n".join(line for line in ndiff(shown, found.lines) if not line.startswith("?"))
    raise AssertionError(f"other accesses than expected (-: expected, +: made):\n{text}")


def _fits(wanted: str, line: str) -> bool:
    return wanted == line or ("=" not in wanted and wanted == line.partition(" = ")[0])


def _nearest(wanted: str, lines: list[str]) -> str:
    """A line that fits any value, with a value that was found: so that it is shown as no difference."""
    return next((line for line in lines if _fits(wanted, line)), wanted)


def _lines(event: Event, recording: Trace) -> Iterator[str]:
    kind, region = event["k"], event.get("region")
    if "offset" not in event:
        return
    at, width = int(event["offset"], 16), event.get("width", 4)

    def place(offset: int, size: int) -> str:
        return recording.name_of(region or 0, offset, size) or f"BAR{region}+{offset:x}"

    match kind:
        case "r" | "w":
            verb = "read" if kind == "r" else "write"
            line = f"{verb}{8 * width} {place(at, width)} = {event['value']}"
            yield from [line] * event.get("times", 1)
        case "poll":
            yield f"poll{8 * width} {place(at, width)} & {event['mask']} == {event['expected']}"
        case "rb" | "wb":
            data, verb = bytes.fromhex(event["data"]), "read" if kind == "rb" else "write"
            for start in range(0, len(data), width):
                value = int.from_bytes(data[start : start + width], "little")
                yield f"{verb}{8 * width} {place(at + start, width)} = {value:#x}"
        case "rt":
            words = memoryview(bytes.fromhex(event["data"])).cast("I")
            for row, value in zip(event["rows"], words, strict=True):
                yield f"read32 {place(at + row * event['stride'], 4)} = {value:#x}"
        case "wt":
            for offset, value in event["stores"]:
                yield f"write32 {place(offset, 4)} = {value:#x}"
        case "s64" | "enq" | "rows":
            yield from [f"{'enqueue' if kind == 'enq' else 'store'}64 {place(at, 64)}"] * event.get("count", 1)
        case "rr":
            value = int.from_bytes(bytes.fromhex(event["data"]), "little")
            yield f"config read{8 * event['size']} +{at:#x} = {value:#x}"
        case "wr":
            data = bytes.fromhex(event["written"])
            yield f"config write{8 * len(data)} +{at:#x} = {int.from_bytes(data, 'little'):#x}"
