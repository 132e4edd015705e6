# SPDX-License-Identifier: Apache-2.0
"""What the modelled DSA engines do, by opcode: the handler, and the flags that the operation takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from ..hardware.descriptors import Descriptor, DsaOpcode, Flag
from ..hardware.status import Status
from .compare_operations import apply_delta, compare, compare_pattern, create_delta
from .crc_operations import copy_crc, generate_crc
from .dif_operations import dif_check, dif_insert, dif_strip, dif_update, dix_generate
from .memory import Memory, PageFault
from .result import DONE, READS, WRITES, Result, faulted, overlap

__all__ = ["DRAIN_FLAGS", "DSA", "EVERY_FIELD", "Handler", "ModelOperation", "memmove", "reads_back"]

_PAGE = 4096
Handler = Callable[[Memory, Descriptor], Result]


class ModelOperation(NamedTuple):
    """``sized``: the size must be ``least`` to the queue's largest transfer. ``flags``: beside those of completion.

    ``fields``: a bit for each byte from 0x28 on that means something; the others must be 0.
    """

    handler: Handler
    flags: int = 0
    sized: bool = True
    fields: int = 0
    least: int = 1


def _bytes(*spans: tuple[int, int]) -> int:
    """A bit for each byte in these first and last places, counted from 0x28."""
    return sum(1 << at for first, last in spans for at in range(first, last + 1))


EVERY_FIELD = _bytes((0, 23))


def _nothing(memory: Memory, descriptor: Descriptor) -> Result:
    return DONE


def memmove(memory: Memory, descriptor: Descriptor) -> Result:
    """``result`` of a partial copy is 1 where it ran backward: what is left is then at the start."""
    source, to, size = descriptor.source, descriptor.destination, descriptor.size
    try:
        memory.copy(to, source, size)
    except PageFault as fault:
        return faulted(fault, fault.done, result=int(source < to < source + size))
    return DONE


def _fill(memory: Memory, descriptor: Descriptor) -> Result:
    pattern, size, step = descriptor.source.to_bytes(8, "little"), descriptor.size, 1 << 20
    block = pattern * (min(size, step) // 8 + 1)
    for at in range(0, size, step):
        try:
            memory.write(descriptor.destination + at, block[: min(step, size - at)])
        except PageFault as fault:
            return faulted(fault, at + fault.done)
    return DONE


def _dualcast(memory: Memory, descriptor: Descriptor) -> Result:
    source, first, size = descriptor.source, descriptor.destination, descriptor.size
    second = int.from_bytes(descriptor.specific[:8], "little")
    if (first ^ second) & (_PAGE - 1):
        return Result(Status.DUALCAST_ALIGN)
    if overlap(source, size, first, size) or overlap(source, size, second, size) or overlap(first, size, second, size):
        return Result(Status.OVERLAP)
    for at in range(0, size, 1 << 20):
        step = min(1 << 20, size - at)
        done = step
        fault: PageFault | None = None
        for to in (first, second):
            try:
                memory.copy(to + at, source + at, step)
            except PageFault as found:
                if found.done < done:
                    done, fault = found.done, found
        if fault is not None:
            return faulted(fault, at + done)
    return Result()


def _flush(memory: Memory, descriptor: Descriptor) -> Result:
    """There is no cache here: only the addresses are looked up."""
    reached = memory.reachable(descriptor.destination, descriptor.size)
    if reached < descriptor.size:
        return faulted(PageFault(descriptor.destination + reached, write=False), reached)
    return Result()


def _fetch(memory: Memory, descriptor: Descriptor) -> Result:
    """Translate a region's pages, every ``stride`` bytes (0: each page)."""
    stride = int.from_bytes(descriptor.specific[8:12], "little") or _PAGE
    for at in range(0, descriptor.size, stride):
        if not memory.reachable(descriptor.source + at, 1):
            return faulted(PageFault(descriptor.source + at, write=False), at)
    return Result()


