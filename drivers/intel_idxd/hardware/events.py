# SPDX-License-Identifier: Apache-2.0
"""Entries of the event log, which devices of version 2 on have. Layout: Linux ``drivers/dma/idxd/registers.h``."""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from .completion import Completion
from .software_error import submission_text
from .status import Status

__all__ = ["HEADER_SIZE", "Event", "decode_event", "encode_event", "entry_size"]

HEADER_SIZE = 32
_HEADER = Struct("<QHHIQQ")
_RECORD_AT = {64: 32, 128: 64}


def entry_size(support: int) -> int:
    """Bytes of an entry, for GENCAP's ``event_log`` (1: DSA's 64, 2: IAA's 128); 0 without a log."""
    return HEADER_SIZE << support if support else 0


@dataclass(frozen=True, slots=True)
class Event:
    """One entry. ``handle`` and ``ims`` are set for an invalid interrupt handle: which portal it came through."""

    error: int
    queue: int | None = None
    operation: int | None = None
    pasid: int = 0
    batch_index: int | None = None
    address: int = 0
    write: bool = False
    invalid_flags: int = 0
    handle: int | None = None
    ims: bool = False
    record: bytes = b""

    def __str__(self) -> str:
        parts = [f"event {submission_text(self.error)}"]
        if self.queue is not None:
            parts.append(f"work queue {self.queue}")
        if self.operation is not None:
            parts.append(f"operation {self.operation:#x}")
        if self.pasid:
            parts.append(f"PASID {self.pasid:#x}")
        if self.batch_index is not None:
            parts.append(f"descriptor {self.batch_index} of a batch")
        if self.handle is not None:
            parts.append(f"handle {self.handle:#x} through {'an IMS' if self.ims else 'an MSI-X'} portal")
        if self.address:
            parts.append(f"{'write' if self.write else 'read'} at {self.address:#x}")
        if self.invalid_flags:
            parts.append(f"invalid flags {self.invalid_flags:#x}")
        return ", ".join(parts)

    @property
    def completion(self) -> Completion | None:
        """The completion record that could not be written, where the entry has it."""
        return Completion(self.record) if any(self.record) else None


def encode_event(event: Event, size: int) -> bytes:
    """The entry's bytes."""
    first = (
        (event.operation is not None) << 2
        | (event.queue is not None) << 3
        | (event.batch_index is not None) << 4
        | event.write << 5
        | event.error << 8
        | (event.queue or 0) << 16
        | (event.operation or 0) << 32
        | event.pasid << 40
    )
    details = event.invalid_flags
    if event.handle is not None:
        details = event.handle | (1 | event.ims << 1) << 16
    head = _HEADER.pack(first, event.batch_index or 0, 0, details, event.address, 0)
    return head.ljust(_RECORD_AT[size], b"\0") + event.record[: size - _RECORD_AT[size]].ljust(
        size - _RECORD_AT[size], b"\0"
    )


def decode_event(data: bytes) -> Event:
    """An entry taken apart."""
    first, index, _, details, address, _ = _HEADER.unpack_from(data)
    error = first >> 8 & 0xFF
    bad_handle = error == Status.INTERRUPT_HANDLE
    return Event(
        error=error,
        queue=first >> 16 & 0xFF if first >> 3 & 1 else None,
        operation=first >> 32 & 0xFF if first >> 2 & 1 else None,
        pasid=first >> 40 & 0xFFFFF,
        batch_index=index if first >> 4 & 1 else None,
        address=address,
        write=bool(first >> 5 & 1),
        invalid_flags=details if error == Status.FLAGS else 0,
        handle=details & 0xFFFF if bad_handle else None,
        ims=bad_handle and bool(details >> 17 & 1),
        record=data[_RECORD_AT[len(data)] :],
    )
