# SPDX-License-Identifier: Apache-2.0
"""Reads what can be shown and compared: recordings of ours, and the text of Linux' mmiotrace."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from vfio_ims.tracing.format import Recording, lines_of, read_recording
from vfio_ims.tracing.mmiotrace import single_accesses
from vfio_ims.tracing.names import RegisterNames, declared_blocks
from vfio_ims.tracing.read_mmiotrace import FIRST_WORD, MMIOTRACE, read_mmiotrace

if TYPE_CHECKING:
    from vfio_ims.tracing.format import Event

__all__ = ["alike_in_kind", "read_any"]


def read_any(path: str | Path, device: str = "") -> Recording:
    """Read the file at ``path``. Of an mmiotrace, ``device`` chooses the function: its address or ids.

    UsageError where the file is neither a recording nor an mmiotrace, or has no such device.
    """
    return read_mmiotrace(path, lines_of(path), device) if _is_mmiotrace(path) else read_recording(path)


def _is_mmiotrace(path: str | Path) -> bool:
    try:
        return next(lines_of(path), "").startswith(FIRST_WORD)
    except (OSError, EOFError):  # the reader of recordings says what is wrong
        return False


def alike_in_kind(left: Recording, right: Recording) -> tuple[Recording, Recording]:
    """Both as single register accesses where one of them is an mmiotrace, which has nothing else."""
    if MMIOTRACE not in (left.header.get("mount"), right.header.get("mount")):
        return left, right
    return _singles(left), _singles(right)


def _singles(recording: Recording) -> Recording:
    return Recording(recording.path, recording.header, list(_single_events(recording)), cut=recording.cut)


def _single_events(recording: Recording) -> Iterator[Event]:
    names = RegisterNames(declared_blocks(recording.header["id"]))
    for event in recording.events:
        for verb, width, region, offset, value in single_accesses(event):
            one: Event = {"t": event["t"], "k": verb.lower(), "region": region, "offset": f"{offset:#x}"}
            one |= {"width": width, "value": f"{value:#x}"}
            yield one | (names.describe(region, offset, width, value, verb == "W") or {})
