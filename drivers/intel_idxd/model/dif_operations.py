# SPDX-License-Identifier: Apache-2.0
"""The modelled operations on data integrity fields: check, insert, strip, update, DIX generation."""

from __future__ import annotations

from struct import Struct

from ..hardware.descriptors import Descriptor
from ..hardware.dif import BLOCK_SIZES, FIELD_SIZE, DestinationFlag, DifError, DifFlag, DifTags, SourceFlag
from ..hardware.status import Status
from .checksums import CRC16_T10, crc
from .memory import Memory, PageFault
from .result import Result, faulted, overlap

__all__ = ["dif_check", "dif_insert", "dif_strip", "dif_update", "dix_generate"]

_FIELD = Struct(">HHI")
_ONES16, _ONES32 = 0xFFFF, 0xFFFF_FFFF
_ALL_ONES = b"\xff" * FIELD_SIZE


class _Job:
    """One descriptor's flags and tags."""

    def __init__(self, descriptor: Descriptor) -> None:
        rest = descriptor.specific
        self.flags = rest[2]
        self.block = BLOCK_SIZES[self.flags & 3]
        self.source = DifTags.unpacked(rest[8:16], rest[0])
        self.target = DifTags.unpacked(rest[16:24], rest[1])

    def guard(self, data: bytes) -> int:
        seed = _ONES16 if self.flags & DifFlag.INVERT_SEED else 0
        value = crc(data, CRC16_T10, 16, seed)
        return value ^ _ONES16 if self.flags & DifFlag.INVERT_RESULT else value

    def source_after(self, blocks: int) -> DifTags:
        flags = self.source.flags
        return self.source.after(
            blocks,
            fixed_ref=bool(flags & SourceFlag.FIXED_REF_TAG),
            increment_app=bool(flags & SourceFlag.INCREMENT_APP_TAG),
        )

    def target_after(self, blocks: int) -> DifTags:
        flags = self.target.flags
        return self.target.after(
            blocks,
            fixed_ref=bool(flags & DestinationFlag.FIXED_REF_TAG),
            increment_app=bool(flags & DestinationFlag.INCREMENT_APP_TAG),
        )

    def check(self, data: bytes, field: bytes, number: int) -> int:
        """What is wrong with the field of block ``number``: DifError bits."""
        guard, app, ref = _FIELD.unpack(field)
        flags, expected = self.source.flags, self.source_after(number)
        if flags & SourceFlag.F_ALL and field == _ALL_ONES:
            return DifError.ALL_ONES if flags & SourceFlag.F_IS_ERROR else 0
        if flags & SourceFlag.F_TAGS and app == _ONES16 and ref == _ONES32:
            return 0
        if flags & SourceFlag.F_APP_TAG and app == _ONES16:
            return 0
        wrong = 0
        if not flags & SourceFlag.NO_GUARD_CHECK and guard != self.guard(data):
            wrong |= DifError.GUARD
        if (app ^ expected.app) & ~expected.app_mask & _ONES16:
            wrong |= DifError.APP_TAG
        if not flags & SourceFlag.NO_REF_TAG_CHECK and ref != expected.ref:
            wrong |= DifError.REF_TAG
        return wrong

    def field(self, data: bytes, number: int, old: bytes | None = None) -> bytes:
        """The field for block ``number``; parts of ``old`` are passed on where the flags say so."""
        tags, flags = self.target_after(number), self.target.flags
        guard, app, ref = self.guard(data), tags.app & ~tags.app_mask & _ONES16, tags.ref
        if old is not None:
            old_guard, old_app, old_ref = _FIELD.unpack(old)
            guard = old_guard if flags & DestinationFlag.PASS_GUARD else guard
            app = old_app if flags & DestinationFlag.PASS_APP_TAG else app
            ref = old_ref if flags & DestinationFlag.PASS_REF_TAG else ref
        return _FIELD.pack(guard, app, ref)


def _walk(memory: Memory, descriptor: Descriptor, *, fields_in: bool, target: str) -> Result:
    """Block by block: check what the source has (``fields_in``), write what ``target`` names.

    ``target``: "" nothing, "data", "both", "field".
    """
    job = _Job(descriptor)
    step = job.block + (FIELD_SIZE if fields_in else 0)
    write_step = {"": 0, "data": job.block, "both": job.block + FIELD_SIZE, "field": FIELD_SIZE}[target]
    source, to, size = descriptor.source, descriptor.destination, descriptor.size
    if size % step:
        return Result(Status.SIZE)
    count = size // step
    if target and overlap(source, size, to, count * write_step):
        return Result(Status.OVERLAP)

    def tags(number: int) -> bytes:
        known = job.source_after(number).packed() if fields_in else bytes(8)
        return known + (job.target_after(number).packed() if target in ("both", "field") else b"")

    for number in range(count):
        try:
            whole = memory.read(source + number * step, step)
            data, old = whole[: job.block], whole[job.block :] if fields_in else None
            if old is not None:
                wrong = job.check(data, old, number)
                if wrong:
                    return Result(Status.DIF, wrong, number * step, specific=tags(number))
            if target:
                parts = {"data": data, "both": data, "field": b""}[target]
                if target != "data":
                    parts += job.field(data, number, old)
                memory.write(to + number * write_step, parts)
        except PageFault as fault:
            return faulted(fault, number * step, specific=tags(number))
    return Result(specific=tags(count))


def dif_check(memory: Memory, descriptor: Descriptor) -> Result:
    return _walk(memory, descriptor, fields_in=True, target="")


def dif_insert(memory: Memory, descriptor: Descriptor) -> Result:
    return _walk(memory, descriptor, fields_in=False, target="both")


def dif_strip(memory: Memory, descriptor: Descriptor) -> Result:
    return _walk(memory, descriptor, fields_in=True, target="data")


def dif_update(memory: Memory, descriptor: Descriptor) -> Result:
    return _walk(memory, descriptor, fields_in=True, target="both")


def dix_generate(memory: Memory, descriptor: Descriptor) -> Result:
    """Only the fields are written, one after the other."""
    return _walk(memory, descriptor, fields_in=False, target="field")
