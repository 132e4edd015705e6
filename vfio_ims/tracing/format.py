# SPDX-License-Identifier: Apache-2.0
"""The file of a recording: JSON lines, a header first, then one object an event, in the order in which calls ended.

``docs/tracing.md`` lists the kinds of events and their keys. Numbers of registers and addresses are text in hex,
times nanoseconds of the monotonic clock since the recording began.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TypeAlias, cast

from vfio_ims.counted import counted
from vfio_ims.errors import UsageError

__all__ = ["FORMAT", "VERSION", "Event", "Recording", "encode", "lines_of", "open_to_write", "read_recording"]

FORMAT = "vfio-ims-trace"
VERSION = "1.0"
"""A new key or kind raises the second number; one that goes or changes, the first: readers refuse that."""

Event: TypeAlias = "dict[str, Any]"

_ENCODER = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, check_circular=False)


def encode(event: Event) -> str:
    """One line."""
    return _ENCODER.encode(event) + "\n"


def open_to_write(path: str | Path) -> IO[str]:
    """A new file, compressed where its name ends in .gz. UsageError where it cannot be written."""
    try:
        if str(path).endswith(".gz"):
            return cast("IO[str]", gzip.open(path, "wt", compresslevel=3, encoding="ascii"))
        return open(path, "w", buffering=1 << 16, encoding="ascii")
    except OSError as error:
        raise UsageError(f"write the recording {path}", errno=error.errno) from error


class Recording:
    """A recording that was read: its ``header`` and its ``events``; ``cut``: the last line was not whole."""

    def __init__(self, path: str, header: Event, events: list[Event], *, cut: bool = False) -> None:
        self.path, self.header, self.events, self.cut = path, header, events, cut

    def __repr__(self) -> str:
        return f"<Recording {self.path} of {self.header.get('device')}, {counted(len(self.events), 'event')}>"


def read_recording(path: str | Path) -> Recording:
    """Read a file whole. UsageError, with the line, where it is no recording or one of another major version."""
    operation = f"read the recording {path}"
    try:
        lines = lines_of(path)
        first = next(lines, "")
        if first.startswith("VERSION"):
            why = "it is the text of Linux' mmiotrace, which has no answers for a replay"
            raise UsageError(operation, why=why, hint="vfio-ims trace show, trace summary and diff take it")
        header = _object(first, operation, 1)
        if header.get("format") != FORMAT:
            raise UsageError(operation, why=f"its first line must say {FORMAT!r}, not {header.get('format')!r}")
        if str(header.get("version", "")).partition(".")[0] != VERSION.partition(".")[0]:
            raise UsageError(
                operation, why=f"its version is {header.get('version')!r}, and this program reads {VERSION}"
            )
        events: list[Event] = []
        for number, line in enumerate(lines, 2):
            if not line.endswith("\n"):  # the program ended in the middle of it
                return Recording(str(path), header, events, cut=True)
            events.append(_object(line, operation, number))
    except (OSError, EOFError) as error:  # gzip's have no number
        code = getattr(error, "errno", None)
        raise UsageError(operation, why="" if code else str(error), errno=code) from error
    return Recording(str(path), header, events)


def lines_of(path: str | Path) -> Iterator[str]:
    """The file's lines, unpacked where its name ends in .gz."""
    opener: Any = gzip.open if str(path).endswith(".gz") else open
    with opener(path, "rt", encoding="ascii", errors="replace") as file:
        yield from file


def _object(line: str, operation: str, number: int) -> Event:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise UsageError(operation, why=f"line {number} is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(operation, why=f"line {number} must be an object, not {type(found).__name__}")
    return found