def reads_back(descriptor: Descriptor) -> bool:
    """Whether it asks for a readback, whose failure has a status of its own."""
    flags = _READ1 | _READ2 if descriptor.opcode == DsaOpcode.DRAIN else Flag.READBACK
    return bool(descriptor.flags & flags)


def _drain(memory: Memory, descriptor: Descriptor) -> Result:
    """Work before it is done: only the readback is left."""
    for flag, address in ((_READ1, descriptor.source), (_READ2, descriptor.destination)):
        if descriptor.flags & flag and not memory.reachable(address, 1):
            return Result(Status.READBACK_FAULT, fault=address)
    return Result()


_READ1, _READ2 = Flag.DRAIN_READ1, Flag.DRAIN_READ2
DRAIN_FLAGS = _READ1 | _READ2 | Flag.DRAIN_SKIP_A | Flag.DRAIN_SKIP_B
"""A drain's own, where GENCAP has readbacks."""
_CRC = READS | Flag.CRC_READ_SEED | Flag.CRC_BARE | Flag.CRC_PLAIN_DATA | Flag.ADDRESS3_CLASS
_CRC_COPY = _CRC | WRITES
_SEEDS, _CHECKED, _MADE = _bytes((0, 3), (8, 15)), _bytes((0, 0), (2, 2), (8, 15)), _bytes((1, 2), (16, 23))

DSA: dict[int, ModelOperation] = {
    DsaOpcode.NOP: ModelOperation(_nothing, sized=False),
    DsaOpcode.DRAIN: ModelOperation(_drain, Flag.ADDRESS1_CLASS | Flag.ADDRESS2_CLASS | DRAIN_FLAGS, sized=False),
    DsaOpcode.MEMMOVE: ModelOperation(memmove, WRITES),
    DsaOpcode.FILL: ModelOperation(_fill, WRITES & ~Flag.ADDRESS1_CLASS),
    DsaOpcode.COMPARE: ModelOperation(compare, READS | Flag.CHECK_RESULT, fields=1),
    DsaOpcode.COMPARE_PATTERN: ModelOperation(
        compare_pattern, READS & ~Flag.ADDRESS2_CLASS | Flag.CHECK_RESULT, fields=1
    ),
    DsaOpcode.CREATE_DELTA: ModelOperation(
        create_delta, WRITES | Flag.ADDRESS3_CLASS | Flag.CHECK_RESULT, fields=_bytes((0, 11), (16, 16))
    ),
    DsaOpcode.APPLY_DELTA: ModelOperation(apply_delta, WRITES, fields=_bytes((0, 3))),
    DsaOpcode.DUALCAST: ModelOperation(_dualcast, WRITES | Flag.ADDRESS3_CLASS, fields=_bytes((0, 7))),
    DsaOpcode.TRANSLATION_FETCH: ModelOperation(_fetch, READS, fields=_bytes((8, 11))),
    DsaOpcode.CRC: ModelOperation(generate_crc, _CRC, fields=_SEEDS),
    DsaOpcode.COPY_CRC: ModelOperation(copy_crc, _CRC_COPY, fields=_SEEDS),
    DsaOpcode.DIF_CHECK: ModelOperation(dif_check, READS, fields=_CHECKED),
    DsaOpcode.DIF_INSERT: ModelOperation(dif_insert, WRITES, fields=_MADE),
    DsaOpcode.DIF_STRIP: ModelOperation(dif_strip, WRITES, fields=_CHECKED),
    DsaOpcode.DIF_UPDATE: ModelOperation(dif_update, WRITES, fields=_CHECKED | _MADE),
    DsaOpcode.DIX_GENERATE: ModelOperation(dix_generate, WRITES, fields=_MADE),
    DsaOpcode.CACHE_FLUSH: ModelOperation(_flush, READS | Flag.CACHE_CONTROL),
}
"""Flags per operation: the fields that it has. [inferred where a flag names an address that an operation lacks]"""
