# SPDX-License-Identifier: Apache-2.0
"""What the modelled IAA operations have in common: input that may be compressed, checksums, output that must fit."""

from __future__ import annotations

import zlib

from .descriptors import Descriptor
from .iaa_flags import DecompressFlag, IaaOutcome
from .model_memory import Memory, PageFault
from .model_result import Result, faulted
from .status import IaaStatus, Status

__all__ = ["checksums", "decompressed", "deliver"]

_WINDOW = -12  # raw deflate with distances of 4 KiB at most (QPL's documentation)
_PART, _OUTPUT = 4096, 512  # zlib checks distances against its window plus what it puts out at once


def checksums(data: bytes, seed_crc: int = 0, seed_xor: int = 0) -> tuple[int, int]:
    """CRC-32 and the exclusive or of 16-bit words over uncompressed data. [the second: inferred from its name]"""
    whole = data + b"\0" * (len(data) % 2)
    value = seed_xor
    for word in memoryview(whole).cast("H"):
        value ^= word
    return zlib.crc32(data, seed_crc), value


def deliver(memory: Memory, descriptor: Descriptor, data: bytes, most: int, outcome: IaaOutcome) -> Result:
    """Write the output; too much of it fills the destination and is an error."""
    status = Status.SUCCESS if len(data) <= most else IaaStatus.OUTPUT_OVERFLOW
    try:
        memory.write(descriptor.destination, data[:most])
    except PageFault as fault:
        return faulted(fault, 0, specific=outcome._replace(size=0).packed())
    return Result(status, 0, descriptor.size, specific=outcome._replace(size=min(len(data), most)).packed())


def decompressed(data: bytes, flags: int) -> tuple[bytes, int] | None:
    """What ``data`` decompresses to, and how much of it was used; None where it is damaged."""
    if not flags & DecompressFlag.ENABLE:
        return data, len(data)
    engine = zlib.decompressobj(_WINDOW)
    out, at = bytearray(), 0
    try:
        while at < len(data) and not engine.eof:
            part, at = data[at : at + _PART], at + _PART
            while not engine.eof:
                piece = engine.decompress(part, _OUTPUT)
                part = engine.unconsumed_tail
                out += piece
                if not piece and not part:
                    break
    except zlib.error:
        return None
    if flags & DecompressFlag.CHECK_END and not engine.eof:
        return None
    return bytes(out), min(at, len(data)) - len(engine.unused_data)
