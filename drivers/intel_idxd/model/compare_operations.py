# SPDX-License-Identifier: Apache-2.0
"""The modelled operations that compare: compare, compare pattern, create delta; and apply delta.

Semantics where the specification was not at hand: Intel DML's software path, accel-config's tests.
"""

from __future__ import annotations

from struct import Struct

from ..hardware.descriptors import Descriptor, Flag
from ..hardware.status import Status
from .memory import Memory, PageFault
from .result import Result, faulted, overlap, pieces

__all__ = ["apply_delta", "compare", "compare_pattern", "create_delta"]

_MOST_DELTA = 0x8_0000  # bytes that 16-bit offsets of 8 bytes can address
_LEAST_RECORD = 80
_ENTRY = Struct("<H8s")
_EQUAL, _DIFFERENT, _OVERFLOW = 0, 1, 2
_CREATE = Struct("<QII")


def _first_difference(one: bytes, other: bytes) -> int:
    """Where they differ; their length where they do not."""
    if one == other:
        return len(one)
    low, high = 0, len(one)
    while high - low > 1:  # the prefix of ``low`` bytes is alike, that of ``high`` is not
        middle = (low + high) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _judge(descriptor: Descriptor, result: int, completed: int) -> Result:
    expected = descriptor.specific[0] & 1
    checked = descriptor.flags & Flag.CHECK_RESULT
    status = Status.FALSE_PREDICATE if checked and result != expected else Status.SUCCESS
    return Result(status, result, completed)


def compare(memory: Memory, descriptor: Descriptor) -> Result:
    """Two sources. ``completed`` of unequal ones: where they differ first."""
    try:
        for at, (one, other) in pieces(memory, (descriptor.source, descriptor.destination), descriptor.size):
            same = _first_difference(one, other)
            if same < len(one):
                return _judge(descriptor, _DIFFERENT, at + same)
    except PageFault as fault:
        return faulted(fault, fault.done)
    return _judge(descriptor, _EQUAL, 0)


def compare_pattern(memory: Memory, descriptor: Descriptor) -> Result:
    """A source with a pattern of 8 bytes that repeats."""
    pattern = descriptor.destination.to_bytes(8, "little")
    try:
        for at, (data,) in pieces(memory, (descriptor.source,), descriptor.size):
            shifted = pattern[at % 8 :] + pattern[: at % 8]
            same = _first_difference(data, (shifted * (len(data) // 8 + 1))[: len(data)])
            if same < len(data):
                return _judge(descriptor, _DIFFERENT, at + same)
    except PageFault as fault:
        return faulted(fault, fault.done)
    return _judge(descriptor, _EQUAL, 0)


def create_delta(memory: Memory, descriptor: Descriptor) -> Result:
    """Where the second source differs: entries of a 16-bit offset in 8 bytes, and the 8 bytes."""
    size, sources = descriptor.size, (descriptor.source, descriptor.destination)
    record, most, _ = _CREATE.unpack_from(descriptor.specific)
    if record % 8 or any(source % 8 for source in sources):
        return Result(Status.ADDRESS_ALIGN)
    if size % 8 or size > _MOST_DELTA:
        return Result(Status.SIZE)
    if most < _LEAST_RECORD:
        return Result(Status.DELTA_SIZE)
    if any(overlap(record, most, source, size) for source in sources):
        return Result(Status.OVERLAP)
    found = bytearray()
    full: int | None = None
    try:
        for at, (one, other) in pieces(memory, sources, size):
            if one != other:
                full = _differences(one, other, at, most, found)
                if full is not None:
                    break
    except PageFault as fault:
        return faulted(fault, fault.done // 8 * 8)
    try:
        memory.write(record, bytes(found))
    except PageFault as fault:
        return faulted(fault, 0)
    result = _OVERFLOW if full is not None else _DIFFERENT if found else _EQUAL
    mask = descriptor.specific[16] & 7
    expected = not descriptor.flags & Flag.CHECK_RESULT or mask >> result & 1
    status = Status.SUCCESS if expected else Status.FALSE_PREDICATE
    completed = 0 if full is None else full
    return Result(status, result, completed, specific=len(found).to_bytes(4, "little"))


def _differences(one: bytes, other: bytes, at: int, most: int, found: bytearray) -> int | None:
    """Add entries for a piece; the offset at which the record was full, or None."""
    for place in range(0, len(one), 8):
        if one[place : place + 8] != other[place : place + 8]:
            if len(found) + _ENTRY.size > most:
                return at + place
            found += _ENTRY.pack((at + place) // 8, other[place : place + 8])
    return None


def apply_delta(memory: Memory, descriptor: Descriptor) -> Result:
    """Write a delta record's entries to the destination, in their order."""
    record, to, size = descriptor.source, descriptor.destination, descriptor.size
    length = int.from_bytes(descriptor.specific[:4], "little")
    if record % 8 or to % 8:
        return Result(Status.ADDRESS_ALIGN)
    if size % 8 or size > _MOST_DELTA:
        return Result(Status.SIZE)
    if length % _ENTRY.size or not length:
        return Result(Status.DELTA_SIZE)
    if overlap(record, length, to, size):
        return Result(Status.OVERLAP)
    done, before = 0, -1
    try:
        for offset, data in _ENTRY.iter_unpack(memory.read(record, length)):
            if offset <= before:
                return Result(Status.DELTA_ORDER, completed=done)
            if (offset + 1) * 8 > size:
                return Result(Status.DELTA_OFFSET, completed=done)
            memory.write(to + 8 * offset, data)
            done, before = done + _ENTRY.size, offset
    except PageFault as fault:
        return faulted(fault, done)
    return Result()
